//! Read-only file mappings, for parsing headers.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps the whole of `file` for reading. An empty file maps to an empty slice.
///
/// Meant for short use: a mapping keeps the pages it touched in the process's resident size,
/// and reading past a point where somebody else truncates the file meanwhile raises SIGBUS,
/// so callers parse what they need and drop it.
pub fn map_readonly(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is private and read-only, and is dropped by its owner before the
    // `File` matters again. The contract that is left is that nobody writes to the file while
    // it is mapped; model files are put in place by rename and are never changed afterwards,
    // and every parse of the bytes is bounds-checked, so a concurrent write by a stranger can
    // at worst change what is read.
    unsafe { Mmap::map(file) }
}
