//! A file that is there whole or not at all.
//!
//! It grows under a hidden name next to its place and gets its own name at the end. Dropped
//! before that, by an error or a stop, it is removed. Its space on the disk is taken at once, so
//! that nobody else can take it meanwhile, and in one piece where the file system has one.

use crate::system;
use crate::units::Bytes;
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// See the module's text.
#[derive(Debug)]
pub struct Staged {
    file: File,
    path: PathBuf,
}

/// Bytes that a user may still write where `path` will be.
///
/// # Errors
/// The system's own, as for a folder that is not there.
pub fn free_bytes(path: &Path) -> io::Result<Bytes> {
    system::free_bytes(folder(path))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Staged {
    /// Begins a file of `bytes` bytes that is to become `place`. `what` keeps the hidden names
    /// of several apart.
    ///
    /// # Errors
    /// The system's own.
    pub fn create(place: &Path, what: &str, bytes: Bytes) -> io::Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let hidden = format!(".{name}.{what}-{}", std::process::id());
        let path = folder(place).join(hidden);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        // From here on dropping removes it.
        let staged = Self { file, path };
        match rustix::fs::fallocate(&staged.file, FallocateFlags::empty(), 0, bytes.0) {
            Ok(()) => {}
            // Not every file system can; then it grows as it is written.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(staged)
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// The system's own, and that something has the name by now.
    pub fn place_at(self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        system::rename_new(&self.path, place)?;
        File::open(folder(place))?.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After `place_at` there is nothing of this name. What cannot be removed is hidden, and
        // its name says what it is.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let name = |e: io::Result<std::fs::DirEntry>| e.unwrap().file_name();
        entries.map(|e| name(e).into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("model.gguf");
        let staged = Staged::create(&place, "forging", Bytes(5)).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(staged);
        assert!(names(dir.path()).is_empty());

        let staged = Staged::create(&place, "forging", Bytes(5)).unwrap();
        staged.file().write_all(b"whole").unwrap();
        staged.place_at(&place).unwrap();
        assert_eq!(names(dir.path()), ["model.gguf"]);
        assert_eq!(std::fs::read(&place).unwrap(), b"whole");
    }

    #[test]
    fn it_never_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("model.gguf");
        let staged = Staged::create(&place, "forging", Bytes(5)).unwrap();
        std::fs::write(&place, "mine").unwrap();
        let error = staged.place_at(&place).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&place).unwrap(), b"mine");
        assert_eq!(names(dir.path()), ["model.gguf"]);
    }
}
