//! What the engine tells the workbench: the answer as it comes, and how it ends.

use super::{Action, App, Item, PromptKey, TurnState};
use crate::session::{Event, RequestEvent};
use crate::units::Micros;

impl App {
    /// Takes an event of the engine.
    pub fn engine(&mut self, event: Event, now_us: Micros) {
        match event {
            Event::Ready => self.ready = true,
            Event::Notice(notice) => self.talk.push(Item::Notice(notice.to_string())),
            Event::Fatal(error) => self.die(error.to_string(), now_us),
            Event::Request(_, event) => self.answer(event, now_us),
        }
    }

    /// Takes what became of a prompt: there is one at a time.
    fn answer(&mut self, event: RequestEvent, now_us: Micros) {
        match event {
            RequestEvent::Submitted { prompt } => {
                if let Some(turn) = self.talk.last_turn().filter(|_| self.busy) {
                    turn.prompt = prompt;
                }
            }
            RequestEvent::Thought { text, tokens } => {
                if let Some(turn) = self.talk.last_turn() {
                    turn.thought += &text;
                    turn.thought_tokens = tokens;
                    turn.state = TurnState::Streaming;
                }
            }
            RequestEvent::Text(text) => {
                if let Some(turn) = self.talk.last_turn() {
                    turn.answer += &text;
                    turn.state = TurnState::Streaming;
                }
            }
            RequestEvent::Done(stats) => self.end_turn(TurnState::Done(stats)),
            RequestEvent::Failed(error) => {
                let error = error.to_string();
                if self.busy {
                    self.end_turn(TurnState::Failed(error));
                    self.restore_prompt(now_us);
                } else {
                    self.talk.push(Item::Notice(error));
                }
            }
        }
    }

    /// The engine is gone: its last words, and the prompt goes back to where it was written.
    pub fn die(&mut self, error: String, now_us: Micros) {
        if self.fatal.is_some() {
            return;
        }
        if self.busy {
            self.end_turn(TurnState::Failed("not answered".into()));
            self.restore_prompt(now_us);
        }
        self.talk.push(Item::Fatal(error.clone()));
        self.talk.push(Item::Notice(format!(
            "Nothing runs any more. {} quits; `nmos doctor` checks this machine and its models.",
            self.key_name(Action::Quit)
        )));
        self.talk.follow();
        self.fatal = Some(error);
    }

    fn end_turn(&mut self, state: TurnState) {
        if let Some(turn) = self.talk.last_turn().filter(|_| self.busy) {
            turn.state = state;
        }
        self.busy = false;
        // It is stopped now; whether to quit is still open.
        self.toast = self.armed_remark();
    }

    /// A prompt that got no answer is not lost, unless something else is being written.
    fn restore_prompt(&mut self, now_us: Micros) {
        let unanswered = self.talk.last_turn();
        let unanswered = unanswered.filter(|t| t.answer.is_empty() && t.thought.is_empty());
        if let Some(prompt) = unanswered.map(|t| t.prompt.clone())
            && self.prompt.is_blank()
        {
            self.edit(&PromptKey::Replace(&prompt), now_us);
        }
    }
}
