//! A large file in ranges over several connections, each kept as it comes.
//!
//! ```text
//!   .staging/<model>/<file>.partial    full size from the start, sparse where nothing came yet
//!                   /<file>.json       size, SHA-256, and which ranges are there
//!
//!   |######--|####----|########|##------|    one range a connection at a time
//!    there ^         the journal names #, after they were flushed
//! ```
//!
//! A pull that is killed loses what came since the last notes, at most
//! [`Transfer::checkpoint_bytes`] a connection; one that fails loses nothing.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Hub, ReadError, RemoteFile};
use crate::model::progress::Progress;
use crate::model::pull::SourceError;
use crate::system::cache::write_atomic;

/// How a file is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Ranges that are under way at the same time.
    pub connections: usize,
    /// The least and the most that is asked for at once. Large ones cost few questions, of which
    /// hubs allow so many a minute; small ones end at the same time.
    pub range_bytes: (u64, u64),
    /// What came is noted as often.
    pub checkpoint_bytes: u64,
    /// Failures in a row without a byte, after which a range is given up.
    pub tries: u32,
    /// Before the second try; twice as long before each one after it.
    pub pause: Duration,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            connections: 4,
            range_bytes: (8 << 20, 256 << 20),
            checkpoint_bytes: 8 << 20,
            tries: 5,
            pause: Duration::from_secs(1),
        }
    }
}

impl Transfer {
    /// One connection, and no second try.
    pub fn plain() -> Self {
        Self {
            connections: 1,
            tries: 1,
            ..Self::default()
        }
    }

    /// Cuts what is missing into ranges, in order.
    fn ranges(&self, gaps: Vec<Range<u64>>) -> VecDeque<Range<u64>> {
        let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        let (least, most) = self.range_bytes;
        let share = missing / (self.connections.max(1) as u64 * 4);
        let length = share.clamp(least.max(1), most.max(least).max(1));
        let cut = |gap: Range<u64>| {
            let starts = (gap.start..gap.end).step_by(length as usize);
            starts.map(move |start| start..(start + length).min(gap.end))
        };
        gaps.into_iter().flat_map(cut).collect()
    }
}

/// Which bytes of a file are there: ranges in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct There(Vec<(u64, u64)>);

impl There {
    fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.0.push((range.start, range.end));
        self.0.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.0.len());
        for &(start, end) in &self.0 {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        self.0 = joined;
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What is missing of `size` bytes.
    fn gaps(&self, size: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for &(start, end) in &self.0 {
            if start > at {
                gaps.push(at..start);
            }
            at = end;
        }
        if at < size {
            gaps.push(at..size);
        }
        gaps
    }

    /// Whether it can have been written by us, for a file of `size` bytes.
    fn is_sound(&self, size: u64) -> bool {
        let ordered = self.0.windows(2).all(|pair| pair[0].1 < pair[1].0);
        ordered
            && self
                .0
                .iter()
                .all(|&(start, end)| start < end && end <= size)
    }
}

/// What the journal says.
#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    size: u64,
    sha256: String,
    there: There,
    /// Whether the whole file's hash was found right.
    checked: bool,
}

/// A file of which some is there.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    journal: PathBuf,
    file: File,
    notes: Notes,
}

