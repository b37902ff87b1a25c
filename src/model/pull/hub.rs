//! A model from a Hugging Face repository, through the crate `hf-hub`.
//!
//! The hub declares each file's size and SHA-256 before it sends it. `hf-hub` resumes what it began
//! (its own cache lies in the staging directory) but knows no time limits, so each call runs on a
//! thread of its own that is abandoned when it does not answer: a hub that cannot be reached is
//! given up after seconds, wherever it hangs (name lookup, connection, TLS).

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};

use super::super::gguf::SplitName;
use super::super::hash::sha256_file;
use super::super::store::{disk_bytes, remove_if_there};
use super::{Job, SourceError, Staged};

/// The most that a question may take, unless said otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// The most that a transfer may pause.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// How often a transfer is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One file as the hub declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    pub name: String,
    pub size: u64,
    /// Lower-case hexadecimal, where the hub declares one.
    pub sha256: Option<String>,
}

/// A hub of model repositories.
pub trait Hub {
    /// The names of all files of a repository.
    fn list(&self, repository: &str) -> Result<Vec<String>, SourceError>;
    /// What the hub declares of one file.
    fn describe(&self, repository: &str, file: &str) -> Result<HubFile, SourceError>;
    /// Fetches one file into a cache in `dir`, going on with what is there; its path. `done`
    /// is told how many bytes of it are there.
    fn fetch(
        &self,
        repository: &str,
        file: &str,
        dir: &Path,
        done: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, SourceError>;
}

/// Fetches `file`, or all parts of it.
pub(super) fn fetch(
    job: &Job<'_>,
    hub: &dyn Hub,
    repository: &str,
    file: &str,
) -> Result<Vec<Staged>, SourceError> {
    let names = choose(hub.list(repository)?, file).ok_or_else(|| {
        SourceError::Unavailable(format!("repository {repository} has no complete {file}"))
    })?;
    let whole = names.len() == 1;
    let mut wanted = Vec::new();
    for name in names {
        let found = hub.describe(repository, &name)?;
        let declared = found.sha256.clone();
        // The catalogue's hash is of the undivided file.
        let pinned = job.entry.sha256.clone().filter(|_| whole);
        if let (Some(declared), Some(pinned)) = (&declared, &pinned)
            && declared != pinned
        {
            return Err(SourceError::Wrong(format!(
                "{repository} now has another version of {name}: SHA-256 {declared}, expected \
                 {pinned}"
            )));
        }
        let sha256 = pinned.or(declared).ok_or_else(|| {
            SourceError::Wrong(format!("no SHA-256 is known to check {name} against"))
        })?;
        let place = if whole { job.entry.file.clone() } else { name };
        // A part that an earlier pull put in place stays.
        let there = job.store.checked(job.entry, &job.store.path(&place));
        if there.is_none_or(|check| !check.right || check.sha256 != sha256) {
            wanted.push((found, place, sha256));
        }
    }
    let cache = job.staging.join("hub");
    let total: u64 = wanted.iter().map(|(file, ..)| file.size).sum();
    job.require_space(total.saturating_sub(disk_bytes(&cache)))?;
    std::fs::create_dir_all(&cache).map_err(SourceError::local("create", &cache))?;
    let fetch = |(file, place, sha256): (HubFile, String, String)| {
        fetch_checked(job, hub, repository, &file, &cache, &sha256).map(|path| Staged {
            path,
            file: place,
            sha256,
        })
    };
    wanted.into_iter().map(fetch).collect()
}

/// The files that make up `file`: itself, or all of its parts in order.
fn choose(mut listed: Vec<String>, file: &str) -> Option<Vec<String>> {
    if listed.iter().any(|name| name == file) {
        return Some(vec![file.to_owned()]);
    }
    listed.retain(|name| {
        SplitName::parse(Path::new(name)).is_some_and(|part| part.undivided() == Path::new(file))
    });
    listed.sort();
    let name = SplitName::parse(Path::new(listed.first()?))?;
    name.parts()
        .eq(listed.iter().map(PathBuf::from))
        .then_some(listed)
}

fn fetch_checked(
    job: &Job<'_>,
    hub: &dyn Hub,
    repository: &str,
    file: &HubFile,
    cache: &Path,
    sha256: &str,
) -> Result<PathBuf, SourceError> {
    let progress = job.progress;
    progress.begin(&format!("fetching {}", file.name), 0, file.size);
    let link = hub.fetch(repository, &file.name, cache, &mut |done| {
        progress.at(done);
    })?;
    progress.end();
    // The cache hands out a link to where the bytes are.
    let path = link
        .canonicalize()
        .map_err(SourceError::local("find", &link))?;
    let size = disk_bytes(&path);
    progress.begin(&format!("checking {}", file.name), 0, file.size);
    let found = sha256_file(&path, &mut |done| progress.at(done))
        .map_err(SourceError::local("read", &path))?;
    progress.end();
    if size != file.size || found != sha256 {
        for path in [&link, &path] {
            remove_if_there(path).map_err(SourceError::local("remove", path))?;
        }
        return Err(SourceError::Wrong(format!(
            "{} arrived with {size} bytes and SHA-256 {found}, expected {} bytes and SHA-256 \
             {sha256}",
            file.name, file.size
        )));
    }
    Ok(path)
}

/// The public hub, or the one that `HF_ENDPOINT` names.
#[derive(Clone, Debug)]
pub struct HuggingFace {
    endpoint: Option<String>,
    answer_within: Duration,
}

impl HuggingFace {
    pub fn from_env() -> Self {
        let endpoint = std::env::var("HF_ENDPOINT").ok();
        Self {
            endpoint: endpoint.filter(|url| !url.is_empty()),
            answer_within: ANSWER_WITHIN,
        }
    }

