//! Block transfers through io_uring.

use super::{
    BlockFile, BlockIo, Completion, Direction, ReadRequest, Region, Request, WriteRequest,
};
use io_uring::{IoUring, opcode, squeue, types};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// The kernel takes no larger buffer than this, in bytes.
const MOST_REGISTERED: usize = 1 << 30;

/// Up to `depth` transfers in flight on one ring. Slot `i` of `in_flight` holds the request whose
/// `user_data` is `i`, until its completion has been taken.
pub struct Uring<R: Request> {
    // Declared, and so dropped, before what is registered with it.
    ring: IoUring,
    in_flight: Vec<Option<R>>,
    free: Vec<usize>,
    /// Files that the kernel knows by their place in this list.
    files: Vec<Arc<BlockFile>>,
    /// Memory whose pages the kernel has looked up and pinned, as its buffer 0.
    memory: Option<Region>,
}

/// Reads through io_uring.
pub type UringReader = Uring<ReadRequest>;

/// Writes through io_uring.
pub type UringWriter = Uring<WriteRequest>;

impl<R: Request> Uring<R> {
    /// Sets up a ring, and sends nothing through it: a sandbox may allow the one and refuse the
    /// other.
    ///
    /// # Errors
    /// The system's own where io_uring is absent or forbidden.
    pub fn new(depth: usize) -> io::Result<Self> {
        let depth = depth.max(1);
        let mut ring = IoUring::new(u32::try_from(depth.next_power_of_two()).unwrap_or(u32::MAX))?;
        probe(&mut ring)?;
        Ok(Self {
            ring,
            in_flight: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            files: Vec::new(),
            memory: None,
        })
    }

    /// The kernel's form of a request: by registered file and buffer where it has them.
    fn entry(&self, request: &R, len: u32) -> squeue::Entry {
        let known = (self.files.iter())
            .position(|f| Arc::ptr_eq(f, request.file()))
            .and_then(|i| RawFd::try_from(i).ok());
        let (file, flags) = match known {
            Some(place) => (types::Fd(place), squeue::Flags::FIXED_FILE),
            None => (
                types::Fd(request.file().file().as_raw_fd()),
                squeue::Flags::empty(),
            ),
        };
        let (addr, offset) = (request.memory().addr(), request.offset());
        let pinned = (self.memory.as_ref()).is_some_and(|m| m.contains(request.memory()));
        let entry = match (R::DIRECTION, pinned) {
            (Direction::Read, true) => opcode::ReadFixed::new(file, addr, len, 0)
                .offset(offset)
                .build(),
            (Direction::Read, false) => opcode::Read::new(file, addr, len).offset(offset).build(),
            (Direction::Write, true) => opcode::WriteFixed::new(file, addr, len, 0)
                .offset(offset)
                .build(),
            (Direction::Write, false) => opcode::Write::new(file, addr, len).offset(offset).build(),
        };
        entry.flags(flags)
    }
}

/// Submits an operation that does nothing, and waits for it.
fn probe(ring: &mut IoUring) -> io::Result<()> {
    let nothing = opcode::Nop::new().build();
    // SAFETY: the operation uses no memory.
    if unsafe { ring.submission().push(&nothing) }.is_err() {
        return Err(io::Error::other("the submission queue is full"));
    }
    while let Err(error) = ring.submit_and_wait(1) {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    ring.completion().for_each(drop);
    Ok(())
}

impl<R: Request> BlockIo<R> for Uring<R> {
    fn register(&mut self, files: &[Arc<BlockFile>], memory: Option<&Region>) {
        let descriptors: Vec<RawFd> = files.iter().map(|f| f.file().as_raw_fd()).collect();
        match self.ring.submitter().register_files(&descriptors) {
            Ok(()) => self.files = files.to_vec(),
            Err(error) => tracing::info!(%error, "files cannot be registered with io_uring"),
        }
        let Some(memory) = memory.filter(|m| (1..=MOST_REGISTERED).contains(&m.len())) else {
            return;
        };
        let buffer = libc::iovec {
            iov_base: memory.addr().cast(),
            iov_len: memory.len(),
        };
        // SAFETY: the kernel keeps the pages of this range pinned for as long as the ring
        // lives; `self.memory` keeps them mapped until after the ring has been dropped.
        match unsafe { self.ring.submitter().register_buffers(&[buffer]) } {
            Ok(()) => self.memory = Some(memory.clone()),
            // An ordinary user may lock no more than 8 MiB.
            Err(error) => tracing::info!(%error, "memory cannot be registered with io_uring"),
        }
    }

    fn depth(&self) -> usize {
        self.in_flight.len()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len() - self.free.len()
    }

    fn submit(&mut self, request: R) -> io::Result<()> {
        let len = u32::try_from(request.memory().len())
            .map_err(|_| io::Error::other("a transfer of 4 GiB or more"))?;
        let slot = self
            .free
            .pop()
            .ok_or_else(|| io::Error::other("more transfers than the ring has places for"))?;
        let entry = self.entry(&request, len).user_data(slot as u64);
        self.in_flight[slot] = Some(request);
        // SAFETY: the buffer and the file outlive the operation, since the request that owns
        // both stays in `in_flight` until its completion is taken, or `drop` has waited for it.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.in_flight[slot] = None;
            self.free.push(slot);
            return Err(io::Error::other("the submission queue is full"));
        }
        // Where the kernel does not take it now (it is interrupted, or short of memory), the
        // entry stays queued and goes out when the next one does, or is waited for.
        if let Err(error) = self.ring.submit() {
            tracing::debug!(%error, "a transfer is submitted later");
        }
        Ok(())
    }

    fn complete(&mut self) -> io::Result<Completion<R>> {
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
        match self.memory {
            Some(_) => "io_uring, registered buffers",
            None => "io_uring",
        }
    }
}

