//! What the user does at the keyboard, as data: edits with times, the text they make,
//! traces of them on disk, their rhythm, and the clock that everything is timed by.

mod event;

pub use event::{Edit, TypingEvent};
