//! What the engine tells the workbench: the answer as it comes, and how it ends.

use super::{Action, App, Item, PromptKey, TurnState};
use crate::session::Event;
use crate::units::Micros;

impl App {
    /// Takes an event of the engine.
    pub fn engine(&mut self, event: Event, now_us: Micros) {
        match event {
            Event::Ready => self.ready = true,
            Event::Submitted { prompt } => {
                if let Some(turn) = self.talk.last_turn().filter(|_| self.busy) {
                    turn.prompt = prompt;
                }
            }
            Event::Text(text) => {
                if let Some(turn) = self.talk.last_turn() {
                    turn.answer += &text;
                    turn.state = TurnState::Streaming;
                }
            }
            Event::Done(stats) => self.end_turn(TurnState::Done(stats)),
            Event::Notice(text) => self.talk.push(Item::Notice(text)),
            Event::Error(error) => {
                if self.busy {
                    self.end_turn(TurnState::Failed(error));
                    self.restore_prompt(now_us);
                } else {
                    self.talk.push(Item::Notice(error));
                }
            }
            Event::Fatal(error) => self.die(error, now_us),
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
        let unanswered = self.talk.last_turn().filter(|t| t.answer.is_empty());
        if let Some(prompt) = unanswered.map(|t| t.prompt.clone())
            && self.prompt.is_blank()
        {
            self.edit(&PromptKey::Replace(&prompt), now_us);
        }
    }
}
