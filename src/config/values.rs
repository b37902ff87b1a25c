//! Settings whose values are words: each reads from and prints as the same text everywhere.

use super::Paths;
use crate::model::Think;
use crate::plan::{TreeSize, Vram};
use crate::units::Bytes;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A model's path, which need not be UTF-8, or its name in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName(OsString);

impl ModelName {
    pub fn new(name: impl Into<OsString>) -> Self {
        Self(name.into())
    }
}

impl AsRef<OsStr> for ModelName {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string_lossy())
    }
}

/// The draft model, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draft {
    /// Decode token by token.
    None,
    /// A path or a catalogue name.
    Model(ModelName),
}

impl Draft {
    /// Reads `none`, a path or a name.
    ///
    /// # Errors
    /// An empty text.
    pub fn read(text: OsString) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        super::limits::model(text).map(Self::Model)
    }
}

impl FromStr for Draft {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text.into())
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Model(name) => name.fmt(f),
        }
    }
}

/// The form of prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// The model's own.
    Own,
    /// The name of one that is built in, or a file.
    Named(String),
}

impl Template {
    /// What was asked for by name, if anything was.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Named(name) => Some(name.clone()),
        }
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Own),
            _ if text.trim().is_empty() => {
                Err("a chat template's name or file is wanted, or auto, and this is empty".into())
            }
            _ => Ok(Self::Named(text.to_owned())),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Own => "auto",
            Self::Named(name) => name,
        })
    }
}

impl FromStr for Think {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(format!("'{text}' is neither 'auto' nor 'on' nor 'off'")),
        }
    }
}

impl fmt::Display for Think {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// The most tokens of a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkBudget {
    /// As many as it takes.
    None,
    Tokens(usize),
}

impl ThinkBudget {
    /// The number, if there is one.
    pub fn tokens(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Tokens(n) => Some(n),
        }
    }

    /// # Errors
    /// What is no number of tokens.
    pub fn of_tokens(n: i64) -> Result<Self, String> {
        super::limits::think_budget(n).map(Self::Tokens)
    }
}

impl FromStr for ThinkBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            _ => super::limits::read(text, Self::of_tokens)
                .map_err(|error| format!("{error}, or none")),
        }
    }
}

impl fmt::Display for ThinkBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Tokens(n) => f.pad(&n.to_string()),
        }
    }
}

/// What reads along and guesses the kind of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scout {
    Heuristic,
    None,
}

impl FromStr for Scout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "heuristic" => Ok(Self::Heuristic),
            "none" => Ok(Self::None),
            _ => Err(format!(
                "'{text}' is not a scout: this version has 'heuristic' and 'none'; \
                 a model cannot be the scout"
            )),
        }
    }
}

impl fmt::Display for Scout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Heuristic => "heuristic",
            Self::None => "none",
        })
    }
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    On,
    Off,
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(format!("'{text}' is neither 'on' nor 'off'")),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// The most memory that the process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ram {
    /// What is available less a margin.
    Auto,
    Size(Bytes),
}

impl Ram {
    /// The size that was asked for, if one was.
    pub fn size(self) -> Option<Bytes> {
        match self {
            Self::Auto => None,
            Self::Size(bytes) => Some(bytes),
        }
    }
}

impl FromStr for Ram {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<Bytes>() {
            Ok(Bytes(0)) => Err("0 is no size to run in: write one such as 4GiB, or auto".into()),
            Ok(bytes) => Ok(Self::Size(bytes)),
            Err(error) => Err(format!("{error}, or auto")),
        }
    }
}

/// A size that reads back as the same number.
fn exact(Bytes(b): Bytes) -> String {
    let unit = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
    let (name, shift) = unit
        .into_iter()
        .find(|(_, shift)| b > 0 && b.trailing_zeros() >= *shift)
        .unwrap_or(("", 0));
    format!("{}{name}", b >> shift)
}

impl fmt::Display for Ram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Size(bytes) => f.pad(&exact(*bytes)),
        }
    }
}

impl FromStr for Vram {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => match text.parse::<Bytes>() {
                Ok(Bytes(0)) => Ok(Self::None),
                Ok(bytes) => Ok(Self::Size(bytes)),
                Err(error) => Err(format!("{error}, auto or none")),
            },
        }
    }
}