impl Partial {
    /// Goes on with what is in `dir` of the repository's file `name`, if it is of the same
    /// content, or begins.
    pub(super) fn open(
        dir: &Path,
        name: &str,
        size: u64,
        sha256: &str,
    ) -> Result<Self, SourceError> {
        let base = name.rsplit('/').next().unwrap_or(name);
        let path = dir.join(format!("{base}.partial"));
        let journal = dir.join(format!("{base}.json"));
        let kept = std::fs::read(&journal).ok();
        let kept = kept.and_then(|text| serde_json::from_slice::<Notes>(&text).ok());
        let kept = kept.filter(|notes| {
            let same = notes.size == size && notes.sha256 == sha256;
            let file = std::fs::metadata(&path).is_ok_and(|meta| meta.len() == size);
            same && file && notes.there.is_sound(size)
        });
        let open = |fresh: bool| {
            let mut options = OpenOptions::new();
            let file = options
                .write(true)
                .create(true)
                .truncate(fresh)
                .open(&path)?;
            file.set_len(size)?;
            Ok(file)
        };
        let file = open(kept.is_none()).map_err(SourceError::local("write", &path))?;
        let notes = kept.unwrap_or_else(|| Notes {
            size,
            sha256: sha256.to_owned(),
            there: There::default(),
            checked: false,
        });
        let partial = Self {
            path,
            journal,
            file,
            notes,
        };
        partial.save()?;
        Ok(partial)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn journal(&self) -> &Path {
        &self.journal
    }

    pub(super) fn into_path(self) -> PathBuf {
        self.path
    }

    pub(super) fn size(&self) -> u64 {
        self.notes.size
    }

    pub(super) fn there(&self) -> u64 {
        self.notes.there.bytes()
    }

    pub(super) fn missing(&self) -> u64 {
        self.size() - self.there()
    }

    pub(super) fn is_checked(&self) -> bool {
        self.notes.checked && self.missing() == 0
    }

    pub(super) fn set_checked(&mut self) -> Result<(), SourceError> {
        self.notes.checked = true;
        self.save()
    }

    fn save(&self) -> Result<(), SourceError> {
        let text = serde_json::to_vec(&self.notes).map_err(io::Error::other);
        text.and_then(|text| write_atomic(&self.journal, &text))
            .map_err(SourceError::local("write", &self.journal))
    }
}

/// What connections share.
struct Shared<'a> {
    hub: &'a dyn Hub,
    remote: RemoteFile<'a>,
    transfer: Transfer,
    file: &'a File,
    path: &'a Path,
    progress: &'a dyn Progress,
    ranges: Mutex<VecDeque<Range<u64>>>,
    /// Bytes that are there.
    there: AtomicU64,
    /// Set with the first failure that is not passing.
    stop: AtomicBool,
    failure: Mutex<Option<SourceError>>,
}

/// Fetches what is missing.
pub(super) fn fetch(
    hub: &dyn Hub,
    remote: RemoteFile<'_>,
    partial: &mut Partial,
    progress: &dyn Progress,
) -> Result<(), SourceError> {
    let transfer = hub.transfer();
    let file = partial.file.try_clone();
    let file = file.map_err(SourceError::local("write", &partial.path))?;
    let path = partial.path.clone();
    let shared = Shared {
        hub,
        remote,
        transfer,
        file: &file,
        path: &path,
        progress,
        ranges: Mutex::new(transfer.ranges(partial.notes.there.gaps(partial.size()))),
        there: AtomicU64::new(partial.there()),
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let (tell, told) = mpsc::channel::<Range<u64>>();
    let kept = std::thread::scope(|scope| {
        for _ in 0..transfer.connections.max(1) {
            let tell = tell.clone();
            let shared = &shared;
            scope.spawn(move || shared.work(&tell));
        }
        // Ends when the last connection drops its end.
        drop(tell);
        keep(partial, &told).inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))
    });
    let failure = shared.failure.into_inner();
    match failure.unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => kept,
    }
}

/// Notes what came until all connections have ended.
fn keep(partial: &mut Partial, told: &mpsc::Receiver<Range<u64>>) -> Result<(), SourceError> {
    while let Ok(range) = told.recv() {
        partial.notes.there.add(range);
        while let Ok(more) = told.try_recv() {
            partial.notes.there.add(more);
        }
        // The notes must not say more than the disk has.
        let flushed = partial.file.sync_data();
        flushed.map_err(SourceError::local("write", &partial.path))?;
        partial.save()?;
    }
    Ok(())
}

