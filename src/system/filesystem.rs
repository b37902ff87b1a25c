//! The file system that holds a file.

use crate::units::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// What is known of a file system.
#[derive(Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type, or the magic number of one that has no name here.
    pub name: String,
    pub free: Bytes,
    /// Lives in memory: streaming from it is no streaming.
    pub in_memory: bool,
}

/// Asks the kernel about the file system of `path`.
///
/// # Errors
/// The system's own, as for a path that leads nowhere.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let stat = rustix::fs::statfs(path)?;
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
    Ok(FileSystem {
        name: if name.is_empty() {
            format!("type {magic:#x}")
        } else {
            name.to_owned()
        },
        free: free_bytes(path)?,
        in_memory: matches!(name, "tmpfs" | "ramfs"),
    })
}

/// Bytes that this user may still write to the file system of `path`.
///
/// # Errors
/// The system's own, as for a path that leads nowhere.
pub fn free_bytes(path: &Path) -> io::Result<Bytes> {
    let space = rustix::fs::statvfs(path)?;
    Ok(Bytes(space.f_bavail.saturating_mul(space.f_frsize)))
}

/// Gives `from` the name `to`, unless something has it.
///
/// # Errors
/// The system's own, and that something has the name.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems cannot do both at once; two steps are the next best.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(file_system(Path::new("/nowhere")).is_err());
        assert!(!file_system(Path::new("/")).unwrap().name.is_empty());
    }
}
