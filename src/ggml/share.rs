//! How many threads compute: as many as there are cores to be had.
//!
//! Threads that compute a graph meet after every operation, so that one that shares its core with
//! another program holds all of them up. What they get is measured: the processor time of all of
//! them together, over the time that passed, is the number of cores that they had.
//!
//! ```text
//!  cores had |  2.0  2.0  1.1            1.0 (trial)      2.0 (trial)
//!  threads   |  2    2    2  -> 1 1 1 1  2  -> 1 1 1 1 1  2 2 2 2
//!            +-------------^ another program comes        ^ and is gone
//! ```
//!
//! With fewer threads than asked for, cores that are free again go unseen: now and then a short
//! trial with all threads looks for them, the more seldom the more trials were in vain.

use std::time::Duration;

/// Time of computing over which threads are judged.
const WINDOW: Duration = Duration::from_millis(20);

/// How much of a core may be missing before anything is done about it: the screen is drawn and the
/// disk is read by other threads of ours.
const MISSING: f64 = 0.25;

/// Time of computing between trials, at first and at the most.
const PATIENCE: Duration = Duration::from_millis(100);
const MOST_PATIENCE: Duration = Duration::from_millis(1600);

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Share {
    most: usize,
    now: usize,
    /// Of the present window.
    wall: Duration,
    cpu: Duration,
    /// Of computing with fewer threads than asked for since the last trial.
    waited: Duration,
    patience: Duration,
    /// How many there were before the trial under way.
    trial: Option<usize>,
}

impl Share {
    /// All of `most` threads at first.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            most,
            now: most,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            waited: Duration::ZERO,
            patience: PATIENCE,
            trial: None,
        }
    }

    /// Threads for the next graph.
    pub fn threads(&self) -> usize {
        self.now
    }

    /// Whether [`Share::observe`] would have something to learn: one thread of one cannot change.
    pub fn can_change(&self) -> bool {
        self.most > 1
    }

    /// A graph took `wall` with the threads that there are, which had `cpu` together.
    pub fn observe(&mut self, wall: Duration, cpu: Duration) {
        self.wall += wall;
        self.cpu += cpu;
        if self.wall < WINDOW {
            return;
        }
        let cores = self.cpu.as_secs_f64() / self.wall.as_secs_f64();
        let waited = std::mem::take(&mut self.wall);
        self.cpu = Duration::ZERO;
        let had = whole(cores).clamp(1, self.now);
        match self.trial.take() {
            Some(before) if had <= before => {
                self.now = before;
                self.patience = (self.patience * 2).min(MOST_PATIENCE);
            }
            Some(_) => {
                self.now = had;
                self.patience = PATIENCE;
            }
            None => {
                self.now = had;
                self.waited += waited;
            }
        }
        if self.now == self.most {
            self.waited = Duration::ZERO;
        } else if self.waited >= self.patience {
            self.waited = Duration::ZERO;
            self.trial = Some(self.now);
            self.now = self.most;
        }
    }
}

/// Cores as a number of threads.
fn whole(cores: f64) -> usize {
    (cores + MISSING).floor().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: Duration = Duration::from_millis(20);

    /// Computes for a while on `free` cores; the numbers of threads that it was done with.
    fn compute(share: &mut Share, free: f64, passes: usize) -> Vec<usize> {
        let pass = |_| {
            let threads = share.threads();
            share.observe(PASS, PASS.mul_f64(free.min(threads as f64)));
            threads
        };
        (0..passes).map(pass).collect()
    }

    #[test]
    fn all_threads_compute_while_the_cores_are_free() {
        let mut share = Share::new(4);
        assert_eq!(compute(&mut share, 3.9, 50), [4; 50]);
    }

    #[test]
    fn a_core_that_is_taken_costs_a_thread_and_no_more() {
        let mut share = Share::new(16);
        assert_eq!(compute(&mut share, 15.5, 3), [16, 15, 15]);
        let mut share = Share::new(2);
        assert_eq!(compute(&mut share, 1.1, 3), [2, 1, 1]);
        // Fewer than one is none.
        let mut share = Share::new(2);
        assert_eq!(compute(&mut share, 0.4, 3), [2, 1, 1]);
    }

    #[test]
    fn trials_are_few_where_the_cores_stay_taken() {
        let mut share = Share::new(2);
        let threads = compute(&mut share, 1.1, 1000);
        let trials = threads.iter().filter(|&&n| n == 2).count();
        assert!((10..30).contains(&trials), "{trials}");
    }

    #[test]
    fn cores_that_are_free_again_are_found() {
        let mut share = Share::new(16);
        compute(&mut share, 1.0, 1000);
        let threads = compute(&mut share, 16.0, 100);
        assert_eq!(threads[99], 16);
        assert_eq!(compute(&mut share, 12.0, 2)[1], 12);
    }

    #[test]
    fn one_thread_stays_one() {
        let mut share = Share::new(1);
        assert_eq!(compute(&mut share, 0.3, 20), [1; 20]);
        assert!(!share.can_change());
        assert_eq!(Share::new(0).threads(), 1);
    }
}
