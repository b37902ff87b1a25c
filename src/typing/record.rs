//! Writes down what a user types, as a trace that [`Trace::load`](super::Trace::load) reads.
//!
//! Off unless a user asks. Keeps timing only unless they ask for the text as well: every
//! character is then written as [`PLACEHOLDER`], so that lengths and positions hold, and header
//! and hash speak of that text. A file appears at Enter, whole, readable by its owner alone,
//! or not at all: a prompt that is given up leaves nothing behind.

use super::trace::{TraceHeader, VERSION, sha256_hex};
use super::{Composer, Edit, EditError, TypingEvent};
use crate::system::rename_new;
use crate::units::Micros;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Written for any character where the text is not kept.
const PLACEHOLDER: char = 'x';

/// What a recording keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordText {
    /// When keys came, not which.
    #[default]
    TimingOnly,
    /// All that was typed.
    Keep,
}

/// A recording that could not be made. Typing itself goes on.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot write the recording {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the recording {} is given up: {source}", path.display())]
    Edit { path: PathBuf, source: EditError },
    #[error("the recording {} already ended", path.display())]
    Ended { path: PathBuf },
}

/// Records one prompt. Events wait in memory until Enter, since the header comes first and
/// needs the final text.
#[derive(Debug)]
pub struct TraceRecorder {
    path: PathBuf,
    keep: RecordText,
    first_us: Option<Micros>,
    events: Vec<TypingEvent>,
    composer: Composer,
    ended: bool,
}

impl TraceRecorder {
    /// Will write to `path`, which must not exist when Enter comes.
    pub fn new(path: impl Into<PathBuf>, keep: RecordText) -> Self {
        Self {
            path: path.into(),
            keep,
            first_us: None,
            events: Vec::new(),
            composer: Composer::new(),
            ended: false,
        }
    }

    /// Takes down an event, its time on any clock; at Enter writes the file and is `true`.
    pub fn record(&mut self, event: &TypingEvent) -> Result<bool, RecordError> {
        if self.ended {
            return Err(RecordError::Ended {
                path: self.path.clone(),
            });
        }
        let edit = self.kept(&event.edit);
        let change = self.composer.apply(&edit).map_err(|source| {
            self.ended = true;
            RecordError::Edit {
                path: self.path.clone(),
                source,
            }
        })?;
        let first_us = *self.first_us.get_or_insert(event.t_us);
        // Events of several threads may be stamped slightly out of order; a trace's never are.
        let last_us = self.events.last().map_or(0, |e| e.t_us);
        let t_us = event.t_us.saturating_sub(first_us).max(last_us);
        self.events.push(TypingEvent { t_us, edit });
        if change.submitted {
            self.ended = true;
            self.write().map_err(|source| RecordError::Io {
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(change.submitted)
    }

    fn kept(&self, edit: &Edit) -> Edit {
        match edit {
            Edit::Insert { text, paste } if self.keep == RecordText::TimingOnly => Edit::Insert {
                text: text.chars().map(|_| PLACEHOLDER).collect(),
                paste: *paste,
            },
            other => other.clone(),
        }
    }

    fn header(&self) -> TraceHeader {
        let name = self.path.file_stem().unwrap_or_default();
        TraceHeader {
            version: VERSION,
            id: name.to_string_lossy().into_owned(),
            source: Some("nmos".into()),
            label: None,
            provenance: Some("recorded".into()),
            licence: None,
            text: self.keep == RecordText::Keep,
            final_chars: self.composer.chars(),
            final_sha256: sha256_hex(self.composer.text()),
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut temp = self.path.clone().into_os_string();
        temp.push(format!(".{}.part", std::process::id()));
        let temp = PathBuf::from(temp);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp)?;
        let mut out = BufWriter::new(file);
        let written = self
            .write_lines(&mut out)
            .and_then(|()| out.get_ref().sync_all())
            .and_then(|()| rename_new(&temp, &self.path));
        if written.is_err() {
            // The first error is the one to report.
            let _ = std::fs::remove_file(&temp);
        }
        written
    }

    fn write_lines(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &self.header())?;
        out.write_all(b"\n")?;
        for event in &self.events {
            serde_json::to_writer(&mut *out, event)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }
}
