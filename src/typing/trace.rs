//! Typing traces on disk, format version 1: a header line, then one event a line (JSON).
//!
//! ```text
//!  {"version":1,"id":"...","final_chars":5,"final_sha256":"185f8d...",...}
//!  {"t_us":0,"kind":"insert","text":"H"}
//!  {"t_us":96000,"kind":"insert","text":"ello"}
//!  {"t_us":700000,"kind":"enter"}
//! ```
//! [`Trace::load`] replays the events as it reads: a trace in hand is one whose times never
//! decrease, whose positions fit the text as it grows, that ends with its only `enter`, and
//! whose text has the length and hash that the header says. Unknown fields, CRLF, a byte
//! order mark and empty lines at the end are accepted. A fault names file and line.

use super::{Composer, Edit, EditError, TypingEvent};
use crate::units::{Bytes, Micros};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The version that is read and written.
pub(super) const VERSION: u64 = 1;

/// Largest file: a day of typing is about 2 MiB.
const MAX_FILE: Bytes = Bytes::mib(32);
/// Most events, and characters of text at any time. They bound what a hostile file can cost.
const MAX_EVENTS: usize = 200_000;
const MAX_TEXT_CHARS: usize = 1_000_000;
/// Longest trace: a day.
const MAX_T_US: Micros = 24 * 3_600 * 1_000_000;

/// A trace's first line. Only the version, length and hash have to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHeader {
    pub version: u64,
    #[serde(default)]
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the prompt asks for, where somebody said so.
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Whether the text is what was typed; `false` where a recording kept timing only.
    #[serde(default = "yes")]
    pub text: bool,
    /// Length of the submitted text, in Unicode scalar values.
    pub final_chars: usize,
    /// SHA-256 of its UTF-8, in hexadecimal.
    pub final_sha256: String,
}

fn yes() -> bool {
    true
}

/// A whole, valid trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    header: TraceHeader,
    events: Vec<TypingEvent>,
}

/// A trace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("cannot read the trace {}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}, line {line}: {fault}", path.display())]
    Bad {
        path: PathBuf,
        /// From 1.
        line: usize,
        fault: Fault,
    },
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("the file is larger than {MAX_FILE}, the most that a trace may have")]
    FileTooLarge,
    #[error("the file is empty; a trace begins with a header line")]
    Empty,
    #[error("not UTF-8 text")]
    NotText,
    #[error("not a trace header: {0}")]
    Header(String),
    #[error("trace format version {0} is not supported (this program reads version 1)")]
    Version(String),
    #[error("final_chars is {0}; texts of more than {MAX_TEXT_CHARS} characters are refused")]
    FinalTooLong(u64),
    #[error("final_sha256 is not 64 hexadecimal digits")]
    HashForm,
    #[error("not a typing event: {0}")]
    Event(String),
    #[error("an empty line between events")]
    EmptyLine,
    #[error("the time goes back from {before} to {t_us} microseconds")]
    TimeGoesBack { before: Micros, t_us: Micros },
    #[error("the time {0} microseconds is more than a day after the first event")]
    TooLate(Micros),
    #[error("{0}")]
    Edit(#[from] EditError),
    #[error("the text grows past {MAX_TEXT_CHARS} characters")]
    TextTooLong,
    #[error("more than {MAX_EVENTS} events")]
    TooManyEvents,
    #[error("an event after 'enter', which must be the last")]
    AfterEnter,
    #[error("the trace ends without 'enter'; it may have been cut off")]
    NoEnter,
    #[error("the text has {found} characters at the end, the header says {stated}")]
    FinalChars { found: usize, stated: usize },
    #[error("the text at the end hashes to {found}, the header says {stated}")]
    FinalHash { found: String, stated: String },
}

