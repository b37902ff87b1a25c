//! The threads that compute on the CPU, alive between graphs, and how many of them do.

use super::cpu::CpuFunctions;
use super::error::ComputeError;
use super::share::Share;
use llama_cpp_sys_2 as sys;
use rustix::thread::{gettid, name, set_name};
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// The name of threads that compute, as process viewers show it.
const NAME: &CStr = c"nmos-compute";

/// Fewest and most threads that computed since somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ThreadsUsed {
    /// Zero where nothing was computed.
    pub least: usize,
    pub most: usize,
}

impl ThreadsUsed {
    /// The least and the most of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self { most: 0, .. }, _) => other,
            (_, Self { most: 0, .. }) => self,
            _ => Self {
                least: self.least.min(other.least),
                most: self.most.max(other.most),
            },
        }
    }
}

/// ggml's threads of one user of the CPU. The thread that asks for a graph is one of them.
#[derive(Debug)]
pub(super) struct Crew {
    pool: *mut sys::ggml_threadpool,
    functions: CpuFunctions,
    /// Clocks of the processor time of all threads but the one that asks.
    clocks: Vec<libc::clockid_t>,
    /// What those clocks showed together, at the last reading.
    clocks_said: Duration,
    share: Share,
    used: ThreadsUsed,
}

// SAFETY: the pool is no thread's own; one thread at a time has it computed with.
unsafe impl Send for Crew {}

impl Crew {
    /// Starts `threads` threads, the one that asks among them.
    ///
    /// # Errors
    /// Where the backend lacks what is needed, or there are no threads to be had.
    pub(super) fn start(threads: usize) -> Result<Self, ComputeError> {
        let functions = CpuFunctions::get()?;
        let threads = threads.max(1);
        let n = i32::try_from(threads).unwrap_or(1);
        // New threads have the name of the one that starts them: by it they are found.
        let mine = name().ok();
        let _ = set_name(NAME);
        // SAFETY: `params` lives through the call; the threads are freed in `drop`.
        let pool = unsafe {
            let mut params = sys::ggml_threadpool_params_default(n);
            // Idle threads sleep: by default they spin for about 100 ms after each graph, on
            // cores that the draft and the reader need meanwhile.
            params.poll = 0;
            (functions.new_pool)(&raw mut params)
        };
        let clocks = match threads {
            1 => Vec::new(),
            _ => clocks_of_new(),
        };
        if let Some(mine) = mine {
            let _ = set_name(&mine);
        }
        rename(&clocks);
        if pool.is_null() {
            return Err(ComputeError::Start("no threads"));
        }
        // Without all of their clocks nothing can be said of what they get.
        let most = threads;
        let known = clocks.len() + 1 == threads;
        if !known {
            tracing::warn!(
                threads,
                found = clocks.len() + 1,
                "threads cannot be watched"
            );
        }
        Ok(Self {
            pool,
            functions,
            clocks: clocks.iter().map(|&tid| clock_of(tid)).collect(),
            clocks_said: Duration::ZERO,
            share: Share::new(most),
            used: ThreadsUsed::default(),
        }
        .watched(known))
    }

    fn watched(mut self, known: bool) -> Self {
        if !known {
            self.clocks.clear();
        }
        self.clocks_said = self.others();
        self
    }

    pub(super) fn pool(&self) -> *mut sys::ggml_threadpool {
        self.pool
    }

    pub(super) fn functions(&self) -> &CpuFunctions {
        &self.functions
    }

    /// Threads for the next graph.
    pub(super) fn threads(&self) -> usize {
        self.share.threads()
    }

    /// Fewest and most threads since the last call of this.
    pub(super) fn take_used(&mut self) -> ThreadsUsed {
        std::mem::take(&mut self.used)
    }

    /// Runs `compute`, which has [`Crew::threads`] threads compute, and learns what they got.
    /// `idle` says afterwards how much of the time nothing was computed.
    pub(super) fn watch<T>(
        &mut self,
        compute: impl FnOnce() -> T,
        idle: impl FnOnce() -> Duration,
    ) -> T {
        let threads = self.threads();
        self.used = self.used.and(ThreadsUsed {
            least: threads,
            most: threads,
        });
        if !self.share.can_change() || self.clocks.is_empty() {
            return compute();
        }
        let (began, mine) = (Instant::now(), own_time());
        let result = compute();
        let wall = began.elapsed().saturating_sub(idle());
        let mine = own_time().saturating_sub(mine);
        // Threads that do not compute sleep, so that what they had since the last graph they had
        // in this one.
        let said = self.others();
        let others = said.saturating_sub(self.clocks_said);
        self.clocks_said = said;
        self.share.observe(wall, mine + others);
        result
    }

    /// The processor time of all threads but this one.
    fn others(&self) -> Duration {
        self.clocks.iter().map(|&clock| time_of(clock)).sum()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // SAFETY: created in `start` and freed once; users drop their backend or context before.
        unsafe { (self.functions.free_pool)(self.pool) };
    }
}

/// The threads that bear [`NAME`], apart from this one.
fn clocks_of_new() -> Vec<i32> {
    let mine = gettid().as_raw_nonzero().get();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .filter_map(|task| {
            let tid: i32 = task.file_name().to_str()?.parse().ok()?;
            let name = std::fs::read(task.path().join("comm")).ok()?;
            (tid != mine && name.trim_ascii_end() == NAME.to_bytes()).then_some(tid)
        })
        .collect()
}

/// Gives threads that were found a name by which no other crew finds them.
fn rename(tids: &[i32]) {
    for tid in tids {
        // A thread without another name would be counted to the next crew as well, which then
        // says that it cannot watch its own.
        let _ = std::fs::write(format!("/proc/self/task/{tid}/comm"), "nmos-computes");
    }
}

/// The clock of a thread's processor time, in the kernel's numbering: the thread's number with all
/// bits turned, then 4 for a thread (not a process) and 2 for scheduled time.
fn clock_of(tid: i32) -> libc::clockid_t {
    (!tid << 3) | 4 | 2
}

fn time_of(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one value that outlives the call; of a thread that is gone it says so.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result != 0 {
        return Duration::ZERO;
    }
    let (s, ns) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(s.unwrap_or(0), ns.unwrap_or(0))
}

/// The processor time of this thread.
fn own_time() -> Duration {
    time_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crew_has_clocks_of_its_own() {
        crate::ggml::init().expect("llama.cpp");
        let (a, b) = (Crew::start(3).expect("a"), Crew::start(2).expect("b"));
        assert_eq!((a.clocks.len(), b.clocks.len()), (2, 1));
        assert!(a.clocks.iter().all(|clock| !b.clocks.contains(clock)));
        assert_eq!(Crew::start(1).expect("one").clocks.len(), 0);
    }

    #[test]
    fn what_was_used_is_told_once() {
        let two = ThreadsUsed { least: 2, most: 2 };
        let one = ThreadsUsed { least: 1, most: 1 };
        assert_eq!(two.and(one), ThreadsUsed { least: 1, most: 2 });
        assert_eq!(ThreadsUsed::default().and(one), one);
        assert_eq!(one.and(ThreadsUsed::default()), one);
    }
}