impl<R: Request> Drop for Uring<R> {
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            if let Err(error) = self.complete() {
                // The kernel may still use these regions: keep them mapped for good rather than
                // hand their memory to somebody else.
                tracing::error!(%error, "cannot wait for transfers in flight");
                for request in self.in_flight.drain(..).flatten() {
                    std::mem::forget(request);
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Arena, BLOCK, PreadReader};
    use std::fs;

    const BLOCKS: usize = 20;

    /// A file of blocks, each filled with its number.
    fn numbered(dir: &tempfile::TempDir) -> Arc<BlockFile> {
        let path = dir.path().join("blocks");
        let bytes: Vec<u8> = (0..BLOCKS).flat_map(|i| [i as u8; BLOCK]).collect();
        fs::write(&path, bytes).expect("a file");
        Arc::new(BlockFile::open(&path).expect("opened"))
    }

    /// A reader, where this system grants one.
    fn reader(depth: usize) -> Option<UringReader> {
        let reader = UringReader::new(depth);
        if let Err(error) = &reader {
            println!("io_uring is refused here ({error}): nothing is tested");
        }
        reader.ok()
    }

    fn request(file: &Arc<BlockFile>, block: usize, into: Region) -> ReadRequest {
        ReadRequest {
            file: Arc::clone(file),
            offset: (block * BLOCK) as u64,
            into,
            tag: block as u64,
        }
    }

    #[test]
    fn more_reads_than_the_depth_fill_the_right_places() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = numbered(&dir);
        let arena = Arena::new(BLOCKS * BLOCK).expect("memory");
        // Registered or not, and half of the memory registered: the bytes are the same.
        for registered in [0, BLOCKS, BLOCKS / 2] {
            let Some(mut reader) = reader(4) else { return };
            let memory = arena.region(0, registered * BLOCK);
            if registered > 0 {
                reader.register(&[Arc::clone(&file)], Some(&memory));
            }
            arena
                .region(0, BLOCKS * BLOCK)
                .write(&[0xff; BLOCKS * BLOCK]);
            let mut next = 0;
            let mut seen = [false; BLOCKS];
            while next < BLOCKS || reader.in_flight() > 0 {
                while next < BLOCKS && reader.in_flight() < reader.depth() {
                    let into = arena.region(next * BLOCK, BLOCK);
                    reader
                        .submit(request(&file, next, into))
                        .expect("a free slot");
                    next += 1;
                }
                let done = reader.complete().expect("a completion");
                assert_eq!(done.result.expect("bytes"), BLOCK);
                let block = done.request.tag as usize;
                assert!(!std::mem::replace(&mut seen[block], true), "{block} twice");
                let mut bytes = [0; BLOCK];
                done.request.into.read(&mut bytes);
                assert_eq!(bytes, [block as u8; BLOCK]);
            }
            assert_eq!(seen, [true; BLOCKS]);
        }
    }

