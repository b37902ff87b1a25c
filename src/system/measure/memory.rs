//! How fast memory is read and copied by several threads.

use crate::system::{cpu_cache, memory};
use crate::units::Bytes;
use serde::Serialize;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Each of the two measurements takes this long.
const TIME: Duration = Duration::from_millis(150);

/// All threads' memory together: twice the largest cache, within these bounds, and a quarter
/// of what can be had at the most.
const LEAST: Bytes = Bytes::mib(64);
const MOST: Bytes = Bytes::mib(512);

/// Decimal gigabytes a second, all threads together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bandwidth {
    pub threads: usize,
    /// Memory that was gone through.
    pub bytes: Bytes,
    pub read_gb_s: f64,
    /// Bytes read and bytes written both count.
    pub copy_gb_s: f64,
}

/// Reads and copies memory larger than the caches with `threads` threads.
pub fn bandwidth(threads: usize) -> Bandwidth {
    let threads = threads.max(1);
    let quarter = memory().obtainable().map_or(LEAST, |all| Bytes(all.0 / 4));
    let bytes = Bytes(cpu_cache().map_or(0, |cache| 2 * cache.0));
    let bytes = bytes.clamp(LEAST, MOST).min(quarter);
    let words = usize::try_from(bytes.0).unwrap_or(usize::MAX) / size_of::<u64>() / threads;
    // A thread's memory is two halves, so that reading and copying touch the same bytes.
    let half = (words / 2).max(1);
    let barrier = Barrier::new(threads);
    let speeds: Vec<(f64, f64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let (mut a, mut b) = (vec![1_u64; half], vec![2_u64; half]);
                    barrier.wait();
                    let read = repeat(2 * half * size_of::<u64>(), || {
                        black_box(sum(&a).wrapping_add(sum(&b)));
                    });
                    barrier.wait();
                    let copy = repeat(4 * half * size_of::<u64>(), || {
                        b.copy_from_slice(black_box(&a));
                        a.copy_from_slice(black_box(&b));
                    });
                    (read, copy)
                })
            })
            .collect();
        workers.into_iter().filter_map(|w| w.join().ok()).collect()
    });
    Bandwidth {
        threads,
        bytes,
        read_gb_s: speeds.iter().map(|s| s.0).sum(),
        copy_gb_s: speeds.iter().map(|s| s.1).sum(),
    }
}

fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// Does `work`, which moves `bytes`, over and over; says how many gigabytes that is a second.
fn repeat(bytes: usize, mut work: impl FnMut()) -> f64 {
    let (start, mut times) = (Instant::now(), 0_u64);
    loop {
        work();
        times += 1;
        let took = start.elapsed();
        if took >= TIME {
            return bytes as f64 * times as f64 / took.as_nanos().max(1) as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_larger_than_the_caches_is_gone_through() {
        let found = bandwidth(2);
        assert!(found.bytes.0 > 0 && found.bytes <= MOST);
        assert!(found.read_gb_s > 0.0 && found.copy_gb_s > 0.0);
        // No threads are as good as one.
        assert_eq!(bandwidth(0).threads, 1);
    }

    #[test]
    fn every_byte_counts() {
        let mut times = 0_u32;
        let speed = repeat(1 << 30, || times += 1);
        let took_s = f64::from(times) * 1.074 / speed;
        assert!(took_s >= TIME.as_secs_f64() * 0.99, "{took_s}");
    }
}
