//! A model's [`Profile`] in the cache directory.
//!
//! Programs that run at the same time read one file and each add what they have learnt: under a
//! lock, the file is read again, what is new is added, and the result takes its place at once.

use super::model_key::ModelKey;
use super::profile::{MOST_BYTES, Profile, ProfileFault};
use crate::system::cache::write_atomic;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why there is no profile to go by, or why it was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error(
        "the profile of experts {} is not used: {fault}; a new one is learnt in its place",
        path.display()
    )]
    Unusable { path: PathBuf, fault: ProfileFault },
    #[error("cannot read the profile of experts {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot keep the profile of experts {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Its experts are too many.
    #[error("the model has too many experts for a profile to be kept of them")]
    TooLarge,
}

/// What became of what was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Added {
    /// It is in the file.
    Kept,
    /// Another program is writing: to be tried again later.
    Busy,
}

/// Where the profile of a model is in the cache directory.
pub fn path(cache: &Path, model: ModelKey) -> PathBuf {
    let name = model.0[..8].iter().map(|byte| format!("{byte:02x}"));
    let name: String = name.collect();
    cache.join("experts").join(format!("{name}.profile"))
}

/// What the file has, or `None` where there is none yet. `empty` is of the model at hand.
///
/// # Errors
/// A file that cannot be read, and one that is damaged, of another version or of another model.
/// `empty` does in its place, once that was said.
pub fn load(path: &Path, empty: &Profile) -> Result<Option<Profile>, ProfileError> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(ProfileError::Read { path, source });
        }
    };
    let profile = empty.read(&bytes).map_err(|fault| ProfileError::Unusable {
        path: path.to_owned(),
        fault,
    })?;
    Ok(Some(profile))
}

/// Adds what was `learnt` since the file was read to what it holds now. A file that cannot be
/// used gives way. Does not wait for other programs.
///
/// # Errors
/// The system's own; the old content is then still there.
pub fn add(path: &Path, learnt: &Profile) -> Result<Added, ProfileError> {
    let failed = |source| ProfileError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    // A file of its own, since the profile's is replaced.
    let lock = File::create(path.with_extension("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Added::Busy),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let mut profile = learnt.clone();
    match read(path) {
        Ok(bytes) => {
            if let Ok(kept) = learnt.read(&bytes) {
                profile.merge(&kept);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let bytes = profile.to_bytes().ok_or(ProfileError::TooLarge)?;
    write_atomic(path, &bytes).map_err(failed)?;
    Ok(Added::Kept)
}

/// All of a profile's file; of a larger one so much that it is seen to be none.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::profile::Uses;
    use super::*;
    use crate::vocabulary::Label;

    fn learnt(tokens: f32, used: usize) -> Profile {
        let mut profile = Profile::new(ModelKey::of(b"a model"), &[4], 1);
        let mut experts = vec![0.0; 4];
        experts[used] = tokens;
        profile.learn(Label::Code, &Uses { tokens, experts });
        profile
    }

    fn empty() -> Profile {
        learnt(0.0, 0)
    }

    #[test]
    fn what_programs_learn_at_the_same_time_adds_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("experts/model.profile");
        assert!(load(&path, &empty()).unwrap().is_none());
        std::thread::scope(|scope| {
            for used in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..10 {
                        while add(path, &learnt(100.0, used)).unwrap() == Added::Busy {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        let all = load(&path, &empty()).unwrap().unwrap();
        assert_eq!(all.tokens(Label::Code), 4000.0);
        for used in 0..4 {
            assert!((all.rate(Label::Code, used) - 0.25).abs() < 0.05);
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_said_and_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.profile");
        std::fs::write(&path, b"anything").unwrap();
        let error = load(&path, &empty()).unwrap_err();
        let words = error.to_string();
        assert!(
            words.contains("model.profile") && words.contains("damaged"),
            "{words}"
        );
        assert_eq!(add(&path, &learnt(100.0, 1)).unwrap(), Added::Kept);
        assert_eq!(
            load(&path, &empty()).unwrap().unwrap().tokens(Label::Code),
            100.0
        );
    }

    #[test]
    fn nobody_waits_for_a_file_that_another_program_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.profile");
        let other = File::create(path.with_extension("lock")).unwrap();
        other.lock().unwrap();
        assert_eq!(add(&path, &learnt(100.0, 1)).unwrap(), Added::Busy);
        assert!(load(&path, &empty()).unwrap().is_none());
        drop(other);
        assert_eq!(add(&path, &learnt(100.0, 1)).unwrap(), Added::Kept);
    }

    #[test]
    fn a_large_file_is_not_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.profile");
        let sparse = File::create(&path).unwrap();
        sparse.set_len(1 << 30).unwrap();
        assert_eq!(read(&path).unwrap().len(), MOST_BYTES + 1);
        assert!(matches!(
            load(&path, &empty()),
            Err(ProfileError::Unusable { .. })
        ));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let error = add(&dir.path().join("file/model.profile"), &empty()).unwrap_err();
        assert!(matches!(error, ProfileError::Write { .. }), "{error}");
    }
}
