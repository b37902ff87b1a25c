//! The user's model cache: which files are there, and which of them have been checked.
//!
//! ```text
//!   models/
//!     qwen2.5-coder-1.5b-instruct-q4_k_m.gguf    in place: whole, put there by a rename
//!     hub/OWNER/REPO/<file>                      the same, of a hub's repository
//!     .verified/<file>.toml                      size, time and SHA-256 of its last check
//!     .staging/<name>/                           what an interrupted pull left behind; of a
//!                                                hub's repository, .staging/hub/OWNER/REPO/...
//!     .lock                                      held by whoever changes the cache
//! ```
//!
//! A check costs reading the whole file, so its result is kept and believed as long as the
//! file's size and modification time stay the same.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalog::Entry;
use super::gguf::SplitName;
use crate::system::cache::{cache_dir, write_atomic};

/// The cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no home directory is known for the model cache; set NMOS_CACHE to a directory")]
    NoHome,
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error(
        "another nmos is changing the models in {}; wait for it to finish and try again",
        dir.display()
    )]
    Locked { dir: PathBuf },
}

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            error,
        }
    }
}

/// A directory of models.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What is in place of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    Absent,
    /// Its file, or all parts in order; at least one.
    Complete(Vec<PathBuf>),
    /// A file that cannot be the model's.
    WrongSize {
        path: PathBuf,
        found: u64,
        expected: u64,
    },
}

/// A model's state, as `models list` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In place, and unchanged since its hash was found right.
    Verified,
    /// In place, not checked yet.
    Present,
    /// In place, with a size or a hash that is not the model's.
    Damaged,
    /// Some of it is in the staging directory; a pull goes on from there.
    Partial,
    Absent,
}

/// The result of a check: the hash that a file must have, and whether it had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub sha256: String,
    pub right: bool,
}

/// A check, and the file that it was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    size: u64,
    mtime_s: i64,
    mtime_ns: i64,
    #[serde(flatten)]
    check: Check,
}

impl Record {
    fn is_of(&self, meta: &fs::Metadata) -> bool {
        (self.size, self.mtime_s, self.mtime_ns) == (meta.len(), meta.mtime(), meta.mtime_nsec())
    }
}

