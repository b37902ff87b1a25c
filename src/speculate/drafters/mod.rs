//! All drafters that there are, each in a file of its own.
//!
//! To add one: its file, which implements [`Drafter`] and declares its [`DrafterId`], and a
//! row of [`REGISTRY`]. Calibration, tree, telemetry and panes take it from there.

pub(super) mod lookup;
pub(super) mod model;

use super::drafter::Drafter;
use crate::drafter_id::DrafterId;
use lookup::LookupDrafter;
use model::ModelDrafter;

/// A drafter that a session can have.
pub(super) struct Registration {
    pub id: DrafterId,
    /// Makes it; `None` for one that has to be loaded, and joins by
    /// [`Speculator::add`](super::Speculator::add).
    make: Option<fn() -> Box<dyn Drafter>>,
}

/// In the order in which they are shown. Of equal guesses that of the earlier one counts.
pub(super) const REGISTRY: [Registration; 2] = [
    Registration {
        id: ModelDrafter::ID,
        make: None,
    },
    Registration {
        id: LookupDrafter::ID,
        make: Some(|| Box::new(LookupDrafter::new())),
    },
];

/// The drafters that a session has from the start.
pub fn at_start() -> Vec<Box<dyn Drafter>> {
    let all = REGISTRY.into_iter().filter_map(|row| row.make);
    all.map(|make| make()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn every_drafter_has_a_name_and_marks_of_its_own() {
        let ids = REGISTRY.map(|row| row.id);
        let names: HashSet<_> = ids.iter().map(|id| id.name()).collect();
        assert_eq!(names.len(), ids.len());
        for ascii in [false, true] {
            let marks: HashSet<_> = ids.iter().flat_map(|id| id.marks(ascii)).collect();
            assert_eq!(marks.len(), 2 * ids.len());
            assert!(marks.iter().all(|mark| mark.width() == 1));
            assert!(!ascii || marks.iter().all(|mark| mark.is_ascii()));
        }
    }

    #[test]
    fn what_is_made_is_what_is_registered() {
        for row in REGISTRY {
            if let Some(make) = row.make {
                assert_eq!(make().id(), row.id);
            }
        }
    }
}
