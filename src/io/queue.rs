//! Transfers that go on until they are whole, or have failed twice.
//!
//! ```text
//!  push --> [ waiting ] --submit--> in flight --finish--> whole          told by its tag
//!               ^                                  |----> short          the rest goes first
//!               |----------------------------------'----> failed once    goes first
//!                                                  '----> failed twice   given back
//! ```
//!
//! A short transfer continues at its first block that is not whole. One that makes no progress
//! counts as failed: a file that was cut short, a disk that is full. Several requests are in
//! flight at a time and end in any order, so that a caller tells them by their tags.
//!
//! Invariant: a request is in one place: waiting here, in flight in the engine, or given back.

use super::{BLOCK, BlockFile, BlockIo, Direction, Region, Request, TransferFailure};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// The lowest bit of the tag that the engine sees: it is the second try. Callers' tags are
/// therefore below 2^63.
const AGAIN: u64 = 1;

/// See the module's text.
pub struct Queue<R: Request> {
    io: Box<dyn BlockIo<R>>,
    /// With the engine's tags.
    waiting: VecDeque<R>,
}

/// What came of one request's latest part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were transferred.
    pub bytes: usize,
    /// The caller's tag of the request that this made whole.
    pub whole: Option<u64>,
}

/// Why nothing more comes of a request, or of waiting.
#[derive(Debug)]
pub enum Failed<R> {
    /// This request failed, also when it was tried again. [`Queue::again`] tries it twice more.
    Request(R, TransferFailure),
    /// The engine cannot wait; what is in flight stays so.
    Wait(io::Error),
}

impl<R: Request> Queue<R> {
    pub fn new(io: Box<dyn BlockIo<R>>) -> Self {
        Self {
            io,
            waiting: VecDeque::new(),
        }
    }

    /// See [`BlockIo::register`].
    pub fn register(&mut self, files: &[Arc<BlockFile>], memory: Option<&Region>) {
        self.io.register(files, memory);
    }

    /// See [`BlockIo::name`].
    pub fn name(&self) -> &'static str {
        self.io.name()
    }

    /// Requests that the engine works on.
    pub fn in_flight(&self) -> usize {
        self.io.in_flight()
    }

    /// Whether the engine could take more than what waits.
    pub fn has_free(&self) -> bool {
        self.io.in_flight() + self.waiting.len() < self.io.depth()
    }

    /// Puts a request after those that wait.
    pub fn push(&mut self, request: R) {
        let tag = request.tag() << 1;
        self.waiting.push_back(request.tagged(tag));
    }

    /// Puts a request that failed before those that wait.
    pub fn again(&mut self, request: R) {
        let tag = request.tag() << 1;
        self.waiting.push_front(request.tagged(tag));
    }

    /// Starts what waits, as far as the engine takes it.
    ///
    /// # Errors
    /// The request that it did not take.
    pub fn submit(&mut self) -> Result<(), Failed<R>> {
        while self.io.in_flight() < self.io.depth() {
            let Some(request) = self.waiting.pop_front() else {
                break;
            };
            let kept = request.clone();
            self.io
                .submit(request)
                .map_err(|error| give_back(kept, error))?;
        }
        Ok(())
    }

    /// Waits until one transfer has ended; at least one is in flight.
    ///
    /// # Errors
    /// A request that failed for good, or no waiting.
    pub fn finish(&mut self) -> Result<Progress, Failed<R>> {
        let done = self.io.complete().map_err(Failed::Wait)?;
        let request = done.request;
        match done.result.and_then(|bytes| reach(&request, bytes)) {
            Ok(Reach::Whole(bytes)) => Ok(Progress {
                bytes,
                whole: Some(request.tag() >> 1),
            }),
            Ok(Reach::Part(bytes)) => {
                self.waiting.push_front(request.after(bytes));
                Ok(Progress { bytes, whole: None })
            }
            Err(error) if request.tag() & AGAIN == 0 => {
                let (direction, offset) = (R::DIRECTION, request.offset());
                tracing::warn!(%direction, offset, %error, "a transfer failed; trying again");
                let tag = request.tag() | AGAIN;
                self.waiting.push_front(request.tagged(tag));
                let (bytes, whole) = (0, None);
                Ok(Progress { bytes, whole })
            }
            Err(error) => Err(give_back(request, error)),
        }
    }

    /// Has all of `requests` done, and waits for them; says how many bytes were transferred.
    ///
    /// # Errors
    /// The first that failed for good, when none is in flight any more; where it cannot be waited
    /// for them, some may be: the queue must not be used again.
    pub fn run(&mut self, requests: impl IntoIterator<Item = R>) -> Result<u64, TransferFailure> {
        requests.into_iter().for_each(|request| self.push(request));
        let Some(first) = self.waiting.front().cloned() else {
            return Ok(0);
        };
        let (mut bytes, mut failed) = (0, None);
        while self.io.in_flight() + self.waiting.len() > 0 {
            match self.submit().and_then(|()| self.finish()) {
                Ok(progress) => bytes += progress.bytes as u64,
                Err(Failed::Request(_, failure)) => {
                    self.waiting.clear();
                    failed.get_or_insert(failure);
                }
                // Nothing says which of them it was.
                Err(Failed::Wait(error)) => {
                    self.waiting.clear();
                    return Err(TransferFailure::of(&first, error));
                }
            }
        }
        failed.map_or(Ok(bytes), Err)
    }
}

