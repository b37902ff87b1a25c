//! Whether a pass before Enter still pays, by what has been typed since it began.
//!
//! Edits and Enter wait in the [`Inbox`] while a pass runs. A pass that is given up can begin
//! again on the text as it is then. One that goes on will have read those of its tokens that are
//! still in the text, and another pass has to read the rest. Whichever makes an Enter at this
//! moment wait less is done:
//!
//! ```text
//!  give up:  T(all tokens that are not read)
//!  go on:    (1 - done) x T(tokens of this pass) + T(those that it leaves unread)
//! ```
//!
//! Where weights stream, a pass over few tokens takes as long as one over many, and going on means
//! to wait for two. Where computing takes the time, what has been computed counts.
//!
//! How many tokens a text has that is being typed is estimated by its characters: this is asked
//! between any two shards.

use super::inbox::{Inbox, Waits};
use crate::oracle::WidthClass;
use crate::plan::PassTimes;
use crate::prefix::common_prefix;
use crate::typing::Composer;
use std::rc::Rc;

/// By this factor going on must cost more than beginning again before a pass is given up: times
/// are estimates, and the ring of weights would have to be filled again.
const MARGIN: f64 = 1.05;

/// The prompt as it was when a pass began.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub composer: Composer,
    pub extent: Extent,
}

/// The tokens of a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Those before the typed text: system text and earlier turns.
    pub head: usize,
    /// Of all.
    pub whole: usize,
    /// Those after the typed text.
    pub tail: usize,
}

/// What a pass before Enter reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// What is left of the prompt as it is, as far as a pass goes, or tokens of its answer.
    Whole,
    /// Text that more typing follows: only Enter, or a change in that text, is of interest.
    Part,
}

/// See the module's text.
pub(super) struct Stakes {
    pub inbox: Rc<Inbox>,
    pub typed: Typed,
    pub reads: Reads,
    /// Tokens that were read before this pass, and its own.
    pub ready: usize,
    pub tokens: usize,
    pub times: PassTimes,
    pub class: WidthClass,
}

impl Stakes {
    /// Whether the pass, of which the part `done` is computed, should be given up.
    pub(super) fn gives_up(&self, done: f64) -> bool {
        let (after, entered) = match self.inbox.waits(&self.typed.composer) {
            Waits::Nothing => return false,
            Waits::Other => return true,
            Waits::Text { after, entered } => (after, entered),
        };
        let (old, new) = (self.typed.composer.text(), after.as_str());
        let same = common_prefix(old.chars(), new.chars());
        if self.reads == Reads::Whole && old == new {
            // Enter asks for just this pass.
            return false;
        }
        let Extent { head, whole, tail } = self.typed.extent;
        let of_text = whole.saturating_sub(head + tail) as f64;
        let per_char = of_text / old.chars().count().max(1) as f64;
        let valid = head + (per_char * same as f64) as usize;
        let total = head + (per_char * new.chars().count() as f64).ceil() as usize + tail;
        let ready = self.ready.min(valid);
        let kept = (self.ready + self.tokens).min(valid).max(ready);
        if self.reads == Reads::Part && !entered {
            return kept == ready;
        }
        let left = (1.0 - done) * self.pass_ms(self.tokens);
        let go_on = left + self.passes_ms(total.saturating_sub(kept));
        go_on > MARGIN * self.passes_ms(total.saturating_sub(ready))
    }

    /// Time of the passes that read so many tokens.
    fn passes_ms(&self, tokens: usize) -> f64 {
        let (full, rest) = (tokens / self.class.max, tokens % self.class.max);
        let full_ms = full as f64 * self.pass_ms(self.class.max);
        match rest {
            0 => full_ms,
            rest => full_ms + self.pass_ms(rest),
        }
    }