impl Shared<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One connection: range after range.
    fn work(&self, tell: &mpsc::Sender<Range<u64>>) {
        while !self.stopped() {
            let next = self
                .ranges
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(range) = next else { return };
            if let Err(error) = self.fetch(range, tell) {
                self.stop.store(true, Ordering::Relaxed);
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
            }
        }
    }

    /// One range, with as many tries as it takes.
    fn fetch(&self, range: Range<u64>, tell: &mpsc::Sender<Range<u64>>) -> Result<(), SourceError> {
        let mut at = range.start;
        let mut failures = 0;
        while at < range.end {
            let before = at;
            let mut noted = at;
            let result = self.hub.read(self.remote, at..range.end, &mut |bytes| {
                if self.stopped() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                self.file.write_all_at(bytes, at)?;
                let came = bytes.len() as u64;
                at += came;
                let there = self.there.fetch_add(came, Ordering::Relaxed) + came;
                self.progress.at(there);
                if at - noted >= self.transfer.checkpoint_bytes {
                    // Nobody listens once notes cannot be kept, and then all of it ends.
                    let _ = tell.send(noted..at);
                    noted = at;
                }
                Ok(())
            });
            let _ = tell.send(noted..at);
            let error = match result {
                Ok(()) => continue,
                Err(_) if self.stopped() => return Ok(()),
                Err(ReadError::Sink(error)) => {
                    return Err(SourceError::local("write", self.path)(error));
                }
                Err(ReadError::Hub(error)) => error,
            };
            failures = if at > before { 1 } else { failures + 1 };
            if !error.passes() || failures >= self.transfer.tries {
                return Err(error.into());
            }
            let pause = self.transfer.pause * 2u32.pow(failures - 1);
            std::thread::sleep(pause);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HubError, Listing};
    use super::*;
    use crate::model::pull::hub::Sink;
    use proptest::prelude::*;

    #[test]
    fn what_is_there_is_kept_in_order_and_in_one_piece() {
        let mut there = There::default();
        for range in [10..20, 30..40, 0..5, 20..25, 24..31, 7..7] {
            there.add(range);
        }
        assert_eq!(there.0, [(0, 5), (10, 40)]);
        assert_eq!(there.bytes(), 35);
        assert_eq!(there.gaps(50), [5..10, 40..50]);
        assert_eq!(There::default().gaps(3).first(), Some(&(0..3)));
        assert!(there.is_sound(40) && !there.is_sound(39));
        assert!(!There(vec![(5, 9), (0, 2)]).is_sound(10));
        assert!(!There(vec![(0, 3), (3, 4)]).is_sound(10));
    }

    proptest! {
        #[test]
        fn ranges_cover_the_gaps_exactly(
            pieces in proptest::collection::vec((0u64..5000, 1u64..500), 0..20),
            connections in 1usize..6,
            least in 1u64..200,
        ) {
            let mut there = There::default();
            for (start, length) in pieces {
                there.add(start..start + length);
            }
            let transfer = Transfer { connections, range_bytes: (least, 4 * least), ..Transfer::default() };
            for range in transfer.ranges(there.gaps(6000)) {
                prop_assert!(range.end - range.start <= 4 * least);
                prop_assert!(there.gaps(6000).iter().any(|g| g.start <= range.start && range.end <= g.end));
                there.add(range);
            }
            prop_assert_eq!(there.gaps(6000), Vec::<Range<u64>>::new());
        }
    }

    /// A hub in memory that fails as it is told.
    struct Fake {
        bytes: Vec<u8>,
        /// Reads fail after so many bytes, one entry a read; then they do not.
        cuts: Mutex<VecDeque<u64>>,
        reads: Mutex<Vec<Range<u64>>>,
        transfer: Transfer,
    }

    impl Hub for Fake {
        fn list(&self, _: &str) -> Result<Listing, HubError> {
            unreachable!("only reads are tested")
        }

        fn read(
            &self,
            file: RemoteFile<'_>,
            range: Range<u64>,
            sink: &mut Sink<'_>,
        ) -> Result<(), ReadError> {
            self.reads.lock().unwrap().push(range.clone());
            let cut = self.cuts.lock().unwrap().pop_front();
            let end = cut.map_or(range.end, |cut| (range.start + cut).min(range.end));
            for chunk in self.bytes[range.start as usize..end as usize].chunks(7) {
                sink(chunk).map_err(ReadError::Sink)?;
            }
            if end < range.end {
                let (file, why) = (file.name.to_owned(), "told to".to_owned());
                return Err(HubError::BrokeOff { file, why }.into());
            }
            Ok(())
        }

        fn transfer(&self) -> Transfer {
            self.transfer
        }
    }

    #[derive(Default)]
    struct Quiet;

    impl Progress for Quiet {
        fn begin(&self, _: &str, _: u64, _: u64) {}
        fn at(&self, _: u64) {}
        fn end(&self) {}
        fn note(&self, _: &str) {}
    }

    const REMOTE: RemoteFile<'static> = RemoteFile {
        repository: "o/r",
        revision: "main",
        name: "m.gguf",
    };

    fn fake(cuts: &[u64], tries: u32) -> Fake {
        Fake {
            bytes: (0..1000u32).map(|i| (i * 31 % 251) as u8).collect(),
            cuts: Mutex::new(cuts.iter().copied().collect()),
            reads: Mutex::default(),
            transfer: Transfer {
                connections: 3,
                range_bytes: (50, 100),
                checkpoint_bytes: 20,
                tries,
                pause: Duration::ZERO,
            },
        }
    }

    #[test]
    fn many_connections_bring_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        // The third try of a range goes on where the first one stopped.
        let hub = fake(&[30, 0, 5, 0], 3);
        let mut partial = Partial::open(dir.path(), "m.gguf", 1000, "abc").unwrap();
        fetch(&hub, REMOTE, &mut partial, &Quiet).unwrap();
        assert_eq!(partial.missing(), 0);
        assert_eq!(std::fs::read(partial.path()).unwrap(), hub.bytes);
        partial.set_checked().unwrap();
        drop(partial);
        let again = Partial::open(dir.path(), "m.gguf", 1000, "abc").unwrap();
        assert!(again.is_checked());
        // Another content of the same name is begun from nothing.
        let other = Partial::open(dir.path(), "m.gguf", 1000, "def").unwrap();
        assert_eq!((other.there(), other.is_checked()), (0, false));
    }

    #[test]
    fn what_came_before_a_failure_is_not_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let hub = fake(&[1000, 1000, 33], 1);
        let open = || Partial::open(dir.path(), "Q4/m.gguf", 1000, "abc").unwrap();
        let mut partial = open();
        let error = fetch(&hub, REMOTE, &mut partial, &Quiet).unwrap_err();
        assert!(error.to_string().contains("told to"), "{error}");
        drop(partial);
        let mut partial = open();
        let there = partial.there();
        assert!(there >= 33, "{there}");
        hub.reads.lock().unwrap().clear();
        fetch(&hub, REMOTE, &mut partial, &Quiet).unwrap();
        assert_eq!(std::fs::read(partial.path()).unwrap(), hub.bytes);
        let asked: u64 = hub
            .reads
            .lock()
            .unwrap()
            .iter()
            .map(|r| r.end - r.start)
            .sum();
        assert_eq!(asked, 1000 - there);
    }

    #[test]
    fn notes_that_cannot_be_true_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut partial = Partial::open(dir.path(), "m.gguf", 1000, "abc").unwrap();
        fetch(&fake(&[], 1), REMOTE, &mut partial, &Quiet).unwrap();
        let (path, journal) = (partial.path().to_owned(), partial.journal().to_owned());
        drop(partial);
        let good = std::fs::read_to_string(&journal).unwrap();
        let open = || Partial::open(dir.path(), "m.gguf", 1000, "abc").unwrap();
        for bad in [
            "",
            "{",
            &good.replace("[0,1000]", "[0,1001]"),
            &good.replace("[0,1000]", "[9,2]"),
        ] {
            assert_ne!(bad, good, "the journal changed its layout: adapt this test");
            std::fs::write(&journal, bad).unwrap();
            assert_eq!(open().there(), 0, "{bad}");
        }
        std::fs::write(&journal, &good).unwrap();
        assert_eq!(open().there(), 1000);
        std::fs::write(&path, b"shorter").unwrap();
        assert_eq!(open().there(), 0);
    }
}
