//! How fast a disk reads a model's file, with the engine's own readers.

use super::Tuning;
use crate::io::{
    Arena, BLOCK, BlockFile, BlockReader, PreadReader, ReadRequest, Region, open_reader,
};
use crate::units::Bytes;
use serde::Serialize;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// [`measure`] ends after this many bytes or this time, whichever comes first.
const MOST_BYTES: u64 = 1 << 30;
const MOST_TIME: Duration = Duration::from_secs(1);

/// What [`tune`] tries: every depth with every size of a read.
const DEPTHS: [usize; 4] = [1, 4, 8, 16];
const BLOCKS: [usize; 2] = [1 << 20, 4 << 20];

/// Bytes of a sample, or [`SAMPLE_QUEUES`] times what is in flight if that is more: filling
/// and draining the queue must not be most of it.
const SAMPLE_BYTES: usize = 32 << 20;
const SAMPLE_QUEUES: usize = 2;

/// Each way of reading is sampled this often, unless that takes longer than [`TUNE_TIME`];
/// once in any case.
const ROUNDS: u32 = 7;
const TUNE_TIME: Duration = Duration::from_secs(2);

/// A way of reading is as good as the best within this share of its speed.
const AS_GOOD: f64 = 0.97;

/// How long the disk should have work for when a read has ended and no new one has begun:
/// about a scheduler's time slice. While this is measured the reader always finds a free core;
/// in a pass computing holds all of them, and the reader waits for its turn.
const TURN_S: f64 = 0.003;

/// What reading a file gave.
#[derive(Clone, Copy, Debug)]
pub struct ReadSpeed {
    /// `io_uring` or `pread`.
    pub reader: &'static str,
    /// Whether the file system took `O_DIRECT`. Without it the page cache answers too.
    pub direct: bool,
    pub bytes: Bytes,
    pub time: Duration,
}

impl ReadSpeed {
    /// Decimal gigabytes a second, from wherever the bytes came.
    pub fn gb_s(&self) -> f64 {
        self.bytes.0 as f64 / self.time.as_secs_f64().max(1e-9) / 1e9
    }
}

/// Reads a part of the file in order, with `depth` reads of `block_bytes` in flight, and with
/// `O_DIRECT` where it is taken. A large file has several `part`s; after the last comes
/// the first again: what is read again and again may come from a memory of the disk's own.
///
/// # Errors
/// The system's own.
pub fn measure(
    path: &Path,
    depth: usize,
    block_bytes: usize,
    part: u64,
) -> std::io::Result<ReadSpeed> {
    let file = Arc::new(BlockFile::open(path)?);
    let mut reader = open_reader(depth);
    let slots = reader.depth();
    let memory = touched(slots * block_bytes)?;
    reader.register(std::slice::from_ref(&file), Some(&memory));
    let parts = file.len().div_ceil(MOST_BYTES).max(1);
    let size = file
        .len()
        .div_ceil(parts)
        .next_multiple_of(block_bytes as u64);
    let begin = part % parts * size;
    let end = file.len().min(begin + size);
    let reads = (begin..end).step_by(block_bytes);
    let start = Instant::now();
    let mut reads = reads.take_while(|_| start.elapsed() < MOST_TIME);
    let bytes = read_all(&mut *reader, &file, &memory, block_bytes, &mut reads)?;
    Ok(ReadSpeed {
        reader: reader.name(),
        direct: file.is_direct(),
        bytes: Bytes(bytes),
        time: start.elapsed(),
    })
}

/// One way of reading.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// `io_uring` or `pread`.
    pub reader: &'static str,
    pub depth: usize,
    pub block_bytes: usize,
    /// The median of its samples.
    pub gb_s: f64,
}

/// What [`tune`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// The way that costs least of those that are about as fast as the fastest.
    pub tuning: Tuning,
    /// Whether the file system took `O_DIRECT`. Without it the page cache answers too, and
    /// the figures are not the disk's.
    pub direct: bool,
    /// One plain read at a time, of the larger size.
    pub pread: Candidate,
    /// All that was tried with the engine's own reader.
    pub candidates: Vec<Candidate>,
}

