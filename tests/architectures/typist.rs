//! A session in which prompts are typed and changed, while it works on them.

use super::{PROMPT, SECOND, TOKENS};
use crate::common::{SMOL, options, paste};
use nmos::session::{
    Client, EngineHandle, EngineOptions, Event, Intent, RequestEvent, spawn_with_clock,
};
use nmos::telemetry::Phase;
use nmos::typing::{Clock, Edit, TypingEvent, VirtualClock};
use nmos::units::Bytes;
use std::path::Path;
use std::sync::Arc;

/// How often a session looks at a text that is not typed on before it surely does nothing with it.
const MOST_LOOKS: usize = 100;

/// Two turns, and the first prompt once more in a new conversation: typed, with what is typed
/// taken back and changed after the session has worked on it, or at once.
pub fn edited(model: &Path, typed: bool) -> Vec<String> {
    let clock = Arc::new(VirtualClock::new());
    let options = EngineOptions {
        oracle: model.to_owned(),
        anticipate: typed,
        ctx_tokens: 512,
        threads: 1,
        max_tokens: TOKENS,
        fixed_length: true,
        system: String::new(),
        ..options(SMOL, Bytes::mib(2048))
    };
    let session = Typist {
        engine: spawn_with_clock(options, Arc::<VirtualClock>::clone(&clock)),
        clock,
    };
    let client = session.engine.connect();
    let mut answers = Vec::new();
    for (prompt, is_new) in [(PROMPT, false), (SECOND, false), (PROMPT, true)] {
        if is_new {
            client.send(Intent::NewConversation).unwrap();
        }
        match typed {
            true => session.write_and_change(&client, prompt),
            false => session.tell(&client, paste(prompt)),
        }
        session.tell(&client, Edit::Enter);
        answers.push(answer(&client));
    }
    session.engine.shutdown();
    answers
}

struct Typist {
    engine: EngineHandle,
    clock: Arc<VirtualClock>,
}

impl Typist {
    /// Writes half of `prompt` and something else, takes that back, writes the rest and too much,
    /// and takes that back. After each edit the typist rests until an answer is begun.
    fn write_and_change(&self, client: &Client, prompt: &str) {
        let (half, rest) = prompt.split_at(prompt.len() / 2);
        let edits = [insert(half), insert("no"), Edit::Backspace, Edit::Backspace];
        for edit in edits.into_iter().chain([insert(rest), insert("!?")]) {
            let before = self.edits();
            self.tell(client, edit);
            self.rest(client, before);
        }
        let start = prompt.chars().count();
        let end = start + 2;
        self.tell(client, Edit::Delete { start, end });
    }

    fn tell(&self, client: &Client, edit: Edit) {
        let t_us = self.clock.now_us();
        let event = TypingEvent { t_us, edit };
        client.send(Intent::Typing(event)).unwrap();
    }

    /// Insertions and backspaces that the session has seen.
    fn edits(&self) -> u64 {
        let s = self.engine.hub().snapshot();
        s.cadence.keys + s.cadence.pastes + s.cadence.backspaces
    }

    /// Lets virtual time pass, more than any typist's pause whenever the session shows something
    /// new, until it has seen more edits than `before` and begun an answer to the prompt as it is.
    fn rest(&self, client: &Client, before: u64) {
        let hub = self.engine.hub();
        let has_begun = || {
            let s = hub.snapshot();
            s.phase == Phase::Composing
                && s.prefill.prompt_tokens > 0
                && s.prefill.ready_tokens == s.prefill.prompt_tokens
        };
        let mut looks = 0;
        while self.edits() == before || !has_begun() {
            assert!(!self.engine.has_ended(), "the session ended");
            if hub.snapshot().phase == Phase::Composing {
                looks += 1;
            }
            assert!(looks < MOST_LOOKS, "no answer is begun: {:?}", told(client));
            self.clock.advance(2_000_000);
            hub.changed().recv().unwrap();
        }
    }
}

fn insert(text: &str) -> Edit {
    let (text, paste) = (text.to_owned(), false);
    Edit::Insert { text, paste }
}

/// What a session has told its user so far.
fn told(client: &Client) -> Vec<String> {
    let events = client.events().try_iter();
    let notices = events.filter_map(|event| match event {
        Event::Notice(notice) => Some(notice.to_string()),
        _ => None,
    });
    notices.collect()
}

/// The text of the next answer.
fn answer(client: &Client) -> String {
    loop {
        match client.events().recv().unwrap() {
            Event::Request(_, RequestEvent::Done(stats)) => return stats.text,
            Event::Request(_, RequestEvent::Failed(why)) => panic!("{why}"),
            Event::Fatal(why) => panic!("{why}"),
            _ => {}
        }
    }
}
