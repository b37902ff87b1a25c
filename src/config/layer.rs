//! One source of settings, in which every value is optional.

use super::values::{Draft, LogLevel, ModelName, Ram, Scout, Switch, Template, Vram};
use super::{ConfigError, Fault, SourceFile, limits};
use crate::session::TreeSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The `[keys]` table: for each context (`global`, `input`, `pane`) the table of its actions and
/// their keys as written, and where in the file. The workbench's keymap interprets it.
pub type KeyTable = BTreeMap<toml::Spanned<String>, toml::Spanned<toml::Value>>;

/// Settings from one source. As a file: the top level of `config.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Layer {
    #[serde(deserialize_with = "oracle")]
    pub oracle: Option<ModelName>,
    pub draft: Option<Draft>,
    pub scout: Option<Scout>,
    pub ram: Option<Ram>,
    pub vram: Option<Vram>,
    #[serde(deserialize_with = "ctx")]
    pub ctx: Option<usize>,
    #[serde(deserialize_with = "threads")]
    pub threads: Option<usize>,
    pub tree: Option<TreeSize>,
    #[serde(deserialize_with = "max_tokens")]
    pub max_tokens: Option<usize>,
    pub system: Option<String>,
    pub chat_template: Option<Template>,
    pub theme: Option<String>,
    pub exact: Option<Switch>,
    pub recycle: Option<Switch>,
    pub mouse: Option<Switch>,
    pub sampling: SamplingLayer,
    pub log: LogLayer,
    pub keys: KeyTable,
}

/// `[sampling]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SamplingLayer {
    #[serde(deserialize_with = "temp")]
    pub temp: Option<f32>,
    #[serde(deserialize_with = "top_k")]
    pub top_k: Option<usize>,
    #[serde(deserialize_with = "top_p")]
    pub top_p: Option<f32>,
    #[serde(deserialize_with = "min_p")]
    pub min_p: Option<f32>,
    #[serde(deserialize_with = "repeat_penalty")]
    pub repeat_penalty: Option<f32>,
    #[serde(deserialize_with = "seed")]
    pub seed: Option<u64>,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogLayer {
    pub level: Option<LogLevel>,
    pub file: Option<PathBuf>,
}

impl Layer {
    /// Reads a file's text; an error names the line, the key and what is allowed.
    pub fn parse(file: &SourceFile) -> Result<Self, ConfigError> {
        toml::from_str(&file.text)
            .map_err(|error| ConfigError::File(Box::new(Fault::from_toml(file, &error))))
    }
}

/// Reads a value as the file has it, then checks it.
fn checked<'de, D, R, T>(d: D, check: fn(R) -> Result<T, String>) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    R: Deserialize<'de>,
{
    check(R::deserialize(d)?)
        .map(Some)
        .map_err(D::Error::custom)
}

fn oracle<'de, D: Deserializer<'de>>(d: D) -> Result<Option<ModelName>, D::Error> {
    checked(d, |name: String| limits::oracle(name.into()))
}

macro_rules! checked {
    ($($name:ident: $type:ty),* $(,)?) => {$(
        fn $name<'de, D: Deserializer<'de>>(d: D) -> Result<Option<$type>, D::Error> {
            checked(d, limits::$name)
        }
    )*};
}

checked! {
    ctx: usize,
    threads: usize,
    max_tokens: usize,
    temp: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    seed: u64,
}