/// Tries a few depths and sizes on the file, in turns, so that a disk whose speed changes
/// favours none. `None` for an empty file.
///
/// # Errors
/// The system's own.
pub fn tune(path: &Path) -> std::io::Result<Option<Tuned>> {
    let file = Arc::new(BlockFile::open(path)?);
    if file.is_empty() {
        return Ok(None);
    }
    let most = DEPTHS.iter().max().copied().unwrap_or(1) * BLOCKS[BLOCKS.len() - 1];
    let memory = touched(most)?;
    let mut ways = vec![Way::new(Box::new(PreadReader::default()), BLOCKS[1])];
    for block_bytes in BLOCKS {
        for depth in DEPTHS {
            ways.push(Way::new(open_reader(depth), block_bytes));
        }
    }
    let (began, mut at) = (Instant::now(), 0);
    for round in 0..ROUNDS {
        for way in &mut ways {
            at = way.sample(&file, &memory, at)?;
        }
        // Another round would take as long as each so far.
        let so_far = began.elapsed();
        if so_far + so_far / (round + 1) > TUNE_TIME {
            break;
        }
    }
    let mut candidates: Vec<_> = ways.into_iter().map(Way::result).collect();
    let pread = candidates.remove(0);
    // Where io_uring is refused, the reader takes one at a time whatever it is asked.
    candidates.dedup_by_key(|c| (c.depth, c.block_bytes));
    let Some(best) = pick(&candidates) else {
        return Ok(None);
    };
    Ok(Some(Tuned {
        tuning: Tuning {
            depth: best.depth,
            block_bytes: best.block_bytes,
            gb_s: best.gb_s,
            measured_unix_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()
                .map(|t| t.as_secs()),
        },
        direct: file.is_direct(),
        pread,
        candidates,
    }))
}

/// The one with the fewest bytes in flight of those about as fast as the fastest. Those that
/// bridge [`TURN_S`] go before all others.
fn pick(candidates: &[Candidate]) -> Option<Candidate> {
    let bridges = |c: &Candidate| {
        let left = (c.depth.saturating_sub(1) * c.block_bytes) as f64;
        left >= TURN_S * c.gb_s * 1e9
    };
    let some_do = candidates.iter().any(|c| c.gb_s > 0.0 && bridges(c));
    let eligible = || {
        let eligible = candidates.iter().filter(|c| c.gb_s > 0.0);
        eligible.filter(|c| bridges(c) || !some_do)
    };
    let best = eligible().map(|c| c.gb_s).fold(0.0, f64::max);
    eligible()
        .filter(|c| c.gb_s >= best * AS_GOOD)
        .min_by_key(|c| (c.depth * c.block_bytes, c.depth))
        .copied()
}

/// A way of reading with its samples.
struct Way {
    reader: Box<BlockReader>,
    block_bytes: usize,
    gb_s: Vec<f64>,
}

impl Way {
    fn new(reader: Box<BlockReader>, block_bytes: usize) -> Self {
        Self {
            reader,
            block_bytes,
            gb_s: Vec::new(),
        }
    }

    /// Reads on from `at`, from the beginning again at the file's end; says where it stopped.
    fn sample(&mut self, file: &Arc<BlockFile>, memory: &Region, at: u64) -> std::io::Result<u64> {
        let block = self.block_bytes as u64;
        let in_flight = self.reader.depth() * self.block_bytes;
        let n = SAMPLE_BYTES.max(SAMPLE_QUEUES * in_flight) / self.block_bytes;
        // A small file has fewer blocks than a sample: it is then read once.
        let blocks = file.len().div_ceil(block);
        let n = (n as u64).min(blocks);
        let first = at / block;
        let mut reads = (first..first + n).map(|i| i % blocks * block);
        let start = Instant::now();
        let bytes = read_all(
            &mut *self.reader,
            file,
            memory,
            self.block_bytes,
            &mut reads,
        )?;
        let ns = start.elapsed().as_nanos().max(1);
        self.gb_s.push(bytes as f64 / ns as f64);
        Ok((first + n) % blocks * block)
    }

    fn result(mut self) -> Candidate {
        self.gb_s.sort_by(f64::total_cmp);
        Candidate {
            reader: self.reader.name(),
            depth: self.reader.depth(),
            block_bytes: self.block_bytes,
            gb_s: self.gb_s.get(self.gb_s.len() / 2).copied().unwrap_or(0.0),
        }
    }
}

