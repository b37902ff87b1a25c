//! Which drafters have said what follows a node of a tree.

/// A drafter's place in a [`DrafterSet`](super::drafter_set::DrafterSet).
pub(super) type Place = usize;

/// Which drafters have been asked about a node, a bit for each place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Asked {
    answered: u32,
    /// They had nothing to say, which may change when the text has gone on.
    silent: u32,
}

impl Asked {
    pub fn has(self, place: Place) -> bool {
        (self.answered | self.silent) & 1 << place != 0
    }

    pub fn note(&mut self, place: Place, answered: bool) {
        let bits = if answered {
            &mut self.answered
        } else {
            &mut self.silent
        };
        *bits |= 1 << place;
    }

    /// Those that had nothing to say may be asked again.
    pub fn forget_silence(&mut self) {
        self.silent = 0;
    }
}
