//! How fast the disk that holds a model reads it, measured with the engine's own reader.

use crate::io::{Arena, BLOCK, BlockFile, ReadRequest, open_reader};
use crate::river::ReadSizes;
use crate::units::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One read; the river's are as large.
const CHUNK: usize = 4 << 20;
/// Reading ends after this many bytes or this time, whichever comes first.
const MOST_BYTES: u64 = 1 << 30;
const MOST_TIME: Duration = Duration::from_secs(1);

/// What reading a file gave.
#[derive(Clone, Copy, Debug)]
pub struct ReadSpeed {
    /// `io_uring` or `pread`.
    pub reader: &'static str,
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

    /// How it was read, in words.
    pub fn how(&self) -> String {
        let around = if self.direct {
            "O_DIRECT"
        } else {
            "through the page cache"
        };
        format!("{}, {around}", self.reader)
    }
}

/// Reads the file's beginning in order, as the river reads: with as many reads in flight, and
/// with `O_DIRECT` where it is taken.
///
/// # Errors
/// The system's own.
pub fn measure(path: &Path) -> std::io::Result<ReadSpeed> {
    let file = Arc::new(BlockFile::open(path)?);
    let mut reader = open_reader(ReadSizes::default().depth);
    let slots = reader.depth();
    let arena = Arena::new(slots * CHUNK)?;
    // Pages that are there already, so that the kernel need not make them while it reads.
    for slot in 0..slots {
        let region = arena.region(slot * CHUNK, CHUNK);
        for at in (0..CHUNK).step_by(BLOCK) {
            region.part(at, BLOCK).write(&[0; BLOCK]);
        }
    }
    let mut free: Vec<usize> = (0..slots).collect();
    let (mut next, mut bytes) = (0_u64, 0_u64);
    let end = file.len().min(MOST_BYTES);
    let start = Instant::now();
    loop {
        while next < end
            && start.elapsed() < MOST_TIME
            && let Some(slot) = free.pop()
        {
            reader.submit(ReadRequest {
                file: Arc::clone(&file),
                offset: next,
                into: arena.region(slot * CHUNK, CHUNK),
                tag: slot as u64,
            })?;
            next += CHUNK as u64;
        }
        if reader.in_flight() == 0 {
            break;
        }
        let done = reader.complete()?;
        bytes += done.result? as u64;
        free.extend(usize::try_from(done.request.tag));
    }
    Ok(ReadSpeed {
        reader: reader.name(),
        direct: file.is_direct(),
        bytes: Bytes(bytes),
        time: start.elapsed(),
    })
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
        // Two reads and a part of one, so that the end is a short read.
        let length = 2 * CHUNK + 12_345;
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
