//! What is wrong with a file of a user's, where, and what would be right.
//!
//! Every mistake in a configuration file, its keys included, and in a theme file is told in this
//! one form:
//!
//! ```text
//!  config.toml:2:1: orcale: there is no such setting
//!      |
//!    2 | orcale = "model.gguf"
//!      | ^^^^^^
//!    did you mean 'oracle'?
//! ```

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why settings, keys or a theme could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}")]
    File(Box<Fault>),
    #[error("environment variable {variable}: {what}")]
    Environment { variable: String, what: String },
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self::File(Box::new(fault))
    }
}

/// A TOML file of a user's, or one that is built in, with the path to name it by: kept, so that
/// whoever interprets a part of it later (the keymap) can still point at the line.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

impl SourceFile {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self {
                path: path.to_owned(),
                text,
            }),
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// A fault of the bytes `span` of this file.
    pub fn fault(&self, span: Range<usize>, what: impl Into<String>) -> Fault {
        let start = floor_boundary(&self.text, span.start);
        Fault {
            path: self.path.clone(),
            place: Some(Box::new(Place::of(&self.text, start..span.end))),
            key: key_at(&self.text, start),
            what: what.into(),
            hint: None,
        }
    }

    /// A fault that consists in the absence of `key`.
    pub fn absent(&self, key: impl Into<String>, what: impl Into<String>) -> Fault {
        Fault {
            path: self.path.clone(),
            place: None,
            key: Some(key.into()),
            what: what.into(),
            hint: None,
        }
    }

    /// What the TOML reader found, in a user's words.
    pub fn syntax(&self, error: &toml::de::Error) -> Fault {
        let span = error.span().unwrap_or(0..0);
        self.fault(span, plain(error.message()))
    }

    /// The line of the byte `at`, from 1.
    pub fn line(&self, at: usize) -> usize {
        let at = floor_boundary(&self.text, at);
        self.text[..at].matches('\n').count() + 1
    }
}

/// A fault in a file.
#[derive(Debug)]
pub struct Fault {
    path: PathBuf,
    /// `None` where something is absent.
    place: Option<Box<Place>>,
    /// Dotted, such as `sampling.temp`.
    key: Option<String>,
    what: String,
    hint: Option<String>,
}

/// Where in a file, with the line itself.
#[derive(Debug)]
struct Place {
    /// Both from 1; the column counts characters.
    line: usize,
    column: usize,
    source_line: String,
    /// How many of the line's characters are at fault.
    marked: usize,
}

impl Place {
    /// Of the bytes `span` of `text`, which begin at a character.
    fn of(text: &str, span: Range<usize>) -> Self {
        let start = span.start;
        let end = floor_boundary(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let source_line = text[line_start..].lines().next().unwrap_or_default();
        let line_end = line_start + source_line.len();
        let marked = &text[start.min(line_end)..end.min(line_end).max(start.min(line_end))];
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source_line: source_line.to_owned(),
            marked: marked.chars().count().max(1),
        }
    }
}

impl Fault {
    /// Adds what would be right, below the line at fault.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(place) = &self.place {
            write!(f, "{place}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

/// The line below what is wrong with it, and a mark below that.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        let gutter = " ".repeat(line.to_string().len());
        let indent: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            // A tab stays one, so that the mark stands under what it marks.
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        writeln!(f, "\n  {gutter} |")?;
        writeln!(f, "  {line} | {}", self.source_line)?;
        write!(f, "  {gutter} | {indent}{}", "^".repeat(self.marked))
    }
}

/// The name among `allowed` that `word` is likely a slip of.
pub fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let closeness = |name: &&str| strsim::jaro_winkler(word, name);
    allowed
        .iter()
        .copied()
        .max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
        .filter(|best| closeness(best) > 0.8)
}

/// The TOML reader's words on one line.
fn plain(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}

/// The dotted key whose name or value lies at byte `at`; `None` in a text that is not TOML.
fn key_at(text: &str, at: usize) -> Option<String> {
    fn search(table: &toml::de::DeTable<'_>, at: usize) -> Option<String> {
        table.iter().find_map(|(key, value)| {
            let inner = match value.get_ref() {
                toml::de::DeValue::Table(table) => search(table, at),
                _ => None,
            };
            if let Some(rest) = inner {
                return Some(format!("{}.{rest}", key.get_ref()));
            }
            let here = key.span().contains(&at) || value.span().contains(&at);
            here.then(|| key.get_ref().to_string())
        })
    }
    let table = toml::de::DeTable::parse(text).ok()?;
    search(table.get_ref(), at)
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