    #[test]
    fn a_read_past_the_end_is_short_and_one_too_many_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = numbered(&dir);
        let arena = Arena::new(4 * BLOCK).expect("memory");
        let Some(mut reader) = reader(1) else { return };
        let last = request(&file, BLOCKS - 1, arena.region(0, 4 * BLOCK));
        reader.submit(last.clone()).expect("a free slot");
        assert!(reader.submit(last).is_err());
        assert_eq!(
            reader.complete().expect("done").result.expect("bytes"),
            BLOCK
        );
    }

    /// Refuses `io_uring_enter` to this thread from now on, as sandboxes do.
    fn refuse_enter() -> io::Result<()> {
        // In the kernel's words: load the system call's number; if it is this one, an error; else
        // go on.
        let statement = |code: u32, k: u32, (jt, jf): (u8, u8)| libc::sock_filter {
            code: u16::try_from(code).expect("a code"),
            jt,
            jf,
            k,
        };
        let number = u32::try_from(libc::SYS_io_uring_enter).expect("a number");
        let refused = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).expect("an error");
        let mut filter = [
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, (0, 0)),
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, (0, 1)),
            statement(libc::BPF_RET | libc::BPF_K, refused, (0, 0)),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, (0, 0)),
        ];
        let program = libc::sock_fprog {
            len: 4,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the program and its four statements outlive the calls, which copy them; they
        // concern this thread alone.
        let granted = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) == 0
        };
        if granted {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    #[test]
    fn where_a_ring_may_be_set_up_and_not_used_pread_reads() {
        let read = std::thread::spawn(|| {
            if let Err(error) = refuse_enter() {
                println!("no system call can be refused here: {error}");
                return;
            }
            assert!(UringReader::new(4).is_err());
            let dir = tempfile::tempdir().expect("a directory");
            let file = numbered(&dir);
            let arena = Arena::new(BLOCK).expect("memory");
            let mut reader = crate::io::open_reader(4);
            assert_eq!(reader.name(), "pread");
            let first = request(&file, 1, arena.region(0, BLOCK));
            reader.submit(first).expect("taken");
            let done = reader.complete().expect("done");
            assert_eq!(done.result.expect("bytes"), BLOCK);
        });
        read.join().expect("a reader");
    }

    #[test]
    fn a_reader_dropped_with_reads_in_flight_waits_for_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = numbered(&dir);
        let arena = Arena::new(4 * BLOCK).expect("memory");
        let Some(mut reader) = reader(4) else { return };
        for block in 0..4 {
            let into = arena.region(block * BLOCK, BLOCK);
            reader
                .submit(request(&file, block, into))
                .expect("a free slot");
        }
        drop(reader);
        for block in 0..4 {
            let mut bytes = [0; BLOCK];
            arena.region(block * BLOCK, BLOCK).read(&mut bytes);
            assert_eq!(bytes, [block as u8; BLOCK]);
        }
    }

    #[test]
    fn what_is_written_is_read_again_registered_or_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let arena = Arena::new(2 * BLOCKS * BLOCK).expect("memory");
        let (from, into) = (
            arena.region(0, BLOCKS * BLOCK),
            arena.region(BLOCKS * BLOCK, BLOCKS * BLOCK),
        );
        for registered in [0, BLOCKS, BLOCKS / 2] {
            let mut writer = match UringWriter::new(4) {
                Ok(writer) => writer,
                Err(error) => return println!("io_uring is refused here: {error}"),
            };
            let path = dir.path().join(format!("swap {registered}"));
            let file = Arc::new(BlockFile::create(&path).expect("created"));
            if registered > 0 {
                let memory = from.part(0, registered * BLOCK);
                writer.register(&[Arc::clone(&file)], Some(&memory));
            }
            let salt = registered as u8;
            let bytes: Vec<u8> = (0..BLOCKS).flat_map(|i| [salt ^ i as u8; BLOCK]).collect();
            from.write(&bytes);
            // Backwards, so that the file grows by holes.
            let mut next = BLOCKS;
            while next > 0 || writer.in_flight() > 0 {
                while next > 0 && writer.in_flight() < writer.depth() {
                    next -= 1;
                    let request = WriteRequest {
                        file: Arc::clone(&file),
                        offset: (next * BLOCK) as u64,
                        from: from.part(next * BLOCK, BLOCK),
                        tag: next as u64,
                    };
                    writer.submit(request).expect("taken");
                }
                let done = writer.complete().expect("a completion");
                assert_eq!(done.result.expect("bytes"), BLOCK);
            }
            let mut reader = PreadReader::default();
            reader
                .submit(request(&file, 0, into.clone()))
                .expect("taken");
            assert_eq!(
                reader.complete().expect("done").result.expect("bytes"),
                bytes.len()
            );
            let mut back = vec![0; bytes.len()];
            into.read(&mut back);
            assert!(back == bytes, "{registered} blocks registered");
        }
    }

    #[test]
    fn a_writer_dropped_with_writes_in_flight_waits_for_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("swap");
        let file = Arc::new(BlockFile::create(&path).expect("created"));
        let Ok(mut writer) = UringWriter::new(4) else {
            return println!("io_uring is refused here");
        };
        for block in 0..4 {
            let from = Arena::new(BLOCK).expect("memory").region(0, BLOCK);
            from.write(&[block as u8 + 1; BLOCK]);
            // The request alone keeps its memory.
            let request = WriteRequest {
                file: Arc::clone(&file),
                offset: (block * BLOCK) as u64,
                from,
                tag: 0,
            };
            writer.submit(request).expect("taken");
        }
        drop(writer);
        let bytes = fs::read(&path).expect("readable");
        let expected: Vec<u8> = (1..5).flat_map(|n| [n; BLOCK]).collect();
        assert!(bytes == expected);
    }
}
