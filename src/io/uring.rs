//! Block reads through io_uring.

use super::{BlockReader, Completion, ReadRequest};
use io_uring::{IoUring, opcode, types};
use std::io;
use std::os::fd::AsRawFd;

/// Up to `depth` reads in flight on one ring. Slot `i` of `in_flight` holds the request whose
/// `user_data` is `i`, until its completion has been taken.
pub struct UringReader {
    ring: IoUring,
    in_flight: Vec<Option<ReadRequest>>,
    free: Vec<usize>,
}

impl UringReader {
    /// Sets up a ring.
    ///
    /// # Errors
    /// The system's own where io_uring is absent or forbidden.
    pub fn new(depth: usize) -> io::Result<Self> {
        let depth = depth.max(1);
        let ring = IoUring::new(u32::try_from(depth.next_power_of_two()).unwrap_or(u32::MAX))?;
        Ok(Self {
            ring,
            in_flight: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
        })
    }
}

impl BlockReader for UringReader {
    fn depth(&self) -> usize {
        self.in_flight.len()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len() - self.free.len()
    }

    fn submit(&mut self, request: ReadRequest) -> io::Result<()> {
        let slot = self
            .free
            .pop()
            .ok_or_else(|| io::Error::other("more reads than the ring has room for"))?;
        let len = u32::try_from(request.into.len())
            .map_err(|_| io::Error::other("a read of 4 GiB or more"))?;
        let entry = opcode::Read::new(
            types::Fd(request.file.file().as_raw_fd()),
            request.into.addr(),
            len,
        )
        .offset(request.offset)
        .build()
        .user_data(slot as u64);
        self.in_flight[slot] = Some(request);
        // SAFETY: the buffer and the file outlive the operation, since the request that owns
        // both stays in `in_flight` until its completion is taken, or `drop` has waited for it.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.in_flight[slot] = None;
            self.free.push(slot);
            return Err(io::Error::other("the submission queue is full"));
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            // The entry stays queued and goes out with the next submit.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn complete(&mut self) -> io::Result<Completion> {
        loop {
            let taken = self.ring.completion().next();
            if let Some(entry) = taken {
                let slot = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
                let request = self
                    .in_flight
                    .get_mut(slot)
                    .and_then(Option::take)
                    .ok_or_else(|| io::Error::other("a completion that nobody asked for"))?;
                self.free.push(slot);
                let result = match usize::try_from(entry.result()) {
                    Ok(bytes) => Ok(bytes),
                    Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
                };
                return Ok(Completion { request, result });
            }
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

impl Drop for UringReader {
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            if let Err(error) = self.complete() {
                // The kernel may still write to these regions: keep them mapped for good
                // rather than hand their memory to somebody else.
                tracing::error!(%error, "cannot wait for reads in flight");
                for request in self.in_flight.drain(..).flatten() {
                    std::mem::forget(request);
                }
                return;
            }
        }
    }
}
