//! Who guessed a token: named where guesses are made, and shown wherever they are.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A drafter's name and marks. Each drafter declares its own.
#[derive(Clone, Copy)]
pub struct DrafterId(&'static Marks);

/// How a drafter and its guesses are shown. Each mark is one column wide, and no other
/// drafter's.
#[derive(Debug)]
pub struct Marks {
    /// A plain lower-case word.
    pub name: &'static str,
    /// A guess that was kept, and one that was not.
    pub unicode: [&'static str; 2],
    pub ascii: [&'static str; 2],
}

impl DrafterId {
    pub const fn new(marks: &'static Marks) -> Self {
        Self(marks)
    }

    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The mark of a guess that was kept, and of one that was not.
    pub fn marks(self, ascii: bool) -> [&'static str; 2] {
        if ascii { self.0.ascii } else { self.0.unicode }
    }
}

impl PartialEq for DrafterId {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for DrafterId {}

impl Hash for DrafterId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for DrafterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