impl Trace {
    /// Reads and checks the trace at `path`.
    pub fn load(path: &Path) -> Result<Self, TraceError> {
        let io = |source| TraceError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        // Bounded by the read itself: a device or a growing file has no length to check.
        file.take(MAX_FILE.0 + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        Self::parse(&bytes).map_err(|(line, fault)| TraceError::Bad {
            path: path.to_owned(),
            line,
            fault,
        })
    }

    /// Reads and checks a trace in memory; an error comes with its line, from 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, (usize, Fault)> {
        if bytes.len() as u64 > MAX_FILE.0 {
            return Err((1, Fault::FileTooLarge));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let good = &bytes[..e.valid_up_to()];
            let line = good.iter().filter(|&&b| b == b'\n').count() + 1;
            (line, Fault::NotText)
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
        if text.is_empty() {
            return Err((1, Fault::Empty));
        }
        let mut lines = text.lines().zip(1..);
        let header = match lines.next() {
            Some((line, _)) => parse_header(line).map_err(|fault| (1, fault))?,
            None => return Err((1, Fault::Empty)),
        };
        let mut check = Check::default();
        let mut last_line = 1;
        for (line, number) in lines {
            check.line(line).map_err(|fault| (number, fault))?;
            last_line = number;
        }
        check.finish(&header).map_err(|fault| (last_line, fault))?;
        Ok(Self {
            header,
            events: check.events,
        })
    }

    /// The header. It must not reach the engine that the events are played to.
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    /// The events in order; the last is the only [`Edit::Enter`].
    pub fn events(&self) -> &[TypingEvent] {
        &self.events
    }
}

fn parse_header(line: &str) -> Result<TraceHeader, Fault> {
    // In two steps, so that another version is called that and not a missing field.
    let value: serde_json::Value =
        serde_json::from_str(line).map_err(|e| Fault::Header(json_fault(&e)))?;
    match value.get("version") {
        Some(v) if v.as_u64() == Some(VERSION) => {}
        Some(v) => return Err(Fault::Version(v.to_string())),
        None => return Err(Fault::Header("there is no field 'version'".into())),
    }
    if let Some(chars) = value
        .get("final_chars")
        .and_then(serde_json::Value::as_u64)
        .filter(|&n| n > MAX_TEXT_CHARS as u64)
    {
        return Err(Fault::FinalTooLong(chars));
    }
    let header: TraceHeader =
        serde_json::from_value(value).map_err(|e| Fault::Header(json_fault(&e)))?;
    let hash = &header.final_sha256;
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Fault::HashForm);
    }
    Ok(header)
}

/// The parser's words without its own count of lines, which is always 1 here.
fn json_fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) if error.column() > 0 => format!("{what} (column {})", error.column()),
        _ => text,
    }
}

/// The state of a trace as it is read.
#[derive(Default)]
struct Check {
    events: Vec<TypingEvent>,
    composer: Composer,
}

impl Check {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        if line.trim().is_empty() {
            return Err(Fault::EmptyLine);
        }
        let event: TypingEvent =
            serde_json::from_str(line).map_err(|e| Fault::Event(json_fault(&e)))?;
        if let Some(last) = self.events.last() {
            if last.edit == Edit::Enter {
                return Err(Fault::AfterEnter);
            }
            if event.t_us < last.t_us {
                return Err(Fault::TimeGoesBack {
                    before: last.t_us,
                    t_us: event.t_us,
                });
            }
        }
        if event.t_us > MAX_T_US {
            return Err(Fault::TooLate(event.t_us));
        }
        if self.events.len() == MAX_EVENTS {
            return Err(Fault::TooManyEvents);
        }
        self.composer.apply(&event.edit)?;
        if self.composer.chars() > MAX_TEXT_CHARS {
            return Err(Fault::TextTooLong);
        }
        self.events.push(event);
        Ok(())
    }

    fn finish(&self, header: &TraceHeader) -> Result<(), Fault> {
        if self.events.last().map(|e| &e.edit) != Some(&Edit::Enter) {
            return Err(Fault::NoEnter);
        }
        if self.composer.chars() != header.final_chars {
            return Err(Fault::FinalChars {
                found: self.composer.chars(),
                stated: header.final_chars,
            });
        }
        let found = sha256_hex(self.composer.text());
        if !found.eq_ignore_ascii_case(&header.final_sha256) {
            return Err(Fault::FinalHash {
                found,
                stated: header.final_sha256.clone(),
            });
        }
        Ok(())
    }
}

/// SHA-256 of the text's UTF-8, in hexadecimal.
pub fn sha256_hex(text: &str) -> String {
    use std::fmt::Write;
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
