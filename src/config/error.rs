//! What is wrong with a configuration, where, and what would be right.

use super::SourceFile;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why settings could not be read.
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
    Environment {
        variable: &'static str,
        what: String,
    },
}

/// A fault at a place in a configuration file.
#[derive(Debug)]
pub struct Fault {
    path: PathBuf,
    /// Both from 1; the column counts characters.
    line: usize,
    column: usize,
    /// The line itself and how many of its characters are at fault.
    source_line: String,
    marked: usize,
    /// Dotted, such as `sampling.temp`.
    key: Option<String>,
    what: String,
    hint: Option<String>,
}

impl Fault {
    /// A fault of the bytes `span` of `text`.
    pub fn at(path: &Path, text: &str, span: Range<usize>, what: impl Into<String>) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let source_line = text[line_start..].lines().next().unwrap_or_default();
        let line_end = line_start + source_line.len();
        Self {
            path: path.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source_line: source_line.to_owned(),
            marked: text[start.min(line_end)..end.min(line_end).max(start.min(line_end))]
                .chars()
                .count()
                .max(1),
            key: key_at(text, start),
            what: what.into(),
            hint: None,
        }
    }

    /// What the TOML reader found, in a user's words.
    pub(super) fn from_toml(file: &SourceFile, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        if message.starts_with("unknown field") {
            // "unknown field `a`, expected one of `b`, `c`": the names are between back quotes.
            let mut names = message.split('`').skip(1).step_by(2);
            let unknown = names.next().unwrap_or_default();
            let allowed: Vec<&str> = names.collect();
            let mut fault = Self::at(&file.path, &file.text, span, "there is no such setting");
            fault.hint = Some(match nearest(unknown, &allowed) {
                Some(name) => format!("did you mean '{name}'?"),
                None => format!("allowed here: {}", allowed.join(", ")),
            });
            return fault;
        }
        Self::at(&file.path, &file.text, span, plain(message))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, line, column) = (self.path.display(), self.line, self.column);
        write!(f, "{path}:{line}:{column}: ")?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        let gutter = " ".repeat(line.to_string().len());
        let indent: String = self
            .source_line
            .chars()
            .take(column - 1)
            // A tab stays one, so that the mark stands under what it marks.
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        writeln!(f, "{}", self.what)?;
        writeln!(f, "  {gutter} |")?;
        writeln!(f, "  {line} | {}", self.source_line)?;
        write!(f, "  {gutter} | {indent}{}", "^".repeat(self.marked))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
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

/// The reader's own words for types are Rust's: says them as a person would.
fn plain(message: &str) -> String {
    let words = [
        ("invalid type: ", "wrong kind of value: "),
        ("floating point ", "number "),
        ("integer ", "number "),
        ("expected i64", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected a text in quotes"),
    ];
    let plain = words.iter().fold(message.to_owned(), |text, (from, to)| {
        text.replace(from, to)
    });
    plain.lines().collect::<Vec<_>>().join("; ")
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
