//! What has been read so far, and how fast: written by whoever reads, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
}

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