/// Reads blocks at `offsets` with as many in flight as the reader takes; says how many bytes
/// came. `memory` has a block for each.
fn read_all(
    reader: &mut BlockReader,
    file: &Arc<BlockFile>,
    memory: &Region,
    block_bytes: usize,
    offsets: &mut dyn Iterator<Item = u64>,
) -> std::io::Result<u64> {
    let mut free: VecDeque<usize> = (0..reader.depth()).collect();
    let mut bytes = 0;
    loop {
        while let Some(&slot) = free.front()
            && let Some(offset) = offsets.next()
        {
            free.pop_front();
            reader.submit(ReadRequest {
                file: Arc::clone(file),
                offset,
                into: memory.part(slot * block_bytes, block_bytes),
                tag: slot as u64,
            })?;
        }
        if reader.in_flight() == 0 {
            return Ok(bytes);
        }
        let done = reader.complete()?;
        bytes += done.result? as u64;
        free.extend(usize::try_from(done.request.tag));
    }
}

/// Memory whose pages are there already, so that the kernel need not make them while it reads.
fn touched(bytes: usize) -> std::io::Result<Region> {
    let region = Arena::new(bytes)?.region(0, bytes);
    for at in (0..bytes).step_by(BLOCK) {
        region.part(at, BLOCK).write(&[0; BLOCK]);
    }
    Ok(region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(bytes: usize) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        fs::write(&path, vec![7_u8; bytes]).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_is_read_to_its_end() {
        // Two reads and a part of one, so that the end is a short read.
        let length = (2 << 20) + 12_345;
        let (_dir, path) = file(length);
        // A small file is of one part.
        for part in [0, 3] {
            let speed = measure(&path, 4, 1 << 20, part).unwrap();
            assert_eq!(speed.bytes, Bytes(length as u64));
            assert!(speed.gb_s() > 0.0);
        }
    }

    #[test]
    fn what_is_empty_or_absent_has_no_speed() {
        let (_dir, path) = file(0);
        assert_eq!(measure(&path, 4, 1 << 20, 0).unwrap().bytes, Bytes(0));
        assert_eq!(tune(&path).unwrap(), None);
        assert!(measure(Path::new("/nowhere/model"), 4, 1 << 20, 0).is_err());
        assert!(tune(Path::new("/nowhere/model")).is_err());
    }

    #[test]
    fn every_way_of_reading_is_tried_on_a_small_file() {
        let (_dir, path) = file((5 << 20) + 100);
        let tuned = tune(&path).unwrap().unwrap();
        assert_eq!((tuned.pread.reader, tuned.pread.depth), ("pread", 1));
        assert!(tuned.pread.gb_s > 0.0);
        assert!(tuned.candidates.iter().all(|c| c.gb_s > 0.0));
        let tuning = tuned.tuning;
        let chosen =
            |c: &&Candidate| (c.depth, c.block_bytes) == (tuning.depth, tuning.block_bytes);
        let chosen = tuned.candidates.iter().find(chosen).unwrap();
        assert_eq!(tuning.gb_s, chosen.gb_s);
    }

    #[test]
    fn the_least_of_the_about_fastest_is_picked() {
        let way = |depth, mib: usize, gb_s| Candidate {
            reader: "io_uring",
            depth,
            block_bytes: mib << 20,
            gb_s,
        };
        let picked = |ways: &[Candidate]| pick(ways).map(|c| (c.depth, c.block_bytes >> 20));
        // Deeper is a little faster, but takes four times the memory.
        let ways = [way(1, 4, 1.5), way(4, 4, 1.95), way(16, 4, 2.0)];
        assert_eq!(picked(&ways), Some((4, 4)));
        // Equal bytes in flight: fewer reads are less work.
        let ways = [way(16, 1, 2.0), way(4, 4, 2.0)];
        assert_eq!(picked(&ways), Some((4, 4)));
        // One at a time is fast enough only while nothing computes, and so are a few small ones.
        let ways = [way(1, 4, 2.1), way(4, 4, 2.0)];
        assert_eq!(picked(&ways), Some((4, 4)));
        let ways = [way(4, 1, 4.0), way(16, 1, 3.9)];
        assert_eq!(picked(&ways), Some((16, 1)));
        // Plain reads come one at a time.
        let ways = [way(1, 1, 1.0), way(1, 4, 2.0)];
        assert_eq!(picked(&ways), Some((1, 4)));
        let ways = [way(4, 1, 1.0), way(16, 4, 2.0)];
        assert_eq!(picked(&ways), Some((16, 4)));
        assert_eq!(picked(&[]), None);
        assert_eq!(picked(&[way(1, 1, 0.0)]), None);
    }
}
