//! From what a user names to a model's file: a name that has been pulled, or a path.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::catalog::{Entry, Named, default_size, defaults, known_names, named};
use super::gguf::{self, GgufError, GgufFault, SplitName};
use super::hub::HubName;
use super::store::{Presence, State, Store, StoreError};

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "'{text}' is neither a file nor a known model; known are {}",
        known_names()
    )]
    Unknown { text: String },
    #[error("the model '{name}' is not here yet: {}", how_to_pull(name))]
    NotPulled { name: String },
    #[error(
        "'{name}' is no file here, and no model of that name has been pulled; `nmos models pull \
         {name}` fetches it from Hugging Face"
    )]
    NeitherFileNorPulled { name: String },
    #[error("there are several models of '{name}' here: {there}; name one of them")]
    Several { name: String, there: String },
    #[error(
        "{}: no such file; name another, or a model from `nmos models list`",
        path.display()
    )]
    NoFile { path: PathBuf },
    #[error(
        "{} is damaged: it has {found} bytes, '{name}' has {expected}; run `nmos models pull {name}`",
        path.display()
    )]
    WrongSize {
        name: String,
        path: PathBuf,
        found: u64,
        expected: u64,
    },
    #[error(
        "{} is damaged: its SHA-256 is not that of '{name}'; run `nmos models pull {name}`",
        path.display()
    )]
    WrongHash { name: String, path: PathBuf },
    #[error(transparent)]
    File(#[from] GgufError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The first run lacks all default models: it should not have to learn that one by one.
fn how_to_pull(name: &str) -> String {
    if defaults().any(|entry| entry.name == name) {
        let size = default_size();
        return format!(
            "run `nmos models pull` ({size}, the default models), or `nmos models pull {name}`"
        );
    }
    format!("run `nmos models pull {name}`")
}

/// The GGUF file (the first part of a split one) that `text` means: the path of a file, or of a
/// folder with one model in it, or a catalogue name or `OWNER/REPO[:QUANT]` that has been pulled into
/// the user's cache. Reads no model's content but headers in a folder, and refuses one that an
/// earlier check found damaged.
///
/// A name is the catalogue's model even where a file of that name lies in the working directory:
/// `./NAME` is the file. What ends in `.gguf`, and `OWNER/REPO`, is a file where there is one.
///
/// # Errors
/// What the text does not mean, and what is wrong with what it means.
pub fn resolve(text: impl AsRef<OsStr>) -> Result<PathBuf, ModelError> {
    resolve_in(text, &Store::of_user()?)
}

/// [`resolve`] with another cache.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_in(text: impl AsRef<OsStr>, store: &Store) -> Result<PathBuf, ModelError> {
    let path = Path::new(text.as_ref());
    // No name of a model is other than UTF-8.
    let text = path.to_string_lossy();
    let is_file = path.extension().is_some_and(|ending| ending == "gguf") && path.is_file();
    let is_path = is_file || text.contains('/') && path.exists();
    match named(&text).filter(|_| !is_path) {
        Some(Named::Entry(entry)) => placed(entry, store),
        Some(Named::Hub(name)) => placed_of_hub(&text, &name, store),
        None => at_path(path),
    }
}

/// The model at a path.
fn at_path(path: &Path) -> Result<PathBuf, ModelError> {
    let text = path.to_string_lossy();
    let looks_like_path = text.contains(std::path::MAIN_SEPARATOR) || text.ends_with(".gguf");
    if !looks_like_path && !path.exists() {
        return Err(ModelError::Unknown {
            text: text.into_owned(),
        });
    }
    match gguf::require_file(path) {
        // Whichever part of a model was named, it is opened by the first.
        Ok(()) => Ok(SplitName::first_part(path)),
        Err(error) if matches!(error.fault, GgufFault::IsDirectory) => {
            Ok(gguf::only_model_in(path)?)
        }
        Err(error) if matches!(error.fault, GgufFault::NotFound) => {
            Err(ModelError::NoFile { path: error.path })
        }
        Err(error) => Err(error.into()),
    }
}

/// The pulled model of a repository that `name` means, which the user wrote as `text`.
fn placed_of_hub(text: &str, name: &HubName, store: &Store) -> Result<PathBuf, ModelError> {
    match &store.hub_models_named(name)?[..] {
        [entry] => placed(entry, store),
        [] if text.contains('/') => Err(ModelError::NeitherFileNorPulled {
            name: text.to_owned(),
        }),
        [] => Err(ModelError::NotPulled {
            name: text.to_owned(),
        }),
        several => Err(ModelError::Several {
            name: text.to_owned(),
            there: names(several),
        }),
    }
}

