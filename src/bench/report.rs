//! The report as JSON: rows, percentiles, and all that one needs to compare it with another.

use super::{Percentiles, Row, ScoutScore};
use crate::model::catalog;
use crate::model::gguf::{Gguf, GgufError};
use crate::model::hash::sha256_file;
use crate::model::store::Store;
use crate::system::{self, CpuFacts, MemoryFacts};
use crate::telemetry::{AnswerStats, Snapshot};
use crate::units::Bytes;
use crate::vocabulary::{ExpertPolicy, OracleForm};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Of the report's form: raised when a field changes its meaning or goes away.
const VERSION: u32 = 1;

/// A benchmark's results.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: u32,
    pub build: BuildFacts,
    pub machine: MachineFacts,
    pub models: Vec<ModelFacts>,
    pub options: Options,
    /// In words, where the prompts came from.
    pub input: String,
    pub rows: Vec<Row>,
    pub percentiles: FigurePercentiles,
    pub scout: ScoutScore,
    /// Every trace was run.
    pub complete: bool,
}

/// The program.
#[derive(Clone, Debug, Serialize)]
pub struct BuildFacts {
    pub version: &'static str,
    pub commit: &'static str,
}

impl BuildFacts {
    /// Of this program.
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("NMOS_COMMIT"),
        }
    }
}

/// The machine, before models were loaded.
#[derive(Clone, Debug, Serialize)]
pub struct MachineFacts {
    pub cpu: Option<String>,
    pub cores: usize,
    pub features: Vec<&'static str>,
    /// Bytes.
    pub memory: MemoryFacts,
    pub kernel: String,
}

impl MachineFacts {
    /// Of this machine, now.
    pub fn now() -> Self {
        let CpuFacts {
            model,
            cores,
            features,
        } = system::cpu_facts();
        Self {
            cpu: model,
            cores,
            features,
            memory: system::memory(),
            kernel: system::kernel(),
        }
    }
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelFacts {
    pub role: &'static str,
    /// As its metadata says.
    pub name: String,
    /// It was made to have a large model's size with a small one's function.
    pub forged: bool,
    pub file: String,
    pub bytes: u64,
    pub sha256: Option<String>,
}

impl ModelFacts {
    /// The files of the model at `path`. A hash that was checked before is believed as long
    /// as its file has not changed; another is computed, after telling `hashing` the file.
    ///
    /// # Errors
    /// A model that cannot be read.
    pub fn of(
        role: &'static str,
        path: &Path,
        mut hashing: impl FnMut(&Path),
    ) -> Result<Vec<Self>, GgufError> {
        let gguf = Gguf::open(path)?;
        let name = gguf.name();
        let forged = name.to_ascii_lowercase().contains("forged");
        let store = Store::of_user().ok();
        Ok(gguf
            .files
            .iter()
            .map(|file| {
                let known = store.as_ref().and_then(|s| remembered(s, &file.path));
                Self {
                    role,
                    name: name.clone(),
                    forged,
                    file: file.path.display().to_string(),
                    bytes: file.len,
                    sha256: known.or_else(|| {
                        hashing(&file.path);
                        sha256_file(&file.path, &mut |_| ()).ok()
                    }),
                }
            })
            .collect())
    }
}

/// The hash of a file of the cache, where a check found it right.
fn remembered(store: &Store, path: &Path) -> Option<String> {
    if path.parent() != Some(store.dir()) {
        return None;
    }
    let entry = catalog::find(path.file_name()?.to_str()?)?;
    let check = store.checked(entry, path)?;
    check.right.then_some(check.sha256)
}

/// What the benchmark was run with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Options {
    /// The budget in force, in bytes; null where models did not load.
    pub ram: Option<Bytes>,
    /// Tokens of context in force; null where models did not load.
    pub ctx: Option<usize>,
    pub threads: usize,
    pub speed: f64,
    /// Of every answer.
    pub tokens: usize,
    pub baseline: bool,
    pub limit: Option<usize>,
    /// Null where models did not load.
    pub form: Option<OracleForm>,
    /// How weights are read; null where nothing streams.
    pub reader: Option<String>,
    pub scout: bool,
    pub temperature: f32,
    /// How experts of a mixture came and went; null where that was as by default.
    pub expert_policy: Option<ExpertPolicy>,
}

impl Options {
    /// Takes down what the session chose by itself.
    pub fn in_force(&mut self, snapshot: &Snapshot) {
        let engine = &snapshot.engine;
        self.ram = Some(snapshot.memory.budget);
        self.ctx = Some(engine.ctx_tokens);
        self.form = engine.form;
        self.reader = Some(engine.reader.clone()).filter(|reader| !reader.is_empty());
    }
}

/// Of the figures that are compared. Nearest rank; for rates the slow end is the low one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FigurePercentiles {
    pub ttft_ms: Percentiles,
    pub cold_ttft_ms: Percentiles,
    pub hidden_fraction: Percentiles,
    pub tokens_per_s: Percentiles,
    pub accepted_per_pass: Percentiles,
}

impl FigurePercentiles {
    pub fn of(rows: &[Row]) -> Self {
        let over = |get: fn(&AnswerStats) -> Option<f64>| {
            Percentiles::of(rows.iter().filter_map(|row| get(row.stats.as_ref()?)))
        };
        Self {
            ttft_ms: over(|s| s.ttft_ms),
            cold_ttft_ms: over(|s| s.cold_ttft_ms),
            hidden_fraction: over(|s| s.hidden_fraction),
            tokens_per_s: over(|s| s.tokens_per_s),
            accepted_per_pass: over(|s| s.accepted_per_pass),
        }
    }
}

impl Report {
    /// Sums up `rows`.
    pub fn new(
        machine: MachineFacts,
        models: Vec<ModelFacts>,
        options: Options,
        rows: Vec<Row>,
        complete: bool,
    ) -> Self {
        Self {
            version: VERSION,
            build: BuildFacts::this(),
            machine,
            models,
            input: format!("replayed traces, {}x speed", options.speed),
            options,
            percentiles: FigurePercentiles::of(&rows),
            scout: ScoutScore::of(&rows),
            rows,
            complete,
        }
    }
}

/// Finds out beforehand whether [`write_file`] will be able to write to `path`.
///
/// # Errors
/// What will be in the way.
pub fn check_place(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if is_special(path) {
        return OpenOptions::new().write(true).open(path).map(drop);
    }
    let part = part_of(path);
    File::create(&part)?;
    fs::remove_file(part)
}

/// Writes the report to `path` so that a reader finds what was there before or all of it.
///
/// # Errors
/// The file system's; what was there before is still there then.
pub fn write_file(report: &Report, path: &Path) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    if is_special(path) {
        return OpenOptions::new().write(true).open(path)?.write_all(&json);
    }
    let part = part_of(path);
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    let written = write();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&part);
    }
    written
}

/// A device or a pipe is written to, not replaced.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// What the file is called until it is whole.
fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    part.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        check_place(&path).unwrap();
        assert!(!path.exists());
        let report = Report::new(
            MachineFacts::now(),
            vec![],
            Options::default(),
            vec![],
            true,
        );
        write_file(&report, &path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["complete"], true);
        assert!(json["percentiles"]["ttft_ms"]["p50"].is_null());
        assert!(json["options"]["ram"].is_null());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(check_place(&dir.path().join("no/such/out.json")).is_err());
        assert!(check_place(dir.path()).is_err());
    }
}
