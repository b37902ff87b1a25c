//! What has been read so far, and how fast: written by whoever reads, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time of reading over which the present rate is averaged.
const RATE_WINDOW: Duration = Duration::from_millis(250);

/// What has been read so far.
#[derive(Debug, Default)]
pub struct ReadCounters {
    bytes: AtomicU64,
    busy_ns: AtomicU64,
    cpu_ns: AtomicU64,
    /// Bytes a second over the last quarter of a second of reading.
    bytes_per_s: AtomicU64,
    demanded_bytes: AtomicU64,
    reading: Mutex<ReadingTime>,
}

/// Time in which anybody reads: that of two who read at once counts once.
#[derive(Debug, Default)]
struct ReadingTime {
    readers: usize,
    /// Since when there have been readers without a gap.
    since: Option<Instant>,
    before: Duration,
}

/// Somebody reads, until this is dropped.
pub(super) struct Reading(Arc<ReadCounters>);

impl ReadCounters {
    /// Bytes of shards that arrived from the files.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Time in which at least one read of a shard was in flight, in nanoseconds.
    pub fn busy_ns(&self) -> u64 {
        self.busy_ns.load(Ordering::Relaxed)
    }

    /// Decimal gigabytes a second over the last quarter of a second of reading; zero before
    /// the first read has ended.
    pub fn gb_s(&self) -> f64 {
        self.bytes_per_s.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// Processor time of the reading thread, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Ordering::Relaxed)
    }

    /// Bytes that were read on demand.
    pub fn demanded_bytes(&self) -> u64 {
        self.demanded_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of shards and those read on demand.
    pub fn all_bytes(&self) -> u64 {
        self.bytes() + self.demanded_bytes()
    }

    /// Time in which at least one read was in flight, of a shard or on demand, in microseconds.
    pub fn reading_us(&self) -> u64 {
        let time = self.reading_time().until(Instant::now());
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes that the caller has been reading since `since`.
    pub(super) fn reading_since(self: &Arc<Self>, since: Instant) -> Reading {
        self.reading_time().begin(since);
        Reading(Arc::clone(self))
    }

    fn reading_time(&self) -> MutexGuard<'_, ReadingTime> {
        // It is whole whatever its holder was doing.
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a read that ended, and the time since the one before it.
    pub(super) fn add(&self, bytes: usize, busy: Duration) {
        let busy_ns = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
    }

    pub(super) fn add_demanded(&self, bytes: u64) {
        self.demanded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says what the reading thread, which calls this, has come to.
    pub(super) fn publish(&self, rate: &Rate) {
        let cpu_ns = crate::system::thread_cpu_ns();
        self.cpu_ns.store(cpu_ns, Ordering::Relaxed);
        let bytes_per_s = (rate.gb_s() * 1e9) as u64;
        self.bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading_time().end(Instant::now());
    }
}

impl ReadingTime {
    fn begin(&mut self, now: Instant) {
        self.readers += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        self.readers -= 1;
        if self.readers == 0 {
            self.before = self.until(now);
            self.since = None;
        }
    }

    fn until(&self, now: Instant) -> Duration {
        let latest = self.since.map(|since| now.saturating_duration_since(since));
        self.before + latest.unwrap_or_default()
    }
}

/// Bytes a second over the last quarter of a second of reading.
#[derive(Default)]
pub(super) struct Rate {
    bytes: u64,
    busy: Duration,
    last: f64,
    /// Whether a whole window has been measured; until then the rate is that of a part of one.
    settled: bool,
}

impl Rate {
    pub(super) fn add(&mut self, bytes: usize, busy: Duration) {
        self.bytes += bytes as u64;
        self.busy += busy;
        // A byte a nanosecond is a gigabyte a second.
        if self.busy > RATE_WINDOW || !self.settled {
            self.last = self.bytes as f64 / self.busy.as_nanos().max(1) as f64;
        }
        if self.busy > RATE_WINDOW {
            (self.bytes, self.busy) = (0, Duration::ZERO);
            self.settled = true;
        }
    }

    pub(super) fn gb_s(&self) -> f64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_two_read_at_once_counts_once() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut time = ReadingTime::default();
        time.begin(start);
        time.begin(start + ms(10));
        time.end(start + ms(15));
        assert_eq!(time.until(start + ms(18)), ms(18));
        time.end(start + ms(20));
        // Nobody reads.
        assert_eq!(time.until(start + ms(30)), ms(20));
        time.begin(start + ms(40));
        time.end(start + ms(45));
        assert_eq!(time.until(start + ms(50)), ms(25));
    }

    #[test]
    fn a_rate_is_that_of_the_last_whole_window() {
        let mut rate = Rate::default();
        let ms = Duration::from_millis;
        assert_eq!(rate.gb_s(), 0.0);
        // The part of a first window counts.
        rate.add(100_000_000, ms(100));
        assert_eq!(rate.gb_s(), 1.0);
        rate.add(200_000_000, ms(200));
        assert_eq!(rate.gb_s(), 1.0);
        // That of a later one waits until it is whole.
        rate.add(900_000_000, ms(100));
        assert_eq!(rate.gb_s(), 1.0);
        rate.add(300_000_000, ms(200));
        assert_eq!(rate.gb_s(), 4.0);
    }
}