    /// Time of one pass over so many tokens, which the class pads.
    fn pass_ms(&self, tokens: usize) -> f64 {
        self.times.ms(tokens.max(self.class.min), self.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::intent::{Intent, IntentSender};
    use crate::typing::{Edit, MonotonicClock, TypingEvent};
    use std::sync::Arc;

    const CLASS: WidthClass = WidthClass::BATCH;

    /// Passes that take as long as computing does.
    fn computing() -> PassTimes {
        let mut times = PassTimes::default();
        times.observe(32, CLASS, 670.0, 0.0);
        times
    }

    /// Passes that take as long as reading the weights.
    fn streaming() -> PassTimes {
        let mut times = computing();
        times.observe(32, CLASS, 3000.0, 2500.0);
        times
    }

    fn insert(text: &str) -> Edit {
        Edit::Insert {
            text: text.to_owned(),
            paste: false,
        }
    }

    /// Whether a pass over the first `tokens` of a text of 40 characters, a token each, with 10
    /// tokens before it of which all are read, is given up when so much is done.
    fn given_up(reads: Reads, times: &PassTimes, tokens: usize, edits: &[Edit], done: f64) -> bool {
        let (say, intents) = IntentSender::new(Arc::new(MonotonicClock::new()));
        let mut composer = Composer::new();
        composer.apply(&insert(&"a".repeat(40))).unwrap();
        for edit in edits {
            let event = TypingEvent {
                t_us: 0,
                edit: edit.clone(),
            };
            say.send(Intent::Typing(event)).unwrap();
        }
        let stakes = Stakes {
            inbox: Rc::new(Inbox::new(intents)),
            typed: Typed {
                composer,
                extent: Extent {
                    head: 10,
                    whole: 50,
                    tail: 0,
                },
            },
            reads,
            ready: 10,
            tokens,
            times: times.clone(),
            class: CLASS,
        };
        stakes.gives_up(done)
    }

    #[test]
    fn what_enter_asks_for_goes_on() {
        for times in [computing(), streaming()] {
            for edits in [&[][..], &[Edit::Enter], &[Edit::Cursor { pos: 0 }]] {
                assert!(!given_up(Reads::Whole, &times, 40, edits, 0.0));
            }
        }
    }

    #[test]
    fn where_weights_stream_a_changed_text_is_read_by_one_pass() {
        let more = [insert("bbb")];
        assert!(given_up(Reads::Whole, &streaming(), 40, &more, 0.0));
        assert!(given_up(Reads::Whole, &streaming(), 40, &more, 0.9));
        assert!(!given_up(Reads::Whole, &streaming(), 40, &more, 0.99));
    }

    #[test]
    fn what_has_been_computed_of_a_longer_text_counts() {
        let more = [insert("bbb")];
        assert!(given_up(Reads::Whole, &computing(), 40, &more, 0.1));
        assert!(!given_up(Reads::Whole, &computing(), 40, &more, 0.7));
        let other = [Edit::Delete { start: 0, end: 40 }, insert("bbb")];
        assert!(given_up(Reads::Whole, &computing(), 40, &other, 0.7));
    }

    #[test]
    fn a_part_is_given_up_for_enter_and_for_what_changes_it() {
        let more = [insert("bbb")];
        assert!(!given_up(Reads::Part, &streaming(), 32, &more, 0.0));
        let entered = [insert("bbb"), Edit::Enter];
        assert!(given_up(Reads::Part, &streaming(), 32, &entered, 0.5));
        assert!(!given_up(Reads::Part, &computing(), 32, &entered, 0.8));
        let start = [Edit::Cursor { pos: 0 }, insert("b")];
        assert!(given_up(Reads::Part, &streaming(), 32, &start, 0.0));
    }

    #[test]
    fn a_text_of_several_passes_is_read_on() {
        // What is left for a second pass waits for it in any case.
        let more = [insert(&"b".repeat(60)), Edit::Enter];
        assert!(!given_up(Reads::Part, &streaming(), 40, &more, 0.2));
    }
}
