//! The environment as a layer: each setting is `NMOS_` and its flag's name in capitals.

use super::error::nearest;
use super::values::{Draft, LogLevel};
use super::{ConfigError, Layer, LogLayer, SamplingLayer, limits};
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// Looks a variable up. An argument, so that tests need not change the process's own.
pub(super) type Vars<'a> = &'a dyn Fn(&'static str) -> Option<OsString>;

/// Variables that are no settings: the file, what other parts of the program read, and what
/// cargo tells a program that it runs of how that was built.
const OTHERS: [&str; 7] = [
    "NMOS_CONFIG",
    "NMOS_CACHE",
    "NMOS_BACKENDS",
    "NMOS_BACKENDS_DIR",
    "NMOS_GGML_CUDA",
    "NMOS_GPU",
    "NMOS_COMMIT",
];

/// The variable of the setting with this flag.
pub(super) fn variable(flag: &str) -> String {
    format!("NMOS_{}", flag.to_uppercase().replace('-', "_"))
}

/// Variables that begin as ours do and mean nothing, each with the known one that it is likely a
/// slip of.
pub fn unknown_variables(
    names: impl Iterator<Item = OsString>,
) -> Vec<(String, Option<&'static str>)> {
    let known = known();
    let mut unknown: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("NMOS_") && !known.contains(&name.as_str()))
        .map(|name| {
            let near = nearest(&name, &known);
            (name, near)
        })
        .collect();
    unknown.sort();
    unknown
}

/// Every variable that is looked at.
fn known() -> Vec<&'static str> {
    // Whatever `layer` asks for is known: a list beside it could forget one.
    let asked = std::cell::RefCell::new(OTHERS.to_vec());
    let note = |name: &'static str| {
        asked.borrow_mut().push(name);
        None
    };
    // Without a value nothing can be wrong.
    let _ = layer(&note);
    asked.into_inner()
}

/// Reads every variable. One that is empty counts as not set.
pub(super) fn layer(vars: Vars<'_>) -> Result<Layer, ConfigError> {
    Ok(Layer {
        oracle: model(vars, "NMOS_ORACLE", limits::oracle)?,
        draft: model(vars, "NMOS_DRAFT", Draft::read)?,
        scout: checked(vars, "NMOS_SCOUT", FromStr::from_str)?,
        ram: checked(vars, "NMOS_RAM", FromStr::from_str)?,
        vram: checked(vars, "NMOS_VRAM", FromStr::from_str)?,
        ctx: checked(vars, "NMOS_CTX", |t| limits::read(t, limits::ctx))?,
        threads: checked(vars, "NMOS_THREADS", |t| limits::read(t, limits::threads))?,
        tree: checked(vars, "NMOS_TREE", FromStr::from_str)?,
        max_tokens: checked(vars, "NMOS_MAX_TOKENS", |t| {
            limits::read(t, limits::max_tokens)
        })?,
        system: checked(vars, "NMOS_SYSTEM", |t| Ok(t.to_owned()))?,
        chat_template: checked(vars, "NMOS_CHAT_TEMPLATE", FromStr::from_str)?,
        theme: checked(vars, "NMOS_THEME", |t| Ok(t.to_owned()))?,
        exact: checked(vars, "NMOS_EXACT", FromStr::from_str)?,
        recycle: checked(vars, "NMOS_RECYCLE", FromStr::from_str)?,
        mouse: checked(vars, "NMOS_MOUSE", FromStr::from_str)?,
        sampling: SamplingLayer {
            temp: checked(vars, "NMOS_TEMP", |t| limits::read(t, limits::temp))?,
            top_k: checked(vars, "NMOS_TOP_K", |t| limits::read(t, limits::top_k))?,
            top_p: checked(vars, "NMOS_TOP_P", |t| limits::read(t, limits::top_p))?,
            min_p: checked(vars, "NMOS_MIN_P", |t| limits::read(t, limits::min_p))?,
            repeat_penalty: checked(vars, "NMOS_REPEAT_PENALTY", |t| {
                limits::read(t, limits::repeat_penalty)
            })?,
            seed: checked(vars, "NMOS_SEED", |t| limits::read(t, limits::seed))?,
        },
        log: LogLayer {
            level: checked(vars, "NMOS_LOG_LEVEL", LogLevel::from_str)?,
            file: path(vars, "NMOS_LOG_FILE"),
        },
        keys: super::KeyTable::new(),
    })
}

/// A variable that holds a path, which need not be UTF-8.
pub(super) fn path(vars: Vars<'_>, name: &'static str) -> Option<PathBuf> {
    vars(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// A variable that names a model, whose path need not be UTF-8.
fn model<T>(
    vars: Vars<'_>,
    name: &'static str,
    read: impl Fn(OsString) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let value = vars(name).filter(|v| !v.is_empty());
    let read = value.map(read).transpose();
    read.map_err(|what| ConfigError::Environment {
        variable: name,
        what,
    })
}

fn checked<T>(
    vars: Vars<'_>,
    name: &'static str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = vars(name).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let fault = |what| ConfigError::Environment {
        variable: name,
        what,
    };
    let Some(text) = value.to_str() else {
        return Err(fault("its value is not UTF-8".into()));
    };
    read(text).map(Some).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn variables_are_read_and_empty_ones_are_not() {
        let vars = |name: &str| match name {
            "NMOS_RAM" => Some(OsString::from("1GiB")),
            "NMOS_TOP_K" => Some(OsString::from("40")),
            "NMOS_CTX" => Some(OsString::new()),
            _ => None,
        };
        let layer = layer(&vars).unwrap();
        assert_eq!(layer.ram.unwrap().size(), Some(Bytes::mib(1024)));
        assert_eq!(layer.sampling.top_k, Some(40));
        assert_eq!(layer.ctx, None);
    }

    #[test]
    fn a_slip_in_a_variables_name_is_found() {
        let names = [
            "NMOS_ORCALE",
            "NMOS_TOP_K",
            "NMOS_CACHE",
            "HOME",
            "NMOS_",
            "NMOS_LOG_FILE",
        ];
        assert_eq!(
            unknown_variables(names.into_iter().map(OsString::from)),
            [
                ("NMOS_".to_owned(), nearest("NMOS_", &known())),
                ("NMOS_ORCALE".to_owned(), Some("NMOS_ORACLE")),
            ]
        );
    }

    #[test]
    fn every_setting_has_its_variable() {
        let known = known();
        let settings =
            crate::config::Settings::resolve(Layer::default(), Layer::default(), None).unwrap();
        for (key, ..) in settings.rows() {
            let name = variable(&crate::config::flag(key));
            assert!(known.contains(&name.as_str()), "{name} of {key}");
        }
    }

    #[test]
    fn a_bad_variable_is_named() {
        let vars = |name: &str| (name == "NMOS_THREADS").then(|| OsString::from("lots"));
        let error = layer(&vars).unwrap_err().to_string();
        assert!(
            error.contains("NMOS_THREADS") && error.contains("'lots'"),
            "{error}"
        );
    }
}