/// Held while the cache is changed; released when dropped, also by a killed process.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl Store {
    /// The user's cache directory, or `NMOS_CACHE` where that is set.
    pub fn of_user() -> Result<Self, StoreError> {
        let cache = cache_dir().ok_or(StoreError::NoHome)?;
        Ok(Self::at(cache.join("models")))
    }

    /// The store in `dir`, which need not exist yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a file is once it is whole.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Where pulls of `entry` keep what is unfinished.
    pub fn staging(&self, entry: &Entry) -> PathBuf {
        // A hub's model has more than one name: its file has one.
        let key = if entry.name.contains('/') {
            &entry.file
        } else {
            &entry.name
        };
        self.staging_root().join(key)
    }

    pub(super) fn staging_root(&self) -> PathBuf {
        self.dir.join(".staging")
    }

    /// Takes the cache for changing it.
    pub fn lock(&self) -> Result<StoreLock, StoreError> {
        fs::create_dir_all(&self.dir).map_err(|e| StoreError::io("create", &self.dir, e))?;
        let path = self.dir.join(".lock");
        let file = File::create(&path).map_err(|e| StoreError::io("create", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(StoreLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
                dir: self.dir.clone(),
            }),
            Err(TryLockError::Error(e)) => Err(StoreError::io("lock", &path, e)),
        }
    }

    /// What is in place of `entry`; reads no content.
    pub fn presence(&self, entry: &Entry) -> Result<Presence, StoreError> {
        let whole = self.path(&entry.file);
        match fs::metadata(&whole) {
            Ok(meta) => {
                return Ok(match entry.size {
                    Some(expected) if meta.len() != expected => Presence::WrongSize {
                        path: whole,
                        found: meta.len(),
                        expected,
                    },
                    _ => Presence::Complete(vec![whole]),
                });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::io("look at", &whole, e)),
        }
        let parts = self.parts(entry)?;
        let complete = parts
            .first()
            .and_then(|path| SplitName::parse(path))
            .is_some_and(|name| name.parts().eq(parts.iter().cloned()));
        Ok(if complete {
            Presence::Complete(parts)
        } else {
            Presence::Absent
        })
    }

    /// The parts of a split `entry` that are in place, in order.
    fn parts(&self, entry: &Entry) -> Result<Vec<PathBuf>, StoreError> {
        let whole = self.path(&entry.file);
        let dir = whole.parent().unwrap_or(&self.dir);
        let of_entry =
            |path: &PathBuf| SplitName::parse(path).is_some_and(|name| name.undivided() == whole);
        let names = contents(dir)?.into_iter();
        Ok(names.map(|name| dir.join(name)).filter(of_entry).collect())
    }

    /// The state of `entry` and the bytes of it that are on the disk.
    pub fn state(&self, entry: &Entry) -> Result<(State, u64), StoreError> {
        let staged = || staged_bytes(&self.staging(entry));
        Ok(match self.presence(entry)? {
            Presence::Complete(files) => {
                let bytes = files.iter().map(|f| disk_bytes(f)).sum();
                let checks: Vec<_> = files.iter().map(|f| self.checked(entry, f)).collect();
                let state = if checks.iter().flatten().any(|check| !check.right) {
                    State::Damaged
                } else if checks.contains(&None) {
                    State::Present
                } else {
                    State::Verified
                };
                (state, bytes)
            }
            Presence::WrongSize { found, .. } => (State::Damaged, found),
            Presence::Absent => {
                let bytes = staged()
                    + self
                        .parts(entry)?
                        .iter()
                        .map(|f| disk_bytes(f))
                        .sum::<u64>();
                if bytes > 0 {
                    (State::Partial, bytes)
                } else {
                    (State::Absent, 0)
                }
            }
        })
    }

    fn record_path(&self, file: &Path) -> PathBuf {
        let name = file.strip_prefix(&self.dir);
        let mut name = name.unwrap_or(file).as_os_str().to_owned();
        name.push(".toml");
        self.dir.join(".verified").join(name)
    }

    fn load_record(&self, file: &Path) -> Option<Record> {
        let text = fs::read_to_string(self.record_path(file)).ok()?;
        toml::from_str(&text).ok()
    }

    /// The last check of `file`, one of `entry`'s, if the file has not changed since and the
    /// catalogue still wants the same of it.
    pub fn checked(&self, entry: &Entry, file: &Path) -> Option<Check> {
        let record = self.load_record(file)?;
        let meta = fs::metadata(file).ok()?;
        let wanted = entry.sha256.as_ref();
        let same = record.is_of(&meta) && wanted.is_none_or(|sha| *sha == record.check.sha256);
        same.then_some(record.check)
    }

    /// The hash that `file` must have, from the catalogue or from the source it came from.
    pub fn wanted(&self, entry: &Entry, file: &Path) -> Option<String> {
        let declared = || self.load_record(file).map(|record| record.check.sha256);
        entry.sha256.clone().or_else(declared)
    }

    /// Notes that `file`, as it is now, was checked.
    pub fn record(&self, file: &Path, check: Check) -> Result<(), StoreError> {
        self.record_ahead(file, file, check)
    }

    /// Notes the check of `staged`, which is about to be renamed to `place`. Until it is there,
    /// as it is now, the note means nothing; so there is no moment at which a checked file is in
    /// place without one.
    pub fn record_ahead(
        &self,
        staged: &Path,
        place: &Path,
        check: Check,
    ) -> Result<(), StoreError> {
        let meta = fs::metadata(staged).map_err(|e| StoreError::io("look at", staged, e))?;
        let record = Record {
            size: meta.len(),
            mtime_s: meta.mtime(),
            mtime_ns: meta.mtime_nsec(),
            check,
        };
        let path = self.record_path(place);
        let text = toml::to_string(&record).map_err(io::Error::other);
        text.and_then(|text| write_atomic(&path, text.as_bytes()))
            .map_err(|e| StoreError::io("write", &path, e))
    }

    /// Removes every trace of `entry`; the bytes that this gave back.
    pub fn remove(&self, entry: &Entry) -> Result<u64, StoreError> {
        let mut files = self.parts(entry)?;
        files.push(self.path(&entry.file));
        let mut freed = 0;
        for file in files {
            freed += disk_bytes(&file);
            for path in [self.record_path(&file), file] {
                remove_if_there(&path).map_err(|e| StoreError::io("remove", &path, e))?;
            }
        }
        let staging = self.staging(entry);
        freed += staged_bytes(&staging);
        remove_if_there(&staging).map_err(|e| StoreError::io("remove", &staging, e))?;
        let place = self.path(&entry.file);
        for path in [&staging, &place, &self.record_path(&place)] {
            self.prune_above(path);
        }
        Ok(freed)
    }

    /// Removes the folders above `path` that nothing is left in. One that stays is no fault.
    pub(super) fn prune_above(&self, path: &Path) {
        let above = path.ancestors().skip(1);
        for folder in above.take_while(|folder| *folder != self.dir) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

/// Bytes of a file, or of all files in a directory.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::read_dir(path).map_or(0, |items| {
            items.flatten().map(|item| disk_bytes(&item.path())).sum()
        }),
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    }
}

