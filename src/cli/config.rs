//! `nmos config`: the configuration file is only ever written here, and only when asked.

use super::args::ConfigCommand;
use super::tui::look;
use crate::config::{DEFAULT_FILE, Layer, Origin, Paths, Settings};
use crate::tui::Keymap;
use anyhow::{Context, bail};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Runs one of the commands; `named` is the file given by `--config`.
pub fn run(
    command: &ConfigCommand,
    flags: Layer,
    named: Option<&Path>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Init => {
            let path = file(named)?;
            init(&path)?;
            writeln!(out, "wrote {}", path.display())?;
        }
        ConfigCommand::Path => writeln!(out, "{}", file(named)?.display())?,
        ConfigCommand::Show => {
            let settings = Settings::load(flags, named)?;
            // What the workbench would refuse is refused here too.
            let look = look(&settings)?;
            show(&settings, &look.keymap, out)?;
        }
    }
    Ok(out.flush()?)
}

fn file(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    if let Some(path) = std::env::var_os("NMOS_CONFIG").filter(|v| !v.is_empty()) {
        return Ok(path.into());
    }
    match Paths::for_user() {
        Some(paths) => Ok(paths.config_file()),
        None => bail!("there is no home directory to keep a configuration in: give --config FILE"),
    }
}

/// Writes the documented default file where there is none.
fn init(path: &Path) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let created = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    match created {
        Ok(mut file) => file
            .write_all(DEFAULT_FILE.as_bytes())
            .with_context(|| format!("cannot write {}", path.display())),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => bail!(
            "{} is there already and stays as it is: move it away to get a new one",
            path.display()
        ),
        Err(e) => Err(e).with_context(|| format!("cannot create {}", path.display())),
    }
}

fn show(settings: &Settings, keymap: &Keymap, out: &mut impl Write) -> anyhow::Result<()> {
    match &settings.file {
        Some(file) => writeln!(out, "# file: {}", file.path.display())?,
        None => writeln!(out, "# file: none (nmos config init writes one)")?,
    }
    for (key, value, origin) in settings.rows() {
        let line = format!("{key} = {value}");
        writeln!(out, "{line:<56} # {origin}")?;
    }
    for (context, action, keys, default) in keymap.rows() {
        let keys: Vec<String> = keys
            .iter()
            .map(|key| toml::Value::String(key.written()).to_string())
            .collect();
        let keys = match keys.as_slice() {
            [key] => key.clone(),
            keys => format!("[{}]", keys.join(", ")),
        };
        let line = format!("keys.{}.{} = {keys}", context.name(), action.name());
        let origin = if default {
            Origin::Default
        } else {
            Origin::File
        };
        writeln!(out, "{line:<56} # {origin}")?;
    }
    Ok(())
}
