//! How the value of a setting is read: once each, for flags, variables and the file alike.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use toml::de::{DeInteger, DeValue};

/// Reads a value, and checks it.
pub(super) enum Read<T> {
    /// A whole number.
    Whole(fn(i64) -> Result<T, String>),
    /// A number.
    Number(fn(f64) -> Result<T, String>),
    /// A text, with what is expected in the file.
    Text(fn(&str) -> Result<T, String>, &'static str),
    /// A path or a name, which a flag or a variable need not give as UTF-8; with what is expected
    /// in the file.
    Path(fn(OsString) -> Result<T, String>, &'static str),
    /// In the file a whole number or a text; elsewhere a text. With what is expected in the file.
    WholeOrText(
        fn(i64) -> Result<T, String>,
        fn(&str) -> Result<T, String>,
        &'static str,
    ),
}

impl<T> Read<T> {
    /// From a flag or a variable.
    pub fn text(&self, text: &OsStr) -> Result<T, String> {
        let utf8 = || text.to_str().ok_or("its value is not UTF-8");
        match self {
            Self::Whole(check) => super::limits::read(utf8()?, *check),
            Self::Number(check) => super::limits::read(utf8()?, *check),
            Self::Text(read, _) | Self::WholeOrText(_, read, _) => read(utf8()?),
            Self::Path(read, _) => read(text.to_owned()),
        }
    }

    /// From the file.
    pub fn toml(&self, value: &DeValue<'_>) -> Result<T, String> {
        match (self, value) {
            (Self::Whole(check) | Self::WholeOrText(check, ..), DeValue::Integer(n)) => {
                check(whole(n)?)
            }
            (Self::Number(check), DeValue::Integer(n)) => check(whole(n)? as f64),
            (Self::Number(check), DeValue::Float(n)) => match n.as_str().parse() {
                Ok(number) => check(number),
                Err(_) => Err(does_not_fit(n)),
            },
            (Self::Text(read, _) | Self::WholeOrText(_, read, _), DeValue::String(text)) => {
                read(text)
            }
            (Self::Path(read, _), DeValue::String(text)) => read(OsString::from(text.as_ref())),
            (_, other) => Err(wrong_kind(other, self.expected())),
        }
    }

    /// A value as the file spells it.
    pub fn spell(&self, value: &T) -> String
    where
        T: Display,
    {
        let text = value.to_string();
        let bare = match self {
            Self::Whole(_) | Self::Number(_) => true,
            Self::WholeOrText(..) => text.parse::<i64>().is_ok(),
            Self::Text(..) | Self::Path(..) => false,
        };
        match bare {
            true => text,
            // TOML's own spelling, so that quotes and line ends inside come out right.
            false => toml::Value::String(text).to_string(),
        }
    }

    /// Whether it is a number in every layer: then it may begin with a sign.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Number(_))
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::Whole(_) => "a whole number",
            Self::Number(_) => "a number",
            Self::Text(_, expected)
            | Self::Path(_, expected)
            | Self::WholeOrText(_, _, expected) => expected,
        }
    }
}

fn whole(n: &DeInteger<'_>) -> Result<i64, String> {
    i64::from_str_radix(n.as_str(), n.radix()).map_err(|_| does_not_fit(n))
}

fn does_not_fit(number: impl Display) -> String {
    format!("{number} is not a number that fits here")
}

/// What is said of a value that has not the type that is expected.
pub(super) fn wrong_kind(value: &DeValue<'_>, expected: &str) -> String {
    let found = match value {
        DeValue::String(text) => format!("string {text:?}"),
        DeValue::Integer(n) => format!("number `{n}`"),
        DeValue::Float(n) => format!("number `{n}`"),
        DeValue::Boolean(truth) => format!("boolean `{truth}`"),
        DeValue::Datetime(when) => format!("date `{when}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    format!("wrong kind of value: {found}, expected {expected}")
}