impl fmt::Display for Vram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::None => f.pad("none"),
            Self::Size(bytes) => f.pad(&exact(*bytes)),
        }
    }
}

impl FromStr for TreeSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use super::limits;
        match text.strip_prefix("chain:") {
            Some(guesses) => limits::read(guesses, limits::chain),
            None if text == "auto" => Ok(Self::Auto),
            None => limits::read(text, limits::tree)
                .map_err(|error| format!("{error}, chain:N or auto")),
        }
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Fixed(nodes) => f.pad(&nodes.to_string()),
            Self::Chain(guesses) => f.pad(&format!("chain:{guesses}")),
        }
    }
}

/// How much goes to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Every level, the quietest first.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Off, "off"),
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|(_, name)| *name == text)
            .map(|(level, _)| level)
            .ok_or_else(|| {
                let names = Self::ALL.map(|(_, name)| name).join(", ");
                format!("'{text}' is not a log level: write one of {names}")
            })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// `nmos.log` in the user's state directory.
    OfUser,
    Named(PathBuf),
}

impl LogFile {
    /// The file; `None` where there is no home for the user's own.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::OfUser => Paths::for_user().map(|paths| paths.log_file()),
            Self::Named(path) => Some(path.clone()),
        }
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => path.display().fmt(f),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["auto", "960MiB", "3GiB", "1000001", "1536MiB", "4KiB"] {
            assert_eq!(text.parse::<Ram>().unwrap().to_string(), text);
        }
        for (level, name) in LogLevel::ALL {
            assert_eq!(name.parse(), Ok(level));
            assert_eq!(level.to_string(), name);
        }
        for text in ["heuristic", "none"] {
            assert_eq!(text.parse::<Scout>().unwrap().to_string(), text);
        }
        for text in ["auto", "1", "512", "chain:1", "chain:8"] {
            assert_eq!(text.parse::<TreeSize>().unwrap().to_string(), text);
        }
        for text in ["auto", "chatml", "my.jinja", "none"] {
            assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
        }
        assert!(" ".parse::<Template>().unwrap_err().contains("auto"));
        for text in ["on", "off"] {
            assert_eq!(text.parse::<Switch>().unwrap().to_string(), text);
        }
        for text in ["auto", "on", "off"] {
            assert_eq!(text.parse::<Think>().unwrap().to_string(), text);
        }
        for text in ["none", "0", "256"] {
            assert_eq!(text.parse::<ThinkBudget>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_says_what_is_right() {
        for (text, vram, back) in [
            ("auto", Vram::Auto, "auto"),
            ("none", Vram::None, "none"),
            ("0", Vram::None, "none"),
            ("4G", Vram::Size(Bytes::mib(4096)), "4GiB"),
        ] {
            assert_eq!(text.parse(), Ok(vram));
            assert_eq!(vram.to_string(), back);
        }
        assert!("much".parse::<Vram>().unwrap_err().contains("auto or none"));
        assert!("12 parsecs".parse::<Ram>().unwrap_err().contains("512MiB"));
        assert!("0".parse::<Ram>().is_err());
        assert!(
            "smollm2"
                .parse::<Scout>()
                .unwrap_err()
                .contains("'heuristic'")
        );
        assert!("loud".parse::<LogLevel>().unwrap_err().contains("trace"));
        assert!("".parse::<Draft>().is_err());
        let many = "513".parse::<TreeSize>().unwrap_err();
        assert!(many.contains("512") && many.contains("auto"), "{many}");
        for wrong in ["0", "many", "chain:0", "chain:512", "chain:", "chain"] {
            assert!(wrong.parse::<TreeSize>().is_err(), "{wrong}");
        }
        for wrong in ["-1", "some", "2000000"] {
            let error = wrong.parse::<ThinkBudget>().unwrap_err();
            assert!(error.contains("none"), "{error}");
        }
        assert!("much".parse::<Think>().unwrap_err().contains("'auto'"));
        assert!("yes".parse::<Switch>().unwrap_err().contains("'on'"));
    }
}
