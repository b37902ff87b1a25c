//! Block transfers by plain system calls, one at a time.

use super::{BlockIo, Completion, Direction, ReadRequest, Request, WriteRequest};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;

/// `pread` or `pwrite`, when [`BlockIo::complete`] is called.
#[derive(Debug)]
pub struct Psync<R> {
    waiting: VecDeque<R>,
}

/// Reads with `pread`.
pub type PreadReader = Psync<ReadRequest>;

/// Writes with `pwrite`.
pub type PwriteWriter = Psync<WriteRequest>;

impl<R> Default for Psync<R> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

fn transfer<R: Request>(request: &R) -> Result<usize, Errno> {
    let (file, memory, offset) = (request.file().file(), request.memory(), request.offset());
    match R::DIRECTION {
        Direction::Read => {
            // SAFETY: `request` owns the region, which is mapped and writable for its whole
            // length, and nobody else uses it while the read is in flight.
            let into = unsafe { std::slice::from_raw_parts_mut(memory.addr(), memory.len()) };
            rustix::io::pread(file, into, offset)
        }
        Direction::Write => {
            // SAFETY: `request` owns the region, which is mapped for its whole length and
            // initialised, and nobody writes to it while the write is in flight.
            let from = unsafe { std::slice::from_raw_parts(memory.addr(), memory.len()) };
            rustix::io::pwrite(file, from, offset)
        }
    }
}

impl<R: Request> BlockIo<R> for Psync<R> {
    fn depth(&self) -> usize {
        1
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn submit(&mut self, request: R) -> io::Result<()> {
        self.waiting.push_back(request);
        Ok(())
    }

    fn complete(&mut self) -> io::Result<Completion<R>> {
        let request = self
            .waiting
            .pop_front()
            .ok_or_else(|| io::Error::other("no transfer is in flight"))?;
        let result = loop {
            match transfer(&request) {
                Err(Errno::INTR) => {}
                other => break other.map_err(io::Error::from),
            }
        };
        Ok(Completion { request, result })
    }

    fn name(&self) -> &'static str {
        match R::DIRECTION {
            Direction::Read => "pread",
            Direction::Write => "pwrite",
        }
    }
}