fn give_back<R: Request>(request: R, error: io::Error) -> Failed<R> {
    let failure = TransferFailure::of(&request, error);
    let tag = request.tag() >> 1;
    Failed::Request(request.tagged(tag), failure)
}

/// How far a transfer came, in bytes that count.
enum Reach {
    Whole(usize),
    /// Whole blocks: what follows must be aligned as well.
    Part(usize),
}

fn reach<R: Request>(request: &R, bytes: usize) -> io::Result<Reach> {
    let whole_blocks = bytes / BLOCK * BLOCK;
    let ends_file = match R::DIRECTION {
        Direction::Read => request.offset() + bytes as u64 == request.file().len(),
        Direction::Write => false,
    };
    if bytes >= request.memory().len() || ends_file {
        Ok(Reach::Whole(bytes))
    } else if whole_blocks > 0 {
        Ok(Reach::Part(whole_blocks))
    } else {
        Err(io::Error::other(match R::DIRECTION {
            Direction::Read => format!(
                "the file ends after {bytes} of these bytes; it was {} long",
                request.file().len()
            ),
            Direction::Write => format!("the file took {bytes} of these bytes"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{
        Arena, Completion, PreadReader, Psync, PwriteWriter, ReadRequest, WriteRequest,
        open_reader, open_writer,
    };
    use std::path::Path;

    const BLOCKS: usize = 12;
    const BYTES: usize = BLOCKS * BLOCK;

    /// How transfers go wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fault {
        /// No more than a block and a half at a time.
        Short,
        /// Those that begin at this block fail so often, as a broken disk's do.
        Broken { block: usize, times: usize },
        /// There is space for so many bytes.
        Full(usize),
        /// The newest in flight ends first.
        Reordered,
    }

    trait Cut: Request {
        /// Its first `bytes`.
        fn cut(&self, bytes: usize) -> Self;
    }

    impl Cut for ReadRequest {
        fn cut(&self, bytes: usize) -> Self {
            let into = self.into.part(0, bytes);
            Self {
                into,
                ..self.clone()
            }
        }
    }

    impl Cut for WriteRequest {
        fn cut(&self, bytes: usize) -> Self {
            let from = self.from.part(0, bytes);
            Self {
                from,
                ..self.clone()
            }
        }
    }

    /// Does as [`Psync`], but for its fault.
    struct Faulty<R> {
        plain: Psync<R>,
        waiting: Vec<R>,
        fault: Fault,
        failed: usize,
        transferred: usize,
    }

    fn faulty<R: Cut + 'static>(fault: Fault) -> Queue<R> {
        Queue::new(Box::new(Faulty {
            plain: Psync::default(),
            waiting: Vec::new(),
            fault,
            failed: 0,
            transferred: 0,
        }))
    }

    impl<R: Cut> Faulty<R> {
        fn some(&mut self, request: &R, bytes: usize) -> io::Result<usize> {
            // As the kernel does, also where the rest would not be whole blocks.
            self.plain.submit(request.cut(bytes / BLOCK * BLOCK))?;
            self.plain.complete()?.result?;
            self.transferred += bytes;
            Ok(bytes)
        }
    }

    impl<R: Cut> BlockIo<R> for Faulty<R> {
        fn depth(&self) -> usize {
            4
        }

        fn in_flight(&self) -> usize {
            self.waiting.len()
        }

        fn submit(&mut self, request: R) -> io::Result<()> {
            self.waiting.push(request);
            Ok(())
        }

        fn complete(&mut self) -> io::Result<Completion<R>> {
            let newest = self.waiting.len() - 1;
            let next = match self.fault {
                Fault::Reordered => newest,
                _ => 0,
            };
            let request = self.waiting.remove(next);
            let all = request.memory().len();
            let at = usize::try_from(request.offset()).expect("an offset") / BLOCK;
            let result = match self.fault {
                Fault::Broken { block, times } if block == at && self.failed < times => {
                    self.failed += 1;
                    Err(io::Error::from_raw_os_error(libc::EIO))
                }
                Fault::Full(bytes) if self.transferred == bytes => {
                    Err(io::Error::from_raw_os_error(libc::ENOSPC))
                }
                Fault::Full(bytes) => self.some(&request, all.min(bytes - self.transferred)),
                Fault::Short => self.some(&request, all.min(BLOCK + BLOCK / 2)),
                _ => self.some(&request, all),
            };
            Ok(Completion { request, result })
        }

        fn name(&self) -> &'static str {
            "faulty"
        }
    }

    /// Bytes that tell which block they are of, and differ from salt to salt.
    fn bytes(salt: u8) -> Vec<u8> {
        let block = |i: usize| [salt.wrapping_add(i as u8 * 7); BLOCK];
        (0..BLOCKS).flat_map(block).collect()
    }

    fn file_in(dir: &tempfile::TempDir) -> Arc<BlockFile> {
        let file = BlockFile::create(&dir.path().join("swap"));
        Arc::new(file.expect("created"))
    }

    /// Writes of so many blocks each, of all of `region`, to a file.
    fn writes(file: &Arc<BlockFile>, region: &Region, blocks: usize) -> Vec<WriteRequest> {
        let write = |at: usize| WriteRequest {
            file: Arc::clone(file),
            offset: at as u64,
            from: region.part(at, blocks * BLOCK),
            tag: (at / BLOCK) as u64,
        };
        (0..BYTES).step_by(blocks * BLOCK).map(write).collect()
    }

    fn reads(file: &Arc<BlockFile>, region: &Region, blocks: usize) -> Vec<ReadRequest> {
        let read = |at: usize| ReadRequest {
            file: Arc::clone(file),
            offset: at as u64,
            into: region.part(at, blocks * BLOCK),
            tag: (at / BLOCK) as u64,
        };
        (0..BYTES).step_by(blocks * BLOCK).map(read).collect()
    }

    fn memory() -> Region {
        Arena::new(BYTES).expect("memory").region(0, BYTES)
    }

    fn contents(region: &Region) -> Vec<u8> {
        let mut bytes = vec![0; region.len()];
        region.read(&mut bytes);
        bytes
    }

    /// Writes, looks at the file, and reads again.
    fn round_trip(mut write: Queue<WriteRequest>, mut read: Queue<ReadRequest>, salt: u8) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = file_in(&dir);
        for blocks in [1, 3, BLOCKS] {
            let (from, into) = (memory(), memory());
            let salt = salt.wrapping_add(blocks as u8);
            from.write(&bytes(salt));
            let wrote = write.run(writes(&file, &from, blocks)).expect("written");
            assert_eq!(wrote, BYTES as u64);
            assert!(std::fs::read(file.path()).expect("readable") == bytes(salt));
            let read = read.run(reads(&file, &into, blocks)).expect("read");
            assert_eq!(read, BYTES as u64);
            assert!(contents(&into) == bytes(salt), "{blocks} blocks a request");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        round_trip(Queue::new(open_writer(4)), Queue::new(open_reader(4)), 1);
        let plain: (PwriteWriter, PreadReader) = Default::default();
        let (write, read) = (Box::new(plain.0), Box::new(plain.1));
        round_trip(Queue::new(write), Queue::new(read), 2);
    }

    #[test]
    fn short_transfers_go_on_where_they_stopped_and_any_may_end_first() {
        round_trip(faulty(Fault::Short), faulty(Fault::Short), 3);
        round_trip(faulty(Fault::Reordered), faulty(Fault::Reordered), 4);
    }

    #[test]
    fn one_failure_is_tried_again_unseen() {
        let once = Fault::Broken { block: 3, times: 1 };
        round_trip(faulty(once), faulty(once), 5);
    }

    fn check(failure: &TransferFailure, file: &Path, what: &str, block: usize) {
        let text = failure.to_string();
        assert!(text.contains(&file.display().to_string()), "{text}");
        assert!(text.contains(what), "{text}");
        let offset = format!("at offset {}", block * BLOCK);
        assert!(text.contains(&offset), "{text}");
    }

    #[test]
    fn a_second_failure_names_file_and_offset_and_leaves_nothing_in_flight() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = file_in(&dir);
        let broken = Fault::Broken { block: 3, times: 2 };
        let region = memory();
        region.write(&bytes(6));

        let mut write = faulty(broken);
        let failure = write.run(writes(&file, &region, 1)).expect_err("broken");
        check(&failure, file.path(), "writing 4096 bytes", 3);
        check(&failure, file.path(), "Input/output error", 3);
        assert!(!failure.is_disk_full());
        assert_eq!(write.in_flight(), 0);
        // The disk works again.
        write.run(writes(&file, &region, 1)).expect("written");

        let mut read = faulty(broken);
        let failure = read.run(reads(&file, &region, 1)).expect_err("broken");
        check(&failure, file.path(), "reading 4096 bytes", 3);
        read.run(reads(&file, &region, 1)).expect("read");
        assert!(contents(&region) == bytes(6));
    }

    #[test]
    fn a_request_given_back_can_be_tried_twice_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = file_in(&dir);
        let region = memory();
        let mut write = faulty(Fault::Broken { block: 0, times: 3 });
        let request = writes(&file, &region, BLOCKS).remove(0).tagged(77);
        write.push(request);
        let mut tries = 0;
        let whole = loop {
            write.submit().expect("taken");
            match write.finish() {
                Ok(Progress { whole: None, .. }) => tries += 1,
                Ok(Progress { whole, bytes }) => break (whole, bytes),
                Err(Failed::Request(request, _)) => {
                    assert_eq!((request.tag(), write.in_flight()), (77, 0));
                    tries += 1;
                    write.again(request);
                }
                Err(Failed::Wait(error)) => panic!("{error}"),
            }
        };
        assert_eq!((whole, tries), ((Some(77), BYTES), 3));
    }

    #[test]
    fn a_disk_that_fills_up_is_told_with_the_place_where_it_was_full() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = file_in(&dir);
        let region = memory();
        region.write(&bytes(7));
        for space in [5 * BLOCK, 5 * BLOCK + 100] {
            let mut write = faulty(Fault::Full(space));
            let failure = write.run(writes(&file, &region, BLOCKS));
            let failure = failure.expect_err("the disk is full");
            assert!(failure.is_disk_full(), "{failure}");
            check(&failure, file.path(), "No space left", 5);
            let begun = std::fs::read(file.path()).expect("readable");
            assert!(begun[..5 * BLOCK] == bytes(7)[..5 * BLOCK]);
        }
    }

    #[test]
    fn a_full_device_is_a_full_disk_to_both_writers() {
        let path = Path::new("/dev/full");
        let file = Arc::new(BlockFile::create(path).expect("opened"));
        let writers = [open_writer(4), Box::new(PwriteWriter::default())];
        for writer in writers {
            let mut write = Queue::new(writer);
            let failure = write.run(writes(&file, &memory(), 3));
            let failure = failure.expect_err("never takes a byte");
            assert!(failure.is_disk_full(), "{}: {failure}", write.name());
            assert_eq!(write.in_flight(), 0);
        }
    }

    #[test]
    fn a_file_cut_short_makes_no_progress() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("model");
        std::fs::write(&path, bytes(8)).expect("written");
        let file = Arc::new(BlockFile::open(&path).expect("opened"));
        let cut = std::fs::OpenOptions::new().write(true).open(&path);
        let length = 4 * BLOCK + 10;
        cut.and_then(|f| f.set_len(length as u64)).expect("cut");
        for reader in [open_reader(4), Box::new(PreadReader::default())] {
            let mut read = Queue::new(reader);
            let failure = read.run(reads(&file, &memory(), BLOCKS));
            let failure = failure.expect_err("the rest is gone");
            check(&failure, &path, "it was 49152 long", 4);
        }
    }
}
