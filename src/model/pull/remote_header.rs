//! The header of a model that is still at its hub: read in ranges, and put where it can be opened
//! as any file's.
//!
//! ```text
//!   at the hub   |header|weights ...................|
//!   here         |header|hole ......................|    a sparse file of the same size
//! ```
//!
//! Weights read as zeros there: only what is in the header may be asked for. How much is read, and
//! for how long, is limited: headers with very large vocabularies do not come whole.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::SourceError;
use super::hub::{Hub, HuggingFace, Patience, ReadError, RemoteFile};
use crate::model::catalog::Entry;
use crate::model::gguf::{Beginning, GgufFault};
use crate::model::hub::HubName;
use crate::model::hub::pick::{self, PickError};

/// What a first range brings: of a model's first file, with its vocabulary, and of its other parts.
const FIRST_RANGE: u64 = 1 << 20;
const FIRST_RANGE_OF_PART: u64 = 64 << 10;

/// The most that a look at a header may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: u64,
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            time: Duration::from_secs(10),
        }
    }
}

/// A model at its hub.
#[derive(Debug)]
pub struct RemoteModel {
    /// What it is called here: `OWNER/REPO:QUANT`.
    pub name: String,
    /// Bytes of all its files.
    pub size: u64,
    /// Bytes that were read of them.
    pub read: u64,
    pub header: RemoteHeader,
}

/// What came of its header.
#[derive(Debug)]
pub enum RemoteHeader {
    /// All of it, in files that [`crate::model::Gguf::open`] takes.
    Whole(HeaderFiles),
    /// It is longer than may be read: what came first.
    Beginning(Beginning),
}

/// Sparse files with a model's header; gone when dropped.
#[derive(Debug)]
pub struct HeaderFiles {
    _dir: TempDir,
    first: PathBuf,
}

impl HeaderFiles {
    /// The first of them.
    pub fn path(&self) -> &Path {
        &self.first
    }
}

/// Why a header was not read.
#[derive(Debug, thiserror::Error)]
pub enum RemoteHeaderError {
    #[error(transparent)]
    Pick(#[from] PickError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{file} {fault}")]
    Gguf { file: String, fault: GgufFault },
    #[error("the hub does not say how large {file} is")]
    NoSize { file: String },
    #[error(
        "its header did not come within {} s; `nmos models pull {name}` fetches all of it",
        within.as_secs()
    )]
    TooSlow { name: String, within: Duration },
}

/// Reads the header of the model that `name` means.
///
/// # Errors
/// No hub, no such model, or one that is not a model.
pub fn read(
    hub: &HuggingFace,
    name: &HubName,
    limits: Limits,
) -> Result<RemoteModel, RemoteHeaderError> {
    let deadline = Instant::now() + limits.time;
    let hub = hub.clone().with_patience(Patience {
        deadline: Some(deadline),
        ..Patience::default()
    });
    read_by(&hub, name, limits).map_err(|error| match error {
        RemoteHeaderError::Source(SourceError::Hub(hub))
            if hub.passes() && Instant::now() >= deadline =>
        {
            RemoteHeaderError::TooSlow {
                name: name.to_string(),
                within: limits.time,
            }
        }
        other => other,
    })
}

/// [`read`] without a limit of time.
fn read_by(
    hub: &dyn Hub,
    name: &HubName,
    limits: Limits,
) -> Result<RemoteModel, RemoteHeaderError> {
    let repository = name.repository();
    let listing = hub.list(&repository).map_err(SourceError::from)?;
    let models = listing.models();
    let model = pick::pick(&repository, &models, name.pick.as_deref())?;
    let dir = tempfile::tempdir();
    let dir = dir.map_err(SourceError::local("create", &std::env::temp_dir()))?;
    let mut found = RemoteModel {
        name: Entry::of_hub(name, model, &models).name,
        size: 0,
        read: 0,
        header: RemoteHeader::Beginning(Beginning::default()),
    };
    let mut first = None;
    for part in &model.parts {
        let size = listing.file(part).and_then(|file| file.size);
        let size = size.ok_or_else(|| RemoteHeaderError::NoSize { file: part.clone() })?;
        found.size += size;
        let remote = RemoteFile {
            repository: &repository,
            revision: &listing.revision,
            name: part,
        };
        let begin = if first.is_none() {
            FIRST_RANGE
        } else {
            FIRST_RANGE_OF_PART
        };
        let most = limits.bytes - found.read;
        let (bytes, beginning) = header(hub, remote, size, begin, most)?;
        found.read += bytes.len() as u64;
        // What is damaged where no more can come is told by who opens it.
        if beginning.header_bytes.is_none() && (bytes.len() as u64) < size {
            if first.is_none() {
                found.header = RemoteHeader::Beginning(beginning);
            }
            found.size = model.size.unwrap_or(found.size);
            return Ok(found);
        }
        let path = dir.path().join(part.rsplit('/').next().unwrap_or(part));
        put(&path, &bytes, size).map_err(SourceError::local("write", &path))?;
        first.get_or_insert(path);
    }
    if let Some(first) = first {
        found.header = RemoteHeader::Whole(HeaderFiles { _dir: dir, first });
    }
    Ok(found)
}

/// The first bytes of a file, twice as many each time until its header is in them or `most` are
/// read.
fn header(
    hub: &dyn Hub,
    remote: RemoteFile<'_>,
    size: u64,
    begin: u64,
    most: u64,
) -> Result<(Vec<u8>, Beginning), RemoteHeaderError> {
    let mut bytes = Vec::new();
    let (mut end, most) = (begin.min(size).min(most), most.min(size));
    loop {
        append(hub, remote, bytes.len() as u64..end, &mut bytes)?;
        let beginning = Beginning::read(&bytes).map_err(|fault| RemoteHeaderError::Gguf {
            file: remote.name.to_owned(),
            fault,
        })?;
        if beginning.header_bytes.is_some() || end >= most {
            return Ok((bytes, beginning));
        }
        end = (2 * end).min(most);
    }
}

fn append(
    hub: &dyn Hub,
    remote: RemoteFile<'_>,
    range: Range<u64>,
    bytes: &mut Vec<u8>,
) -> Result<(), SourceError> {
    if range.is_empty() {
        return Ok(());
    }
    let read = hub.read(remote, range, &mut |more| {
        bytes.extend_from_slice(more);
        Ok(())
    });
    read.map_err(|error| match error {
        ReadError::Hub(error) => error.into(),
        ReadError::Sink(error) => SourceError::Unavailable(error.to_string()),
    })
}

/// A file of `size` bytes that begins with `bytes`; the rest takes no space.
fn put(path: &Path, bytes: &[u8], size: u64) -> io::Result<()> {
    let file = std::fs::File::create(path)?;
    file.set_len(size)?;
    file.write_all_at(bytes, 0)
}
