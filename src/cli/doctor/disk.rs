//! How fast the disk that holds a model reads it, past the page cache.

use crate::units::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// One read; what the engine's reader uses too.
const BLOCK: usize = 4 << 20;
/// `O_DIRECT` wants buffers and offsets at multiples of the device's block; this fits all.
const ALIGN: usize = 4096;
/// Reading ends after this many bytes or this time, whichever comes first.
const MOST_BYTES: u64 = 512 << 20;
const MOST_TIME: Duration = Duration::from_secs(2);

/// What reading a file gave.
#[derive(Clone, Copy, Debug)]
pub struct ReadSpeed {
    /// Whether the file system took `O_DIRECT`. Without it the page cache answers too.
    pub direct: bool,
    pub bytes: Bytes,
    pub time: Duration,
}

impl ReadSpeed {
    /// Decimal gigabytes a second, from wherever the bytes came.
    pub fn gb_s(&self) -> f64 {
        self.bytes.0 as f64 / self.time.as_secs_f64().max(1e-9) / 1e9
    }

    /// The same if it is surely the disk's own.
    pub fn disk_gb_s(&self) -> Option<f64> {
        (self.direct && self.bytes.0 > 0).then(|| self.gb_s())
    }
}

/// Reads the file's beginning in order with one thread, with `O_DIRECT` where it is taken.
pub fn measure(path: &Path) -> std::io::Result<ReadSpeed> {
    let (file, direct) = open(path)?;
    // Memory at a multiple of ALIGN, cut out of a longer piece.
    let mut memory = vec![0_u8; BLOCK + ALIGN];
    let skip = memory.as_ptr().align_offset(ALIGN);
    let buffer = &mut memory[skip..skip + BLOCK];
    let start = Instant::now();
    let mut bytes = 0_u64;
    while bytes < MOST_BYTES && start.elapsed() < MOST_TIME {
        let read = match rustix::io::pread(file.as_fd(), &mut *buffer, bytes) {
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        bytes += read as u64;
        // The end of the file, or a place from which a direct read could not go on.
        if read < BLOCK {
            break;
        }
    }
    Ok(ReadSpeed {
        direct,
        bytes: Bytes(bytes),
        time: start.elapsed(),
    })
}

fn open(path: &Path) -> std::io::Result<(OwnedFd, bool)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Ok(file) => Ok((file, true)),
        // How a file system says that it has no such thing.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            Ok((rustix::fs::open(path, flags, Mode::empty())?, false))
        }
        Err(error) => Err(error.into()),
    }
}

/// What is known of the file system that holds `path`.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Its type, or the magic number of one that has no name here.
    pub filesystem: String,
    pub free: Bytes,
    /// Lives in memory: streaming from it is no streaming.
    pub in_memory: bool,
}

/// Asks the kernel about the file system of `path`.
pub fn place(path: &Path) -> std::io::Result<Place> {
    let stat = rustix::fs::statfs(path)?;
    let space = rustix::fs::statvfs(path)?;
    let magic = u64::try_from(stat.f_type).unwrap_or_default() & 0xffff_ffff;
    let name = match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        _ => "",
    };
    Ok(Place {
        filesystem: if name.is_empty() {
            format!("type {magic:#x}")
        } else {
            name.to_owned()
        },
        free: Bytes(space.f_bavail * space.f_frsize),
        in_memory: matches!(name, "tmpfs" | "ramfs"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        // Two blocks and a part of one, so that the end is a short read.
        let length = 2 * BLOCK + 12_345;
        fs::write(&path, vec![7_u8; length]).unwrap();
        let speed = measure(&path).unwrap();
        assert_eq!(speed.bytes, Bytes(length as u64));
        assert!(speed.gb_s() > 0.0);
        assert_eq!(speed.disk_gb_s().is_some(), speed.direct);
    }

    #[test]
    fn an_empty_file_has_no_speed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        fs::write(&path, b"").unwrap();
        assert_eq!(measure(&path).unwrap().disk_gb_s(), None);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(measure(Path::new("/nowhere/model")).is_err());
        assert!(place(Path::new("/nowhere")).is_err());
        assert!(!place(Path::new("/")).unwrap().filesystem.is_empty());
    }
}
