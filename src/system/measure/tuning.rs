//! What a disk is best read with, and where that is kept.
//!
//! ```text
//!  <user's cache>/disks.json
//!    {"version": 1, "disks": {"fe00": {"depth": 4, "block_bytes": 4194304,
//!                                      "gb_s": 1.9, "measured_unix_s": 1764000000}}}
//! ```
//!
//! The key is the number of the device that holds a file, in hexadecimal. Devices can change
//! numbers when the machine starts again; what is read with another disk's sizes is slower at
//! worst. A file that cannot be understood is ignored, with a warning.

use crate::io::BLOCK;
use crate::system::cache::{cache_dir, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of the file's layout.
const VERSION: u32 = 1;

/// What reads may be set to: a file that says more was not written by us.
const MOST_DEPTH: usize = 256;
const MOST_BLOCK_BYTES: usize = 64 << 20;

/// How a disk is read, and how fast that was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Reads in flight.
    pub depth: usize,
    /// Bytes of one read: whole blocks.
    pub block_bytes: usize,
    /// Decimal gigabytes a second.
    pub gb_s: f64,
    /// Seconds since 1970; `None` where the clock was before that.
    pub measured_unix_s: Option<u64>,
}

impl Tuning {
    /// What is kept for the disk that holds `file`.
    pub fn of(file: &Path) -> Option<Self> {
        Tunings::of_user()?.get(file)
    }

    fn is_sound(&self) -> bool {
        (1..=MOST_DEPTH).contains(&self.depth)
            && (BLOCK..=MOST_BLOCK_BYTES).contains(&self.block_bytes)
            && self.block_bytes.is_multiple_of(BLOCK)
            && self.gb_s.is_finite()
            && self.gb_s > 0.0
    }
}

/// What is known of this machine's disks: a small file.
#[derive(Clone, Debug)]
pub struct Tunings {
    path: PathBuf,
}

/// The file cannot be read or written, or says what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum TuningError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} cannot be understood ({what}); `nmos doctor` writes it anew")]
    Corrupt { path: PathBuf, what: String },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    disks: BTreeMap<String, Tuning>,
}

impl Tunings {
    /// The user's; `None` where there is no home directory.
    pub fn of_user() -> Option<Self> {
        cache_dir().map(|dir| Self::at(dir.join("disks.json")))
    }

    /// Those in a file that need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept for the disk that holds `file`. What is wrong with the kept file is
    /// logged, and is no reason to fail.
    pub fn get(&self, file: &Path) -> Option<Tuning> {
        let device = device(file).ok()?;
        match self.read() {
            Ok(contents) => contents.disks.get(&device).copied(),
            Err(error) => {
                tracing::warn!(%error, "disks are read with default sizes");
                None
            }
        }
    }

    /// Keeps `tuning` for the disk that holds `file`. A file that cannot be understood is
    /// replaced.
    ///
    /// # Errors
    /// The system's own. What was kept before is then still there.
    pub fn put(&self, file: &Path, tuning: Tuning) -> Result<(), TuningError> {
        let failed = |source| TuningError::Io {
            path: self.path.clone(),
            source,
        };
        let device = device(file).map_err(|source| TuningError::Io {
            path: file.to_owned(),
            source,
        })?;
        let mut contents = self.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "it is replaced");
            Contents::default()
        });
        contents.version = VERSION;
        contents.disks.insert(device, tuning);
        let text = serde_json::to_vec_pretty(&contents).map_err(|e| failed(e.into()))?;
        write_atomic(&self.path, &text).map_err(failed)
    }

    fn read(&self) -> Result<Contents, TuningError> {
        let corrupt = |what: String| TuningError::Corrupt {
            path: self.path.clone(),
            what,
        };
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Contents::default()),
            Err(source) => {
                return Err(TuningError::Io {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let contents: Contents =
            serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string()))?;
        if contents.version != VERSION {
            return Err(corrupt(format!("version {}", contents.version)));
        }
        match contents.disks.iter().find(|(_, t)| !t.is_sound()) {
            Some((disk, _)) => Err(corrupt(format!("sizes of disk {disk}"))),
            None => Ok(contents),
        }
    }
}

/// The number of the device that holds `file`.
fn device(file: &Path) -> io::Result<String> {
    Ok(format!("{:x}", std::fs::metadata(file)?.dev()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TUNING: Tuning = Tuning {
        depth: 4,
        block_bytes: 1 << 20,
        gb_s: 1.9,
        measured_unix_s: Some(1_764_000_000),
    };

    #[test]
    fn what_is_put_is_got_for_files_of_the_same_disk() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Tunings::at(dir.path().join("cache/disks.json"));
        assert_eq!(kept.get(dir.path()), None);
        let before = Tuning { depth: 8, ..TUNING };
        kept.put(dir.path(), before).unwrap();
        assert_eq!(kept.get(dir.path()), Some(before));
        kept.put(dir.path(), TUNING).unwrap();
        let neighbour = dir.path().join("neighbour");
        fs::write(&neighbour, b"x").unwrap();
        assert_eq!(kept.get(&neighbour), Some(TUNING));
        // Another file system, and a file that is not there.
        assert_eq!(kept.get(Path::new("/proc/self/status")), None);
        assert_eq!(kept.get(Path::new("/nowhere")), None);
        assert!(kept.put(Path::new("/nowhere"), TUNING).is_err());
    }

    #[test]
    fn what_cannot_be_understood_is_left_out_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disks.json");
        let kept = Tunings::at(&path);
        kept.put(dir.path(), TUNING).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"version\": 1", "\"version\": 2"),
            good.replace("\"depth\": 4", "\"depth\": 0"),
            good.replace("\"depth\": 4", "\"depth\": 4096"),
            good.replace("1048576", "1048577"),
            good.replace("1048576", "1099511627776"),
            good.replace("1.9", "-1.9"),
            "\u{0}\u{1}".to_owned(),
        ] {
            assert_ne!(bad, good, "the file changed its layout: adapt this test");
            fs::write(&path, &bad).unwrap();
            assert!(
                matches!(kept.read(), Err(TuningError::Corrupt { .. })),
                "{bad}"
            );
            assert_eq!(kept.get(dir.path()), None, "{bad}");
            kept.put(dir.path(), TUNING).unwrap();
            assert_eq!(kept.get(dir.path()), Some(TUNING));
        }
    }
}
