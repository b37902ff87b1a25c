//! Block transfers in flight: one trait for reading and for writing.
//!
//! ```text
//!  caller --submit(request)--> engine --(kernel)--> complete() --> request, bytes or error
//!                              owns the request, and so the memory, all the while
//! ```

use super::{BlockFile, Region};
use std::io;
use std::sync::Arc;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write,
}

/// A transfer between a file and memory. Offset, length and address are multiples of
/// [`super::BLOCK`].
pub trait Request: Clone + std::fmt::Debug + Send {
    const DIRECTION: Direction;

    fn file(&self) -> &Arc<BlockFile>;

    /// Where in the file it begins, in bytes.
    fn offset(&self) -> u64;

    fn memory(&self) -> &Region;

    /// The caller's name for it.
    fn tag(&self) -> u64;

    /// The same under another name.
    #[must_use]
    fn tagged(self, tag: u64) -> Self;

    /// What is left of it when its first `bytes` have been transferred.
    #[must_use]
    fn after(self, bytes: usize) -> Self;
}

/// One read: `into.len()` bytes of `file` from `offset`. Only one that ends past the file's end
/// may come back short.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    pub file: Arc<BlockFile>,
    pub offset: u64,
    pub into: Region,
    /// The caller's name for it.
    pub tag: u64,
}

/// One write: all of `from` to `file` at `offset`. Nobody writes to `from` until it has ended.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// Opened for writing: [`BlockFile::create`].
    pub file: Arc<BlockFile>,
    pub offset: u64,
    pub from: Region,
    /// The caller's name for it.
    pub tag: u64,
}

impl Request for ReadRequest {
    const DIRECTION: Direction = Direction::Read;

    fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    fn memory(&self) -> &Region {
        &self.into
    }

    fn tag(&self) -> u64 {
        self.tag
    }

    fn tagged(self, tag: u64) -> Self {
        Self { tag, ..self }
    }

    fn after(self, bytes: usize) -> Self {
        Self {
            offset: self.offset + bytes as u64,
            into: self.into.part(bytes, self.into.len() - bytes),
            ..self
        }
    }
}

impl Request for WriteRequest {
    const DIRECTION: Direction = Direction::Write;

    fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    fn memory(&self) -> &Region {
        &self.from
    }

    fn tag(&self) -> u64 {
        self.tag
    }

    fn tagged(self, tag: u64) -> Self {
        Self { tag, ..self }
    }

    fn after(self, bytes: usize) -> Self {
        Self {
            offset: self.offset + bytes as u64,
            from: self.from.part(bytes, self.from.len() - bytes),
            ..self
        }
    }
}

/// A transfer that ended.
#[derive(Debug)]
pub struct Completion<R = ReadRequest> {
    pub request: R,
    /// Bytes that were transferred: possibly fewer than asked for.
    pub result: io::Result<usize>,
}

/// Transfers blocks, several at a time, in any order of completion. It does each request once:
/// [`super::Queue`] goes on with short ones and tries failed ones again.
pub trait BlockIo<R: Request>: Send {
    /// Says before the first request which files will be used, and which memory most of the
    /// time, so that the kernel need not look them up for every request. The memory becomes
    /// resident. Where that is refused requests work all the same.
    fn register(&mut self, _files: &[Arc<BlockFile>], _memory: Option<&Region>) {}

    /// How many requests may be in flight.
    fn depth(&self) -> usize;

    /// How many are.
    fn in_flight(&self) -> usize;

    /// Starts a transfer. The caller keeps `in_flight() < depth()`.
    ///
    /// # Errors
    /// The system's own; the request is then not in flight.
    fn submit(&mut self, request: R) -> io::Result<()>;

    /// Waits for one transfer to end. The caller has at least one in flight.
    ///
    /// # Errors
    /// The system's own when waiting failed; requests stay in flight.
    fn complete(&mut self) -> io::Result<Completion<R>>;

    /// How it works, in words: `io_uring`, `pread` or `pwrite`, and what of it is granted.
    fn name(&self) -> &'static str;
}

/// Reads blocks.
pub type BlockReader = dyn BlockIo<ReadRequest>;

/// Writes blocks.
pub type BlockWriter = dyn BlockIo<WriteRequest>;
