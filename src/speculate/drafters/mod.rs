//! The drafters, each in a file of its own.
//!
//! To add one: its file, which implements [`Drafter`] and declares its [`DrafterId`], and a
//! row of [`REGISTRY`]. Calibration, tree, telemetry and panes take it from there.

pub(super) mod lookup;
pub(super) mod model;
pub(super) mod recycling;

use super::drafter::Drafter;
use crate::units::Bytes;
use crate::vocabulary::DrafterId;
use lookup::LookupDrafter;
use model::ModelDrafter;
use recycling::RecyclingDrafter;

/// Which drafters a session wants, where that is a matter of choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrafterOptions {
    /// See [`RecyclingDrafter`].
    pub recycle: bool,
}

/// A drafter that a session can have.
pub(super) struct Registration {
    pub id: DrafterId,
    wanted: fn(DrafterOptions) -> bool,
    /// Makes it; `None` for one that has to be loaded, and joins by
    /// [`Speculator::add`](super::Speculator::add).
    make: Option<fn() -> Box<dyn Drafter>>,
    /// What it holds once it is made, beyond a few kilobytes.
    bytes: Bytes,
}

/// In the order in which they are shown. Of equal guesses that of the earlier one counts.
pub(super) const REGISTRY: [Registration; 3] = [
    Registration {
        id: ModelDrafter::ID,
        wanted: |_| true,
        make: None,
        bytes: Bytes(0),
    },
    Registration {
        id: LookupDrafter::ID,
        wanted: |_| true,
        make: Some(|| Box::new(LookupDrafter::new())),
        bytes: Bytes(0),
    },
    Registration {
        id: RecyclingDrafter::ID,
        wanted: |options| options.recycle,
        make: Some(|| Box::new(RecyclingDrafter::new())),
        bytes: RecyclingDrafter::BYTES,
    },
];

/// The drafters that a session has from the start.
pub fn at_start(options: DrafterOptions) -> Vec<Box<dyn Drafter>> {
    let makers = wanted(options).filter_map(|row| row.make);
    makers.map(|make| make()).collect()
}

/// What these hold.
pub fn bytes_at_start(options: DrafterOptions) -> Bytes {
    Bytes(wanted(options).map(|row| row.bytes.0).sum())
}

fn wanted(options: DrafterOptions) -> impl Iterator<Item = Registration> {
    let all = REGISTRY.into_iter();
    all.filter(move |row| (row.wanted)(options))
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

    #[test]
    fn what_is_not_wanted_is_not_made_and_takes_nothing() {
        let names = |recycle| {
            let made = at_start(DrafterOptions { recycle });
            made.iter().map(|d| d.id().name()).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["lookup"]);
        assert_eq!(names(true), ["lookup", "recycled"]);
        assert_eq!(bytes_at_start(DrafterOptions::default()), Bytes(0));
        let recycling = DrafterOptions { recycle: true };
        assert_eq!(bytes_at_start(recycling), RecyclingDrafter::BYTES);
    }
}
