//! Block reads in flight: one trait, and the plain form of it.

use super::{BlockFile, Region, UringReader};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// One read: `into.len()` bytes of `file` from `offset`. All three are multiples of
/// [`super::BLOCK`]; only a read that ends past the file's end may come back short.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    pub file: Arc<BlockFile>,
    pub offset: u64,
    pub into: Region,
    /// The caller's name for it.
    pub tag: u64,
}

/// A read that ended.
#[derive(Debug)]
pub struct Completion {
    pub request: ReadRequest,
    /// Bytes that were read: possibly fewer than asked for.
    pub result: io::Result<usize>,
}

/// Reads blocks, several at a time, in any order of completion.
pub trait BlockReader: Send {
    /// Says before the first read which files will be read, and into which memory most of
    /// the time, so that the kernel need not look them up for every read. The memory becomes
    /// resident. Where that is refused reads work all the same.
    fn register(&mut self, _files: &[Arc<BlockFile>], _memory: Option<&Region>) {}

    /// How many reads may be in flight.
    fn depth(&self) -> usize;

    /// How many are.
    fn in_flight(&self) -> usize;

    /// Starts a read. The caller keeps `in_flight() < depth()`.
    ///
    /// # Errors
    /// The system's own; the request is then not in flight.
    fn submit(&mut self, request: ReadRequest) -> io::Result<()>;

    /// Waits for one read to end. The caller has at least one in flight.
    ///
    /// # Errors
    /// The system's own when waiting failed; reads stay in flight.
    fn complete(&mut self) -> io::Result<Completion>;

    /// How it reads, in words: `io_uring` or `pread`, and what of it is granted.
    fn name(&self) -> &'static str;
}

/// The best reader that this system grants: io_uring, or `pread` where that is refused
/// (old kernels, containers that forbid it).
pub fn open_reader(depth: usize) -> Box<dyn BlockReader> {
    match UringReader::new(depth) {
        Ok(reader) => Box::new(reader),
        Err(error) => {
            tracing::info!(%error, "io_uring is refused here; reading with pread");
            Box::new(PreadReader::default())
        }
    }
}

/// One read at a time, with `pread`.
#[derive(Debug, Default)]
pub struct PreadReader {
    waiting: VecDeque<ReadRequest>,
}

impl BlockReader for PreadReader {
    fn depth(&self) -> usize {
        1
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn submit(&mut self, request: ReadRequest) -> io::Result<()> {
        self.waiting.push_back(request);
        Ok(())
    }

    fn complete(&mut self) -> io::Result<Completion> {
        let request = self
            .waiting
            .pop_front()
            .ok_or_else(|| io::Error::other("no read is in flight"))?;
        let result = loop {
            // SAFETY: `request` owns the region, which is mapped and writable for its whole
            // length, and nobody else uses it while the read is in flight.
            let buffer =
                unsafe { std::slice::from_raw_parts_mut(request.into.addr(), request.into.len()) };
            match rustix::io::pread(request.file.file(), buffer, request.offset) {
                Err(Errno::INTR) => {}
                other => break other.map_err(io::Error::from),
            }
        };
        Ok(Completion { request, result })
    }

    fn name(&self) -> &'static str {
        "pread"
    }
}
