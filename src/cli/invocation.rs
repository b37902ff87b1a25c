//! What a command is run with.

use super::logging;
use crate::config::{ConfigError, Layer, Settings};
use crate::session::EngineOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_appender::non_blocking::WorkerGuard;

/// A command: its arguments, and what it does with them.
pub trait Run {
    /// # Errors
    /// Whatever keeps it from being done, for a person to read.
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode>;
}

/// What every command takes.
#[derive(Debug)]
pub struct Invocation {
    /// Of the flags that are shared.
    pub flags: Layer,
    /// The configuration file that `--config` names.
    pub config: Option<PathBuf>,
}

/// Settings in force, with a log that is written as long as this is held.
pub struct Started {
    pub settings: Settings,
    _log: Option<WorkerGuard>,
}

impl Invocation {
    /// The settings in force.
    ///
    /// # Errors
    /// Any mistake in the environment or the file.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.flags.clone(), self.config.as_deref())
    }

    /// Reads the settings and starts the log.
    ///
    /// # Errors
    /// As [`Self::settings`], and a log that was asked for and cannot be written.
    pub fn start(&self) -> anyhow::Result<Started> {
        self.start_over(Layer::default())
    }

    /// [`Self::start`], with a command's own flags over the shared ones.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_over(&self, own: Layer) -> anyhow::Result<Started> {
        let flags = own.over(self.flags.clone());
        let settings = Settings::load(flags, self.config.as_deref())?;
        let log = logging::start(&settings)?;
        Ok(Started {
            settings,
            _log: log,
        })
    }
}

/// What a session is started with under these settings.
pub fn engine_options(settings: &Settings) -> anyhow::Result<EngineOptions> {
    Ok(settings.engine_options(|name| crate::model::locate::resolve(name))?)
}

/// Says that fewer threads compute than were asked for. Sessions say it themselves.
pub fn tell_threads(settings: &Settings) {
    if let Some(notice) = crate::system::threads_notice(settings.threads.value) {
        // Where this cannot be printed, the answer is computed all the same.
        let _ = writeln!(io::stderr(), "note: {notice}");
    }
}

/// Says what an end waits for, where a second Ctrl-C does not.
pub fn tell_wait(what: &str) {
    // Where this cannot be printed, the wait is the same.
    let _ = writeln!(io::stderr(), "{what}; Ctrl-C again ends at once");
}
