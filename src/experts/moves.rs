//! The memory of experts that leave, moved under those that come.
//!
//! The system fills new memory with zeros and counts it page by page, which can take longer than
//! computing with the expert that is read into it. So pages are moved, of each slice those that no
//! other expert touches, as many in all slices of a table:
//!
//! ```text
//!  leaves   |.| gate .... |.|.| up ...... |.|      the pages between slices are given back
//!                 moved           moved
//!  comes    |.| gate .... |.|.| up ...... |.|      and taken again
//! ```
//!
//! A place is thus moved to and from as a whole, so that it is one mapping. A process can have so many
//! mappings: where they run out, and where the system cannot move memory, it is given back.
//!
//! Invariant: until [`PageMoves::finish`] what is kept is held besides what is counted, and no more is
//! held in all than before it was kept; after it nothing is kept.

use crate::io::{BLOCK, Region};
use std::collections::HashSet;

/// Fewer pages are not moved.
const LEAST_PAGES: usize = 4;

/// A place that is moved to is a mapping, and so is what lies between it and the next.
const MAPPINGS_A_PLACE: usize = 2;

/// See the module's text.
#[derive(Debug)]
pub(super) struct PageMoves {
    /// Of experts that have left.
    kept: Vec<Region>,
    /// Where experts come that have no memory there yet.
    wanted: Vec<Region>,
    /// Addresses that have been moved to.
    places: HashSet<usize>,
    most_places: usize,
    #[cfg(test)]
    moved: u64,
}

impl PageMoves {
    /// For a process that may take `mappings` more.
    pub(super) fn new(mappings: usize) -> Self {
        Self {
            kept: Vec::new(),
            wanted: Vec::new(),
            places: HashSet::new(),
            most_places: mappings / MAPPINGS_A_PLACE,
            #[cfg(test)]
            moved: 0,
        }
    }

    /// Takes the memory of an expert that leaves.
    pub(super) fn keep(&mut self, memory: Region) {
        self.kept.push(memory);
    }

    /// Asks for memory where an expert comes.
    pub(super) fn want(&mut self, memory: Region) {
        self.wanted.push(memory);
    }

    /// Moves what was kept to where as much is wanted, and gives the rest back.
    pub(super) fn finish(&mut self) {
        for to in std::mem::take(&mut self.wanted) {
            let alike = self.kept.iter().position(|from| from.len() == to.len());
            let Some(from) = alike.map(|found| self.kept.swap_remove(found)) else {
                continue;
            };
            if !self.moves(&from, &to) {
                from.discard();
            }
        }
        self.kept.drain(..).for_each(|from| from.discard());
    }

    /// Whether the memory was moved.
    fn moves(&mut self, from: &Region, to: &Region) -> bool {
        let place = to.addr().addr();
        let is_known = self.places.contains(&place);
        if to.len() < LEAST_PAGES * BLOCK || !is_known && self.places.len() >= self.most_places {
            return false;
        }
        if let Err(error) = to.take_pages_of(from) {
            tracing::info!(%error, "memory of experts is given back and taken again, not moved");
            self.most_places = 0;
            self.places.clear();
            return false;
        }
        self.places.insert(place);
        #[cfg(test)]
        {
            self.moved += 1;
        }
        true
    }

    /// Moves so far.
    #[cfg(test)]
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }
}