    /// A hub at another address, and the most that a question to it may take.
    pub fn at(endpoint: impl Into<String>, answer_within: Duration) -> Self {
        Self {
            endpoint: Some(endpoint.into()),
            answer_within,
        }
    }

    fn api(&self, cache: &Path) -> Result<Api, SourceError> {
        // All models of the catalogue are public. Left to itself, `hf-hub` sends whatever a file
        // named `token` next to the cache holds: for a question, one in the working directory.
        let mut builder = ApiBuilder::from_cache(Cache::new(cache.to_owned()))
            .with_token(None)
            .with_progress(false);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        builder.build().map_err(unavailable)
    }

    fn ask<T: Send + 'static>(
        &self,
        repository: &str,
        question: impl FnOnce(&Api, ApiRepo) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, SourceError> {
        // Questions write nothing, so that any directory will do for the cache.
        let api = self.api(Path::new("."))?;
        let repo = api.model(repository.to_owned());
        let (send, answer) = mpsc::channel();
        std::thread::spawn(move || send.send(question(&api, repo)));
        match answer.recv_timeout(self.answer_within) {
            Ok(result) => result.map_err(unavailable),
            Err(_) => Err(SourceError::Unavailable(format!(
                "no answer within {:.1} s",
                self.answer_within.as_secs_f64()
            ))),
        }
    }
}

fn unavailable(error: impl Display) -> SourceError {
    SourceError::Unavailable(error.to_string())
}

impl Hub for HuggingFace {
    fn list(&self, repository: &str) -> Result<Vec<String>, SourceError> {
        let info = self.ask(repository, |_, repo| repo.info())?;
        Ok(info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect())
    }

    fn describe(&self, repository: &str, file: &str) -> Result<HubFile, SourceError> {
        let name = file.to_owned();
        let meta = self.ask(repository, move |api, repo| api.metadata(&repo.url(&name)))?;
        // Large files are tagged with their SHA-256, small ones with a shorter hash.
        let tag = meta.etag().to_lowercase();
        let is_sha256 = tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit());
        Ok(HubFile {
            name: file.to_owned(),
            size: meta.size() as u64,
            sha256: is_sha256.then_some(tag),
        })
    }

    fn fetch(
        &self,
        repository: &str,
        file: &str,
        dir: &Path,
        done: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, SourceError> {
        // A part that arrived whole before an interruption is not fetched again.
        let here = Cache::new(dir.to_owned()).model(repository.to_owned());
        if let Some(path) = here.get(file) {
            return Ok(path);
        }
        let repo = self.api(dir)?.model(repository.to_owned());
        let name = file.to_owned();
        let counter = Counter::default();
        let seen = counter.clone();
        let (send, answer) = mpsc::channel();
        std::thread::spawn(move || send.send(repo.download_with_progress(&name, counter)));

        let (mut bytes, mut moved) = (0, Instant::now());
        loop {
            match answer.recv_timeout(LOOK_EVERY) {
                Ok(Ok(path)) => return Ok(path),
                Ok(Err(ApiError::IoError(error))) if super::is_full(&error) => {
                    return Err(SourceError::Local {
                        what: "write",
                        path: dir.to_owned(),
                        error,
                    });
                }
                Ok(Err(error)) => return Err(unavailable(error)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SourceError::Local {
                        what: "fetch into",
                        path: dir.to_owned(),
                        error: io::Error::other("the transfer ended without a result"),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = seen.0.load(Ordering::Relaxed);
            if now != bytes {
                (bytes, moved) = (now, Instant::now());
                done(bytes);
            } else if moved.elapsed() > STALLED_AFTER {
                return Err(SourceError::Unavailable(format!(
                    "the transfer stalled for {} s; what arrived is kept",
                    STALLED_AFTER.as_secs()
                )));
            }
        }
    }
}

/// Bytes of a transfer that are there, counted on its thread.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl hf_hub::api::Progress for Counter {
    fn init(&mut self, _size: usize, _file: &str) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn update(&mut self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_whole_or_in_all_its_parts() {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let whole = list(&["README.md", "m-q4.gguf", "m-q4-00001-of-00002.gguf"]);
        assert_eq!(choose(whole, "m-q4.gguf"), Some(list(&["m-q4.gguf"])));
        let parts = list(&[
            "m-q4-00002-of-00002.gguf",
            "x",
            "m-q4-00001-of-00002.gguf",
            "m-q8-00001-of-00001.gguf",
        ]);
        assert_eq!(
            choose(parts, "m-q4.gguf"),
            Some(list(&[
                "m-q4-00001-of-00002.gguf",
                "m-q4-00002-of-00002.gguf"
            ]))
        );
        assert_eq!(
            choose(list(&["m-q4-00001-of-00002.gguf"]), "m-q4.gguf"),
            None
        );
        assert_eq!(choose(list(&["other.gguf"]), "m-q4.gguf"), None);
        assert_eq!(choose(Vec::new(), "m-q4.gguf"), None);
    }
}
