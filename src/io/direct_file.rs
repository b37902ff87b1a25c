//! Files that are read in blocks around the page cache, and files read row by row.

use rustix::fs::{Advice, Mode, OFlags, fadvise, open};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Alignment of offset, length and address that `O_DIRECT` asks for, in bytes.
pub const BLOCK: usize = 4096;

/// A file opened for block reads: with `O_DIRECT` where the file system grants it, else
/// through the page cache.
#[derive(Debug)]
pub struct BlockFile {
    file: File,
    path: PathBuf,
    len: u64,
    direct: bool,
}

impl BlockFile {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// The system's own for a file that cannot be opened at all. A refusal of `O_DIRECT`
    /// (tmpfs, some network file systems) is no error: see [`BlockFile::is_direct`].
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let (fd, direct) = match open(path, flags | OFlags::DIRECT, Mode::empty()) {
            Ok(fd) => (fd, true),
            Err(rustix::io::Errno::INVAL) => (open(path, flags, Mode::empty())?, false),
            Err(error) => return Err(error.into()),
        };
        let file = File::from(fd);
        let len = file.metadata()?.len();
        if !direct {
            // Each byte is read once a pass: keeping it behind us in the page cache only
            // pushes out what other programs need.
            let _ = fadvise(&file, 0, None, Advice::NoReuse);
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
            direct,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether reads go around the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// A file of which single rows are read, through the page cache and without read-ahead.
#[derive(Debug)]
pub struct RowFile {
    file: File,
}

impl RowFile {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// The system's own.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // Rows are scattered: read-ahead would fetch megabytes for a kilobyte.
        let _ = fadvise(&file, 0, None, Advice::Random);
        Ok(Self { file })
    }

    /// Fills `row` from `offset`.
    ///
    /// # Errors
    /// The system's own, or `UnexpectedEof` where the file ends before.
    pub fn read(&self, offset: u64, row: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(row, offset)
    }
}