/// Bytes that a directory of unfinished files takes: these are sparse.
fn staged_bytes(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::read_dir(path).map_or(0, |items| {
            items.flatten().map(|item| staged_bytes(&item.path())).sum()
        }),
        // A block is 512 bytes here, whatever the file system's are.
        Ok(meta) if meta.is_file() => meta.len().min(meta.blocks() * 512),
        _ => 0,
    }
}

/// The names in a directory, in order; none where there is no directory. What is not UTF-8 is
/// nothing of ours.
pub(super) fn contents(dir: &Path) -> Result<Vec<String>, StoreError> {
    let found = match fs::read_dir(dir) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("list", dir, e)),
    };
    let names = found.filter_map(|item| item.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

/// Removes a file or a whole directory; one that is not there is no error.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog;
    use super::*;

    #[test]
    fn a_check_is_believed_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let entry = catalog::find("qwen2.5-1.5b").unwrap();
        let path = store.path(&entry.file);
        assert_eq!(store.state(entry).unwrap(), (State::Absent, 0));
        fs::write(&path, b"weights").unwrap();
        assert_eq!(store.state(entry).unwrap(), (State::Present, 7));
        let check = |right| Check {
            sha256: "abc".into(),
            right,
        };
        store.record(&path, check(true)).unwrap();
        assert_eq!(store.checked(entry, &path), Some(check(true)));
        assert_eq!(store.state(entry).unwrap(), (State::Verified, 7));
        store.record(&path, check(false)).unwrap();
        assert_eq!(store.state(entry).unwrap(), (State::Damaged, 7));
        fs::write(&path, b"other weights").unwrap();
        assert_eq!(store.checked(entry, &path), None);
        assert_eq!(store.state(entry).unwrap(), (State::Present, 13));
        assert_eq!(store.wanted(entry, &path).as_deref(), Some("abc"));
        assert_eq!(store.remove(entry).unwrap(), 13);
        assert_eq!(store.state(entry).unwrap(), (State::Absent, 0));
        assert!(!store.record_path(&path).exists());
    }

    #[test]
    fn staged_bytes_and_single_parts_are_partial() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let entry = catalog::find("qwen2.5-7b").unwrap();
        fs::create_dir_all(store.staging(entry).join("deep")).unwrap();
        fs::write(store.staging(entry).join("deep/x"), b"123").unwrap();
        let part = store.path("qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf");
        fs::write(&part, b"4567").unwrap();
        assert_eq!(store.state(entry).unwrap(), (State::Partial, 7));
        assert_eq!(store.remove(entry).unwrap(), 7);
        assert!(!part.exists());
    }

    #[test]
    fn only_one_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("new"));
        let held = store.lock().unwrap();
        assert!(matches!(store.lock(), Err(StoreError::Locked { .. })));
        drop(held);
        store.lock().unwrap();
    }
}