/// The names of `entries`, for messages.
pub fn names(entries: &[Entry]) -> String {
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.join(", ")
}

/// The file of an entry that has been pulled.
fn placed(entry: &Entry, store: &Store) -> Result<PathBuf, ModelError> {
    match store.presence(entry)? {
        Presence::Complete(files) if store.state(entry)?.0 == State::Damaged => {
            Err(ModelError::WrongHash {
                name: entry.name.clone(),
                path: files[0].clone(),
            })
        }
        Presence::Complete(files) => Ok(files[0].clone()),
        Presence::WrongSize {
            path,
            found,
            expected,
        } => Err(ModelError::WrongSize {
            name: entry.name.clone(),
            path,
            found,
            expected,
        }),
        Presence::Absent => Err(ModelError::NotPulled {
            name: entry.name.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::find;
    use super::super::store::Check;
    use super::*;

    #[test]
    fn names_and_paths_resolve() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let name = "SmolLM2-135M";
        assert!(matches!(
            resolve_in(name, &store),
            Err(ModelError::NotPulled { name }) if name == "smollm2-135m"
        ));
        let entry = find(name).unwrap();
        let path = dir.path().join(&entry.file);
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(
            resolve_in(name, &store),
            Err(ModelError::WrongSize { found: 5, .. })
        ));
        // Sparse: as long as the real file, without its bytes.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(entry.size.unwrap()).unwrap();
        assert_eq!(resolve_in(name, &store).unwrap(), path);
        assert_eq!(resolve_in(path.to_str().unwrap(), &store).unwrap(), path);
        let found_wrong = Check {
            sha256: entry.sha256.clone().unwrap(),
            right: false,
        };
        store.record(&path, found_wrong).unwrap();
        assert!(matches!(
            resolve_in(name, &store),
            Err(ModelError::WrongHash { .. })
        ));

        assert!(matches!(
            resolve_in("gpt-9", &store),
            Err(ModelError::Unknown { .. })
        ));
        let missing = resolve_in("/no/such.gguf", &store).unwrap_err().to_string();
        assert!(missing.contains("/no/such.gguf: no such file"), "{missing}");
        assert!(missing.contains("nmos models list"), "{missing}");
        let directory = resolve_in(dir.path().to_str().unwrap(), &store).unwrap_err();
        assert!(directory.to_string().contains("directory"), "{directory}");
    }

    #[test]
    fn a_default_model_that_is_absent_points_at_all_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let say = |name| {
            resolve_in(name, &Store::at(dir.path()))
                .unwrap_err()
                .to_string()
        };
        let default = say("qwen2.5-coder-0.5b");
        assert!(default.contains("`nmos models pull` (1.6 GB"), "{default}");
        let other = say("qwen2.5-72b");
        assert!(
            other.ends_with("run `nmos models pull qwen2.5-72b`"),
            "{other}"
        );
    }

    #[test]
    fn a_model_of_a_hub_is_had_by_the_name_it_was_pulled_by() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let folder = dir.path().join("hub/Own/Repo-GGUF");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("m-Q4_K_M.gguf");
        std::fs::write(&path, b"weights").unwrap();
        for name in ["Own/Repo-GGUF", "own/repo-gguf:q4_k_m"] {
            assert_eq!(resolve_in(name, &store).unwrap(), path, "{name}");
        }
        std::fs::write(folder.join("m-Q8_0.gguf"), b"weights").unwrap();
        let several = resolve_in("Own/Repo-GGUF", &store).unwrap_err().to_string();
        assert!(
            several.contains("Own/Repo-GGUF:Q4_K_M, Own/Repo-GGUF:Q8_0"),
            "{several}"
        );
        let absent = resolve_in("Own/Repo-GGUF:Q2_K", &store)
            .unwrap_err()
            .to_string();
        assert!(
            absent.contains("`nmos models pull Own/Repo-GGUF:Q2_K`"),
            "{absent}"
        );
        let known = resolve_in("gpt-oss-20b", &store).unwrap_err().to_string();
        assert!(
            known.ends_with("run `nmos models pull gpt-oss-20b`"),
            "{known}"
        );
    }

    #[test]
    fn a_split_model_resolves_to_its_first_part_once_all_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let part = |n: u32| {
            dir.path()
                .join(format!("qwen2.5-7b-instruct-q4_k_m-{n:05}-of-00002.gguf"))
        };
        std::fs::write(part(1), b"x").unwrap();
        assert!(matches!(
            resolve_in("qwen2.5-7b", &store),
            Err(ModelError::NotPulled { .. })
        ));
        std::fs::write(part(2), b"x").unwrap();
        assert_eq!(resolve_in("qwen2.5-7b", &store).unwrap(), part(1));
    }
}
