//! A range of anonymous memory at a fixed address, handed out in regions.
//!
//! Address space is reserved at once; memory is taken when a page is first written, given back by
//! [`Region::discard`] or moved by [`Region::take_pages_of`], so that who owns an arena decides what is
//! resident.
//!
//! Bytes are reached through copies in and out ([`Region::write`], [`Region::read`]) or by
//! the kernel and ggml through the address. Nothing here hands out a Rust reference to
//! arena memory, so that a writer elsewhere can never alias one.
//!
//! An arena of [`Arena::reserved`] is stricter: nothing of it can be touched before it is
//! committed, as on a device whose memory is mapped by hand, and touching what is not ends the
//! process instead of taking memory that nobody counted.

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect,
    mremap_fixed, munmap,
};
use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const HUGE_PAGE: usize = 2 << 20;

/// Reserved address space; see the module's text.
#[derive(Debug)]
pub struct Arena {
    memory: Memory,
    /// The first huge-page boundary of the mapping, where regions count from.
    base: NonNull<u8>,
    len: usize,
}

/// Who has the memory, and gives it back.
enum Memory {
    Mapped {
        map: NonNull<c_void>,
        len: usize,
        /// Of [`Arena::sparse`].
        sparse: bool,
    },
    Reserved {
        map: NonNull<c_void>,
        len: usize,
        /// By huge page.
        committed: Box<[AtomicBool]>,
    },
    Owned {
        _owner: Box<dyn Send + Sync>,
    },
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mapped { .. } => "mapped",
            Self::Reserved { .. } => "reserved",
            Self::Owned { .. } => "owned",
        })
    }
}

// SAFETY: an arena is an address range that belongs to this value until it is dropped;
// nothing about it is tied to a thread.
unsafe impl Send for Arena {}
// SAFETY: shared access only yields addresses and volatile-free copies; the regions' users
// agree on who writes what and when (see `river::ring` and `kv`).
unsafe impl Sync for Arena {}

impl Arena {
    /// Where an arena begins, in bytes: a huge page.
    pub const ALIGNMENT: usize = HUGE_PAGE;

