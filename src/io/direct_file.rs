//! Files that are read and written in blocks around the page cache, and files read row by row.

use rustix::fs::{Advice, Mode, OFlags, fadvise, open};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Alignment of offset, length and address that `O_DIRECT` asks for, in bytes.
pub const BLOCK: usize = 4096;

/// A file opened for block transfers: with `O_DIRECT` where the file system grants it, else
/// through the page cache.
#[derive(Debug)]
pub struct BlockFile {
    file: File,
    path: PathBuf,
    opened: Stamp,
    direct: bool,
}

/// What tells a file from another, and from itself after it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    /// Last written, in nanoseconds.
    mtime_ns: i128,
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// What has happened to an open file, in words that follow its name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileChange {
    #[error("is no longer there ({0})")]
    Gone(String),
    #[error("has been replaced by another file")]
    Replaced,
    #[error("was {was} bytes long and is {is} now")]
    Resized { was: u64, is: u64 },
    #[error("has been written to")]
    Written,
}

impl BlockFile {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// The system's own for a file that cannot be opened at all. A refusal of `O_DIRECT`
    /// (tmpfs, some network file systems) is no error: see [`BlockFile::is_direct`].
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, OFlags::RDONLY, Mode::empty())
    }

    /// Makes `path` an empty file of this user alone, for writing and for reading what was
    /// written. [`BlockFile::len`] and [`BlockFile::check`] know nothing of what is written.
    ///
    /// # Errors
    /// As [`BlockFile::open`].
    pub fn create(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        Self::open_with(path, flags, Mode::RUSR | Mode::WUSR)
    }

    fn open_with(path: &Path, flags: OFlags, mode: Mode) -> io::Result<Self> {
        let flags = flags | OFlags::CLOEXEC;
        let (fd, direct) = match open(path, flags | OFlags::DIRECT, mode) {
            Ok(fd) => (fd, true),
            Err(rustix::io::Errno::INVAL) => (open(path, flags, mode)?, false),
            Err(error) => return Err(error.into()),
        };
        let file = File::from(fd);
        let opened = Stamp::of(&file.metadata()?);
        if !direct {
            // Each byte is read once a pass: keeping it in the page cache afterwards
            // only pushes out what other programs need.
            let _ = fadvise(&file, 0, None, Advice::NoReuse);
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            opened,
            direct,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length when it was opened.
    pub fn len(&self) -> u64 {
        self.opened.len
    }

    pub fn is_empty(&self) -> bool {
        self.opened.len == 0
    }

    /// Whether the path still leads to the file that was opened, as it was then.
    ///
    /// # Errors
    /// What has changed. What is read from now on cannot be trusted.
    pub fn check(&self) -> Result<(), FileChange> {
        let gone = |error: io::Error| FileChange::Gone(error.to_string());
        let now = Stamp::of(&std::fs::metadata(&self.path).map_err(gone)?);
        let was = self.opened;
        if (now.device, now.inode) != (was.device, was.inode) {
            Err(FileChange::Replaced)
        } else if now.len != was.len {
            Err(FileChange::Resized {
                was: was.len,
                is: now.len,
            })
        } else if now.mtime_ns != was.mtime_ns {
            Err(FileChange::Written)
        } else {
            Ok(())
        }
    }

    /// Whether transfers go around the page cache.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_changed_file_is_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("model");
        fs::write(&path, [1; 8192]).expect("written");
        let file = BlockFile::open(&path).expect("opened");
        assert_eq!(file.check(), Ok(()));

        let handle = fs::OpenOptions::new().write(true).open(&path);
        let handle = handle.expect("opened for writing");
        let mtime = handle.metadata().and_then(|m| m.modified()).expect("mtime");
        handle.set_len(4096).expect("cut");
        let cut = FileChange::Resized {
            was: 8192,
            is: 4096,
        };
        assert_eq!(file.check(), Err(cut));
        // The same length again, perhaps with other content.
        handle.set_len(8192).expect("grown");
        handle
            .set_modified(SystemTime::now() + Duration::from_secs(5))
            .expect("mtime set");
        assert_eq!(file.check(), Err(FileChange::Written));
        handle.set_modified(mtime).expect("mtime set");
        assert_eq!(file.check(), Ok(()));

        fs::rename(&path, dir.path().join("aside")).expect("moved");
        assert!(matches!(file.check(), Err(FileChange::Gone(_))));
        fs::write(&path, [1; 8192]).expect("another");
        assert_eq!(file.check(), Err(FileChange::Replaced));
    }
}
