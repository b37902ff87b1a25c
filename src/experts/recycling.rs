//! Memory of experts that leave, moved under those that come.
//!
//! The system fills new memory with zeros and counts it page by page, which takes longer than
//! computing with the expert that is read into it. So the pages of those that make place are moved:
//!
//! ```text
//!  leaves:  | gate .... | up ...... | down ....... |     kept, not given back
//!               moved       moved        moved
//!  comes:   | gate .... | up ...... | down ......|       what is longer takes new memory
//! ```
//!
//! Invariant: between two calls of [`Recycling::finish`] no more memory is held than before; after it
//! none is kept. A process can have so many mappings, and each place that is moved to takes some:
//! where they run out, memory is given back and taken anew.

use crate::io::{BLOCK, MAPPINGS_A_MOVE, Region};

/// Fewer bytes are not moved: giving them back costs less.
const LEAST: usize = 4 * BLOCK;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Recycling {
    /// Of experts that have left.
    kept: Vec<Region>,
    /// Where experts are to come that have no memory yet.
    wanted: Vec<Region>,
    /// Places that can still be moved to for the first time.
    places_left: usize,
}

impl Recycling {
    /// For a process of at most `mappings` mappings, of which a half may be taken.
    pub(super) fn new(mappings: usize) -> Self {
        Self {
            kept: Vec::new(),
            wanted: Vec::new(),
            places_left: mappings / 2 / MAPPINGS_A_MOVE,
        }
    }

    /// Takes the memory of an expert that leaves.
    pub(super) fn keep(&mut self, memory: Vec<Region>) {
        self.kept.extend(memory);
    }

    /// Asks for memory where an expert is to come; says whether it may have been moved to from now on,
    /// as before where `was_moved_to`.
    pub(super) fn give(&mut self, memory: Vec<Region>, was_moved_to: bool) -> bool {
        let places = match was_moved_to {
            true => 0,
            false => memory.len(),
        };
        if places > self.places_left {
            return false;
        }
        self.places_left -= places;
        self.wanted.extend(memory);
        true
    }

    /// Moves what was kept to where it is wanted, and gives the rest back.
    pub(super) fn finish(&mut self) {
        let mut kept = self.kept.drain(..);
        for to in self.wanted.drain(..) {
            let Some(from) = kept.next() else { break };
            let bytes = from.len().min(to.len());
            let moved = bytes >= LEAST && {
                let to = to.part(0, bytes);
                to.take_pages_of(&from.part(0, bytes)).is_ok()
            };
            match moved {
                true => from.part(bytes, from.len() - bytes).discard(),
                false => from.discard(),
            }
        }
        kept.for_each(|from| from.discard());
    }
}
