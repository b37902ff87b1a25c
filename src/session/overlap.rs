//! How the draft's work overlaps a pass of the oracle: where it may, and on which cores.
//!
//! ggml's threads wait for each other by spinning. Where the draft's and the oracle's share
//! cores, each waits while the others spin, and both become ten times slower. So the draft works
//! during a pass only on cores that the pass does not need:
//!
//! ```text
//!  oracle on      draft on    cores of the draft                       overlaps a pass
//!  the device     the device  as below: one feeds the device, and all   with 2 cores
//!                             rank its logits
//!  the device     the CPU     all but two, up to --threads             with 3 cores
//!  the CPU        the CPU     those beyond --threads, up to --threads  where there are 2
//!                             (as many as --threads, where not)
//! ```

use crate::speculate::{DraftError, Speculator};
use crate::typing::Clock;
use crate::units::Micros;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

/// Cores that a pass on a device needs: one feeds the device, one reads from the disk.
const FEEDING: usize = 2;

/// Fewest spare cores with which the draft works while a pass runs on the CPU.
const FEWEST_SPARE: usize = 2;

/// What the draft may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DraftCores {
    pub threads: usize,
    /// It may work while a pass runs.
    pub ahead: bool,
}

/// Which of the two compute on a device with its own memory, and not on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnDevice {
    pub oracle: bool,
    pub draft: bool,
}

impl DraftCores {
    /// See the module's text. `threads` is what was asked for, `cores` what this process has.
    pub(super) fn new(on: OnDevice, threads: usize, cores: usize) -> Self {
        let spare = cores.saturating_sub(if on.oracle { FEEDING } else { threads });
        match on {
            OnDevice { draft: true, .. } => Self {
                threads: threads.min(spare).max(1),
                ahead: on.oracle && cores >= 2,
            },
            OnDevice { oracle: true, .. } => Self {
                threads: threads.min(spare).max(1),
                ahead: spare > 0,
            },
            _ if spare >= FEWEST_SPARE => Self {
                threads: spare.min(threads),
                ahead: true,
            },
            _ => Self {
                threads,
                ahead: false,
            },
        }
    }
}

/// What the draft did while a pass ran.
pub(super) struct Ahead {
    /// The draft's time that the pass hid; `None` where the draft does not work during passes.
    pub hidden_ms: Option<f64>,
    /// Time that the draft's last decode took beyond the end of the pass.
    pub waited_ms: f64,
    pub drafted: Result<(), DraftError>,
}

impl Ahead {
    /// It did nothing.
    const IDLE: Self = Self {
        hidden_ms: None,
        waited_ms: 0.0,
        drafted: Ok(()),
    };
}

/// Runs `pass`, and meanwhile `work` on another thread, where the draft may work then and a thread
/// can be started. `work` has to end soon after its flag is set.
pub(super) fn overlapped<T>(
    speculator: &mut Speculator,
    clock: &dyn Clock,
    work: impl FnOnce(&mut Speculator, &AtomicBool) -> Result<(), DraftError> + Send,
    pass: impl FnOnce() -> T,
) -> (T, Ahead) {
    if !speculator.works_ahead() {
        return (pass(), Ahead::IDLE);
    }
    let thread = Builder::new().name("draft".into());
    overlapped_on(thread, speculator, clock, work, pass)
}

fn overlapped_on<T>(
    thread: Builder,
    speculator: &mut Speculator,
    clock: &dyn Clock,
    work: impl FnOnce(&mut Speculator, &AtomicBool) -> Result<(), DraftError> + Send,
    pass: impl FnOnce() -> T,
) -> (T, Ahead) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let working = thread.spawn_scoped(scope, || {
            let began_us = clock.now_us();
            let drafted = work(speculator, &stop);
            (drafted, ms_since(clock, began_us))
        });
        let working = match working {
            Ok(working) => working,
            Err(error) => {
                tracing::warn!(%error, "no thread for the draft during this pass");
                return (pass(), Ahead::IDLE);
            }
        };
        let result = {
            // The flag is set even if the pass panics, since the scope waits for the thread.
            let _stops = Stops(&stop);
            pass()
        };
        let ended_us = clock.now_us();
        let (drafted, worked_ms) = working
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let waited_ms = ms_since(clock, ended_us).min(worked_ms);
        let ahead = Ahead {
            hidden_ms: Some(worked_ms - waited_ms),
            waited_ms,
            drafted,
        };
        (result, ahead)
    })
}

/// Sets its flag when it is dropped.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Milliseconds on `clock` since then.
pub(super) fn ms_since(clock: &dyn Clock, began_us: Micros) -> f64 {
    clock.now_us().saturating_sub(began_us) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TreeSize;
    use crate::speculate::Sizing;
    use crate::typing::VirtualClock;

    fn cores(oracle: bool, draft: bool, threads: usize, cores: usize) -> (usize, bool) {
        let found = DraftCores::new(OnDevice { oracle, draft }, threads, cores);
        (found.threads, found.ahead)
    }

    #[test]
    fn pass_and_draft_never_share_cores() {
        for cores in 1..40 {
            for threads in 1..40 {
                let found =
                    |oracle, draft| DraftCores::new(OnDevice { oracle, draft }, threads, cores);
                let on_cpu = found(false, false);
                assert!(!on_cpu.ahead || on_cpu.threads + threads <= cores);
                for on_device in [found(true, false), found(true, true)] {
                    assert!(!on_device.ahead || on_device.threads < cores);
                    assert!((1..=threads).contains(&on_device.threads));
                }
                assert!((1..=threads).contains(&on_cpu.threads));
            }
        }
    }

    #[test]
    fn the_draft_works_during_a_pass_where_cores_are_left() {
        // All cores compute passes.
        assert_eq!(cores(false, false, 16, 16), (16, false));
        assert_eq!(cores(false, false, 15, 16), (15, false));
        assert_eq!(cores(false, false, 12, 16), (4, true));
        assert_eq!(cores(false, false, 3, 16), (3, true));
        // None do.
        assert_eq!(cores(true, false, 16, 16), (14, true));
        assert_eq!(cores(true, false, 4, 16), (4, true));
        assert_eq!(cores(true, false, 2, 2), (1, false));
        assert_eq!(cores(true, true, 16, 16), (14, true));
        assert_eq!(cores(true, true, 2, 2), (1, true));
        assert_eq!(cores(false, true, 16, 16), (1, false));
        assert_eq!(cores(true, true, 1, 1), (1, false));
    }

    #[test]
    fn where_no_thread_can_be_had_the_pass_runs_alone() {
        let mut speculator = Speculator::new(Vec::new(), Sizing::new(TreeSize::Fixed(8), 8));
        let mut worked = false;
        // With a stack larger than the address space.
        let thread = Builder::new().stack_size(1 << 50);
        let work = |_: &mut Speculator, _: &AtomicBool| {
            worked = true;
            Ok(())
        };
        let (passed, ahead) =
            overlapped_on(thread, &mut speculator, &VirtualClock::new(), work, || 7);
        assert_eq!((passed, ahead.hidden_ms, worked), (7, None, false));
        assert!(ahead.drafted.is_ok());
    }
}
