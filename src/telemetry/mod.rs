//! Plain data about what the engine does, for anyone to draw or print.
//!
//! Owns the [`Hub`]: one [`Snapshot`] that the engine's threads keep up to date and a reader
//! copies whenever it likes. What must not be missed is a `session::Event` instead.
//! No logic but counting lives here. Everything in a snapshot is measured unless its name begins with
//! `predicted` or `simulated`.
//!
//! ```text
//!  engine thread --update()--> Snapshot <--snapshot()-- whoever draws (any rate)
//!  reader thread --update()-->    |
//!                              changed() wakes one waiting drawer, coalesced
//! ```

mod experts;
mod log;
mod snapshot;
mod speculation;
mod stats;

pub use experts::{ExpertRow, ExpertState, ExpertTally, ExpertsView};
pub use log::{log_file, log_is_at, see_log};
pub use snapshot::*;
pub use speculation::{
    CALIBRATION_BINS, CalibrationBin, SpeculationView, Tally, TreeNodeView, TreeView,
};
pub use stats::{AnswerEnd, AnswerStats};

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the engine's threads leave what they measure.
#[derive(Debug)]
pub struct Hub {
    snapshot: Mutex<Snapshot>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Hub {
    /// A hub with an empty snapshot.
    pub fn new() -> Arc<Self> {
        let (wake, woken) = bounded(1);
        Arc::new(Self {
            snapshot: Mutex::new(Snapshot::default()),
            wake,
            woken,
        })
    }

    /// Changes the snapshot, and wakes whoever waits on [`Hub::changed`].
    /// `f` runs under a lock that drawing shares: it does little.
    pub fn update(&self, f: impl FnOnce(&mut Snapshot)) {
        f(&mut self.lock());
        // A full channel means that the reader is already due to wake: nothing is lost.
        let _ = self.wake.try_send(());
    }

    /// A copy of the present state.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// Receives one message when anything changed since the last one (coalesced).
    pub fn changed(&self) -> &Receiver<()> {
        &self.woken
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // A snapshot is valid after every single assignment, so a poisoned one still is.
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
