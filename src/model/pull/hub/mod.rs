//! Models from a hub of repositories: Hugging Face's, or one that speaks like it.
//!
//! ```text
//!   list (one question) -> names, sizes, SHA-256 of all files
//!     model::hub::pick  -> the files of one model
//!       transfer        -> ranges of a file over several connections, kept as they come
//!         checked       -> size and SHA-256 as the hub declares them
//! ```
//!
//! The client is `ureq`. The crate `hf-hub` was tried first: it fetches over one connection, starts
//! a piece from its beginning after an interruption, has no time limits, reads its token from the cache that it
//! is given, and offers neither sizes and hashes of a listing nor ranges of a file.

mod client;
mod error;
mod token;
mod transfer;

use std::io;
use std::ops::Range;
use std::path::Path;

pub use client::{HuggingFace, Patience};
pub use error::{HubError, ReadError};
pub use token::{Token, TokenSource};
pub use transfer::Transfer;

use super::{Job, SourceError, Staged};
use crate::model::hash::sha256_file;
use crate::model::hub::pick::{self, Model};
use crate::model::store::remove_if_there;
use transfer::Partial;

/// What a repository holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The version that the files are of, by which they are read.
    pub revision: String,
    pub files: Vec<HubFile>,
}

/// One file as the hub declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    pub name: String,
    pub size: Option<u64>,
    /// Lower-case hexadecimal, where the hub declares one: for all large files.
    pub sha256: Option<String>,
}

impl Listing {
    /// The models among the files.
    pub fn models(&self) -> Vec<Model> {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| (file.name.clone(), file.size))
            .collect();
        pick::models(&files)
    }

    pub fn file(&self, name: &str) -> Option<&HubFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// A file of one version of a repository.
#[derive(Clone, Copy, Debug)]
pub struct RemoteFile<'a> {
    pub repository: &'a str,
    pub revision: &'a str,
    pub name: &'a str,
}

/// Takes bytes in order; an error ends the read.
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// A hub of model repositories. Several threads read from it at once.
pub trait Hub: Sync {
    /// What a repository holds.
    ///
    /// # Errors
    /// No hub, no such repository, or no right to see it.
    fn list(&self, repository: &str) -> Result<Listing, HubError>;

    /// Reads a range of a file in order; it is not empty. Without an error all of it was taken.
    ///
    /// # Errors
    /// The hub's, or the sink's. What came before was taken.
    fn read(
        &self,
        file: RemoteFile<'_>,
        range: Range<u64>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ReadError>;

    /// How large files are fetched from it.
    fn transfer(&self) -> Transfer {
        Transfer::default()
    }
}

/// Fetches `file`, or all parts of it.
pub(super) fn fetch(
    job: &Job<'_>,
    hub: &dyn Hub,
    repository: &str,
    file: &str,
) -> Result<Vec<Staged>, SourceError> {
    let listing = hub.list(repository)?;
    let models = listing.models();
    let model = models.iter().find(|model| model.file == file);
    let model = model.ok_or_else(|| {
        SourceError::Unavailable(format!("repository {repository} has no complete {file}"))
    })?;
    let whole = model.parts.len() == 1;
    let mut wanted = Vec::new();
    for name in &model.parts {
        let declared = listing.file(name);
        let sha256 = declared.and_then(|file| file.sha256.clone());
        // The catalogue's hash is of the undivided file.
        let pinned = job.entry.sha256.clone().filter(|_| whole);
        if let (Some(declared), Some(pinned)) = (&sha256, &pinned)
            && declared != pinned
        {
            return Err(SourceError::Wrong(format!(
                "{repository} now has another version of {name}: SHA-256 {declared}, expected \
                 {pinned}"
            )));
        }
        let sha256 = pinned.or(sha256).ok_or_else(|| {
            SourceError::Wrong(format!("no SHA-256 is known to check {name} against"))
        })?;
        let size = declared.and_then(|file| file.size).ok_or_else(|| {
            SourceError::Wrong(format!("the hub does not say how large {name} is"))
        })?;
        let place = if whole {
            job.entry.file.clone()
        } else {
            next_to(&job.entry.file, name)
        };
        // A part that an earlier pull put in place stays.
        let there = job.store.checked(job.entry, &job.store.path(&place));
        if there.is_none_or(|check| !check.right || check.sha256 != sha256) {
            let partial = Partial::open(&job.staging, name, size, &sha256)?;
            wanted.push((name, place, sha256, partial));
        }
    }
    let missing: u64 = wanted.iter().map(|(.., partial)| partial.missing()).sum();
    job.require_space(missing)?;
    let mut staged = Vec::new();
    for (name, file, sha256, partial) in wanted {
        let remote = RemoteFile {
            repository,
            revision: &listing.revision,
            name,
        };
        let path = fetch_checked(job, hub, remote, partial, &sha256)?;
        staged.push(Staged { path, file, sha256 });
    }
    Ok(staged)
}

/// The name of a part whose model is `file` in the cache: in the same folder.
fn next_to(file: &str, part: &str) -> String {
    let name = part.rsplit('/').next().unwrap_or(part);
    match file.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// Fetches what is missing of one file and checks the whole; where it is.
fn fetch_checked(
    job: &Job<'_>,
    hub: &dyn Hub,
    remote: RemoteFile<'_>,
    mut partial: Partial,
    sha256: &str,
) -> Result<std::path::PathBuf, SourceError> {
    let (name, size) = (remote.name, partial.size());
    if partial.is_checked() {
        return Ok(partial.into_path());
    }
    let progress = job.progress;
    progress.begin(&format!("fetching {name}"), partial.there(), size);
    let fetched = transfer::fetch(hub, remote, &mut partial, progress);
    progress.end();
    fetched?;
    let path: &Path = partial.path();
    progress.begin(&format!("checking {name}"), 0, size);
    let found =
        sha256_file(path, &mut |done| progress.at(done)).map_err(SourceError::local("read", path));
    progress.end();
    let found = found?;
    if found != sha256 {
        // Which range is wrong cannot be told from the whole: start over next time.
        for path in [partial.path(), partial.journal()] {
            remove_if_there(path).map_err(SourceError::local("remove", path))?;
        }
        return Err(SourceError::Wrong(format!(
            "{name} arrived with SHA-256 {found}, expected {sha256}"
        )));
    }
    partial.set_checked()?;
    Ok(partial.into_path())
}
