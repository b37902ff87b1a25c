//! The environment as a layer: each setting is `NMOS_` and its flag's name in capitals.

use super::fault::{ConfigError, nearest};
use super::{Layer, ROWS};
use std::ffi::OsString;
use std::path::PathBuf;

/// Looks a variable up. An argument, so that tests need not change the process's own.
pub(super) type Vars<'a> = &'a dyn Fn(&str) -> Option<OsString>;

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

/// Variables that begin as ours do and mean nothing, each with the known one that it is likely a
/// slip of.
pub fn unknown_variables(names: impl Iterator<Item = OsString>) -> Vec<(String, Option<String>)> {
    let known = known();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut unknown: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("NMOS_") && !known.contains(&name.as_str()))
        .map(|name| {
            let near = nearest(&name, &known).map(str::to_owned);
            (name, near)
        })
        .collect();
    unknown.sort();
    unknown
}

/// Every variable that is looked at.
fn known() -> Vec<String> {
    let others = OTHERS.iter().map(|name| (*name).to_owned());
    others
        .chain(ROWS.iter().map(|row| row.variable()))
        .collect()
}

/// Reads every variable. One that is empty counts as not set.
pub(super) fn layer(vars: Vars<'_>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for row in ROWS {
        let variable = row.variable();
        if let Some(value) = vars(&variable).filter(|value| !value.is_empty()) {
            row.read(&value, &mut layer)
                .map_err(|what| ConfigError::Environment { variable, what })?;
        }
    }
    Ok(layer)
}

/// A variable that holds a path, which need not be UTF-8.
pub(super) fn path(vars: Vars<'_>, name: &str) -> Option<PathBuf> {
    vars(name).filter(|v| !v.is_empty()).map(PathBuf::from)
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
        assert_eq!(layer.top_k, Some(40));
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
        let known = known();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let near = nearest("NMOS_", &known).map(str::to_owned);
        assert_eq!(
            unknown_variables(names.into_iter().map(OsString::from)),
            [
                ("NMOS_".to_owned(), near),
                ("NMOS_ORCALE".to_owned(), Some("NMOS_ORACLE".to_owned())),
            ]
        );
    }

    #[test]
    fn every_setting_has_its_variable() {
        let known = known();
        let settings =
            crate::config::Settings::resolve(Layer::default(), Layer::default(), None).unwrap();
        for (key, ..) in settings.rows() {
            let name = crate::config::row::variable(key);
            assert!(known.contains(&name), "{name} of {key}");
        }
        assert!(known.contains(&"NMOS_REPEAT_PENALTY".to_owned()));
        assert!(known.contains(&"NMOS_LOG_FILE".to_owned()));
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