    /// An arena over memory that somebody else has, such as a device's driver, and that is
    /// taken in whole already: discarding a part of it does nothing.
    ///
    /// # Safety
    /// `len` bytes from `base`, which is aligned to [`Arena::ALIGNMENT`], are initialised host
    /// memory that nobody else uses until `owner` is dropped.
    pub unsafe fn owning(base: NonNull<u8>, len: usize, owner: Box<dyn Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::Owned { _owner: owner },
            base,
            len,
        })
    }

    /// Reserves `len` bytes, zero when first read, in huge pages where the system grants them.
    ///
    /// # Errors
    /// The system's own, when the address space or the limit on it is exhausted.
    pub fn new(len: usize) -> io::Result<Arc<Self>> {
        Self::with_advice(len, Advice::LinuxHugepage)
    }

    /// Reserves `len` bytes of addresses without memory; see [`Arena::commit`].
    ///
    /// # Errors
    /// As [`Arena::new`].
    pub fn reserved(len: usize) -> io::Result<Arc<Self>> {
        let mapping = Mapping::new(len, ProtFlags::empty(), Advice::LinuxHugepage)?;
        let pages = mapping.len / HUGE_PAGE;
        Ok(Arc::new(Self {
            memory: Memory::Reserved {
                map: mapping.map,
                len: mapping.map_len,
                committed: (0..pages).map(|_| AtomicBool::new(false)).collect(),
            },
            base: mapping.base,
            len: mapping.len,
        }))
    }

    /// Reserves `len` bytes of which little will be used, here and there: in small pages.
    ///
    /// # Errors
    /// As [`Arena::new`].
    pub fn sparse(len: usize) -> io::Result<Arc<Self>> {
        Self::with_advice(len, Advice::LinuxNoHugepage)
    }

    fn with_advice(len: usize, pages: Advice) -> io::Result<Arc<Self>> {
        let mapping = Mapping::new(len, ProtFlags::READ | ProtFlags::WRITE, pages)?;
        Ok(Arc::new(Self {
            memory: Memory::Mapped {
                map: mapping.map,
                len: mapping.map_len,
                sparse: matches!(pages, Advice::LinuxNoHugepage),
            },
            base: mapping.base,
            len: mapping.len,
        }))
    }

    /// Puts zeros under the `page`th huge page of a reserved arena; memory is taken as they are
    /// written.
    ///
    /// # Errors
    /// The system's own, when it promises no more memory.
    ///
    /// # Panics
    /// If the page is not within the arena, or committed already.
    pub fn commit(&self, page: usize) -> io::Result<()> {
        let committed = self.page(page);
        assert!(
            !committed.load(Ordering::Acquire),
            "page {page} is committed already"
        );
        self.protect(page, MprotectFlags::READ | MprotectFlags::WRITE)?;
        committed.store(true, Ordering::Release);
        Ok(())
    }

    /// Gives the memory of a committed page back.
    ///
    /// # Panics
    /// If the page is not within the arena, or not committed.
    pub fn decommit(&self, page: usize) {
        let committed = self.page(page);
        assert!(
            committed.swap(false, Ordering::AcqRel),
            "page {page} is not committed"
        );
        // SAFETY: a page of our own mapping; dropping what it holds leaves zeros.
        let _ = unsafe { madvise(self.at(page), HUGE_PAGE, Advice::LinuxDontNeed) };
        // Refused (too many mappings), it can still be reached, and holds zeros.
        let _ = self.protect(page, MprotectFlags::empty());
    }

    fn page(&self, page: usize) -> &AtomicBool {
        match &self.memory {
            Memory::Reserved { committed, .. } => &committed[page],
            _ => panic!("only pages of a reserved arena are committed"),
        }
    }

    fn at(&self, page: usize) -> *mut c_void {
        self.base.as_ptr().wrapping_add(page * HUGE_PAGE).cast()
    }

    fn protect(&self, page: usize, access: MprotectFlags) -> io::Result<()> {
        // SAFETY: a page of our own mapping, of which nobody has a Rust reference.
        Ok(unsafe { mprotect(self.at(page), HUGE_PAGE, access) }?)
    }

    /// # Panics
    /// If a part of the range has no memory.
    fn assert_committed(&self, offset: usize, len: usize) {
        if let Memory::Reserved { committed, .. } = &self.memory {
            let pages = offset / HUGE_PAGE..(offset + len).div_ceil(HUGE_PAGE);
            assert!(
                len == 0 || committed[pages].iter().all(|c| c.load(Ordering::Acquire)),
                "{offset}+{len} of an arena is not committed"
            );
        }
    }

    /// Usable bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes; never, an arena has at least one huge page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The region `[offset, offset + len)`.
    ///
    /// # Panics
    /// If it does not lie within the arena.
    pub fn region(self: &Arc<Self>, offset: usize, len: usize) -> Region {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "region {offset}+{len} outside an arena of {}",
            self.len
        );
        Region {
            arena: Arc::clone(self),
            offset,
            len,
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Memory::Mapped { map, len, .. } | Memory::Reserved { map, len, .. } = self.memory {
            // SAFETY: the mapping is ours, and every region holds a reference to this arena, so
            // that none is left that could reach it.
            let _ = unsafe { munmap(map.as_ptr(), len) };
        }
    }
}

/// A new mapping, and the part of it that begins at a huge page.
struct Mapping {
    map: NonNull<c_void>,
    map_len: usize,
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize, access: ProtFlags, pages: Advice) -> io::Result<Self> {
        let len = len.next_multiple_of(HUGE_PAGE).max(HUGE_PAGE);
        let map_len = len + HUGE_PAGE;
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice
        // touches no memory that exists.
        let map = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                map_len,
                access,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let map = NonNull::new(map).ok_or_else(|| io::Error::other("mmap returned null"))?;
        let skip = map.as_ptr().addr().next_multiple_of(HUGE_PAGE) - map.as_ptr().addr();
        // SAFETY: `skip` < HUGE_PAGE, and the mapping is HUGE_PAGE longer than `len`.
        let base = unsafe { map.cast::<u8>().add(skip) };
        // SAFETY: advice on our own mapping; it changes no contents. Refusal (no huge pages
        // in this kernel) costs a little speed and nothing else.
        let _ = unsafe { madvise(base.as_ptr().cast(), len, pages) };
        Ok(Self {
            map,
            map_len,
            base,
            len,
        })
    }
}

