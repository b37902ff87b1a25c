//! `nmos config`: the configuration file is only ever written here, and only when asked.

use super::invocation::{Invocation, Run};
use super::tui::look;
use crate::config::{DEFAULT_FILE, Origin, Paths, Settings};
use crate::tui::Keymap;
use anyhow::{Context, bail};
use clap::Subcommand;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `nmos config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write the documented default file; never over one that is there
    Init,
    /// Print where the file is looked for
    Path,
    /// Print the settings in force and where each came from
    Show,
}

impl Run for ConfigCommand {
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let named = invocation.config.as_deref();
        let mut out = io::stdout();
        match self {
            Self::Init => {
                let path = file(named)?;
                init(&path)?;
                writeln!(out, "wrote {}", path.display())?;
            }
            Self::Path => writeln!(out, "{}", file(named)?.display())?,
            Self::Show => {
                let settings = invocation.settings()?;
                // What the workbench would refuse is refused here too.
                let look = look(&settings)?;
                show(&settings, &look.keymap, &mut out)?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
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
