//! One keystroke or edit. Trace format version 1, and the only way typed text enters a session.

use crate::units::Micros;
use serde::{Deserialize, Serialize};

/// An edit and when it happened, in microseconds from the first event of its prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingEvent {
    pub t_us: Micros,
    #[serde(flatten)]
    pub edit: Edit,
}

/// What an event does to the text. Positions count Unicode scalar values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Edit {
    /// Inserts at the cursor, and moves it past what was inserted.
    Insert {
        text: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        paste: bool,
    },
    /// Removes the character before the cursor.
    Backspace,
    /// Moves the cursor to an absolute position.
    Cursor { pos: usize },
    /// Removes `[start, end)`; the cursor goes to `start`.
    Delete { start: usize, end: usize },
    /// Submits the text.
    Enter,
}