/// A part of an arena; keeps the arena's memory mapped.
#[derive(Clone, Debug)]
pub struct Region {
    arena: Arc<Arena>,
    offset: usize,
    len: usize,
}

impl Region {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it begins within its arena.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The arena that it is a part of.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Its first address.
    pub fn addr(&self) -> *mut u8 {
        // SAFETY: `offset` is within the arena's mapping.
        unsafe { self.arena.base.as_ptr().add(self.offset) }
    }

    /// The part `[offset, offset + len)` of this region.
    ///
    /// # Panics
    /// If it does not lie within.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Self {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "part {offset}+{len} outside a region of {}",
            self.len
        );
        Self {
            arena: Arc::clone(&self.arena),
            offset: self.offset + offset,
            len,
        }
    }

    /// Whether all of `other` lies within this region.
    pub fn contains(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.arena, &other.arena)
            && self.offset <= other.offset
            && other.offset + other.len <= self.offset + self.len
    }

    /// Copies `bytes` to the region's start.
    ///
    /// # Panics
    /// If they do not fit, or would lie where nothing is committed.
    pub fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len, "write past a region's end");
        self.arena.assert_committed(self.offset, bytes.len());
        // SAFETY: the target is mapped for as long as `self` lives and `bytes` cannot lie in
        // it, since nobody has a reference into an arena.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.addr(), bytes.len()) };
    }

    /// Copies from the region's start into `bytes`.
    ///
    /// # Panics
    /// If the region is shorter, or nothing is committed there.
    pub fn read(&self, bytes: &mut [u8]) {
        assert!(bytes.len() <= self.len, "read past a region's end");
        self.arena.assert_committed(self.offset, bytes.len());
        // SAFETY: as in `write`; anonymous memory is always initialised.
        unsafe { std::ptr::copy_nonoverlapping(self.addr(), bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Moves the memory under `from` here, in place of what is here; `from` reads as zeros afterwards.
    /// Both are whole pages of arenas of [`Arena::sparse`], as long, and no transfer is under way in
    /// either. New memory costs more: the system fills it with zeros first.
    ///
    /// Each range that is moved to is a mapping of its own from then on, and the system lets a process
    /// have so many: ranges that are moved to should be the same ones again and again, or apart.
    ///
    /// # Errors
    /// The system's own, such as that it cannot (before Linux 5.7). Where it says more than that,
    /// what was here is lost.
    ///
    /// # Panics
    /// If they are not as long, not whole pages, or of another kind of arena.
    pub fn take_pages_of(&self, from: &Self) -> io::Result<()> {
        let fits = |region: &Self| {
            let whole = |n: usize| n.is_multiple_of(super::BLOCK);
            let sparse = matches!(region.arena.memory, Memory::Mapped { sparse: true, .. });
            whole(region.len) && whole(region.offset) && sparse
        };
        assert!(
            self.len == from.len && fits(self) && fits(from),
            "whole pages of sparse arenas move to as many"
        );
        let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
        let (here, there) = (self.addr().cast::<c_void>(), from.addr().cast::<c_void>());
        // SAFETY: both ranges are anonymous memory of arenas that these regions keep, of which nobody
        // has a Rust reference; they do not overlap, or the system refuses.
        let moved = unsafe { mremap_fixed(there, from.len, self.len, flags, here) };
        match moved {
            Ok(_) => Ok(()),
            // It refuses what it cannot do before it touches anything.
            Err(Errno::INVAL) => Err(Errno::INVAL.into()),
            Err(error) => {
                self.map_again();
                Err(error.into())
            }
        }
    }

    /// Maps what the system may have unmapped.
    fn map_again(&self) {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let kind = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        let here = self.addr().cast::<c_void>();
        // SAFETY: a part of the arena's own addresses, of which nobody has a Rust reference.
        let mapped = unsafe { mmap_anonymous(here, self.len, access, kind) };
        if let Err(error) = mapped {
            // Whoever maps memory next could be given these addresses.
            tracing::error!(%error, "memory that was being moved is lost");
            std::process::abort();
        }
        // SAFETY: advice on our own mapping.
        let _ = unsafe { madvise(here, self.len, Advice::LinuxNoHugepage) };
    }

    /// Gives the whole pages of the region back to the system; they read as zero afterwards.
    pub fn discard(&self) {
        let start = self.offset.next_multiple_of(super::BLOCK);
        let end = (self.offset + self.len) / super::BLOCK * super::BLOCK;
        if start < end && matches!(self.arena.memory, Memory::Mapped { .. }) {
            let at = self.arena.region(start, end - start);
            // SAFETY: whole pages of our own anonymous mapping; dropping them leaves zeros.
            let _ = unsafe { madvise(at.addr().cast(), at.len(), Advice::LinuxDontNeed) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_moved_from_one_arena_to_another() {
        let (one, other) = (
            Arena::sparse(1 << 20).expect("memory"),
            Arena::sparse(1 << 20).expect("memory"),
        );
        let (from, to) = (one.region(4096, 12_288), other.region(40_960, 12_288));
        to.part(0, 4).write(b"lost");
        from.part(8000, 4).write(b"kept");
        other.region(53_248, 4).write(b"next");
        for _ in 0..3 {
            to.take_pages_of(&from).expect("moved");
            let mut back = [1; 4];
            to.part(8000, 4).read(&mut back);
            assert_eq!(&back, b"kept");
            from.part(8000, 4).read(&mut back);
            assert_eq!(back, [0; 4]);
            from.take_pages_of(&to).expect("moved back");
        }
        let mut back = [0; 4];
        other.region(53_248, 4).read(&mut back);
        assert_eq!(&back, b"next");
        // Onto itself the system refuses; the memory is there all the same.
        assert!(from.take_pages_of(&from).is_err());
        from.write(b"more");
    }

    #[test]
    fn regions_hold_what_is_written_until_discarded() {
        let arena = Arena::new(3 << 20).expect("3 MiB");
        assert_eq!(arena.len(), 4 << 20, "whole huge pages");
        let region = arena.region(8192, 8192);
        region.write(b"shard");
        let mut back = [0; 5];
        arena.region(4096, 8192).part(4096, 5).read(&mut back);
        assert_eq!(&back, b"shard");
        region.discard();
        region.read(&mut back);
        assert_eq!(back, [0; 5]);
    }

    #[test]
    fn a_page_of_a_reserved_arena_holds_zeros_whenever_it_is_committed() {
        let arena = Arena::reserved(3 << 21).expect("addresses");
        let region = arena.region((2 << 20) - 4, 8);
        for _ in 0..2 {
            arena.commit(0).expect("memory");
            arena.commit(1).expect("memory");
            let mut back = [1; 8];
            region.read(&mut back);
            assert_eq!(back, [0; 8]);
            region.write(b"12345678");
            arena.decommit(1);
            arena.decommit(0);
        }
    }

    #[test]
    #[should_panic(expected = "is not committed")]
    fn what_is_only_reserved_cannot_be_written() {
        let arena = Arena::reserved(3 << 21).expect("addresses");
        arena.commit(0).expect("memory");
        arena.region((2 << 20) - 4, 8).write(b"12345678");
    }

    #[test]
    fn a_region_contains_its_parts_and_nothing_of_another_arena() {
        let (arena, other) = (
            Arena::new(1).expect("memory"),
            Arena::new(1).expect("memory"),
        );
        let region = arena.region(4096, 8192);
        assert!(region.contains(&region.part(0, 8192)));
        assert!(region.contains(&region.part(4096, 4096)));
        assert!(!region.contains(&arena.region(0, 8192)));
        assert!(!region.contains(&arena.region(8192, 8192)));
        assert!(!region.contains(&other.region(4096, 4096)));
    }

    #[test]
    #[should_panic(expected = "outside an arena")]
    fn a_region_past_the_end_is_refused() {
        let arena = Arena::new(1).expect("one huge page");
        let _ = arena.region(4096, 2 << 20);
    }
}
