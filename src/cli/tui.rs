//! `nmos` and `nmos replay`: the workbench, and what the settings say about it.

use super::invocation::{Invocation, Run, engine_options};
use crate::config::{Paths, Settings, Switch, limits};
use crate::session;
use crate::tui::{
    self, ColorDepth, Keymap, Player, Recording, ThemeLoader, WorkbenchOptions, theme,
};
use crate::typing::{RecordText, Trace};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Recording, for the workbench alone.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Workbench options")]
pub struct Record {
    /// Record when keys are pressed, a trace a prompt: FILE, then FILE-2 and so on
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Record which keys they are as well
    #[arg(long, requires = "record")]
    pub record_text: bool,
}

/// `nmos replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A trace that was recorded
    pub trace: PathBuf,
    /// How many times faster than it was typed
    #[arg(long, value_name = "X", default_value = "1", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::speed))]
    pub speed: f64,
}

impl Run for Record {
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start()?;
        let recording = match &self.record {
            Some(path) => {
                let keep = match self.record_text {
                    true => RecordText::Keep,
                    false => RecordText::TimingOnly,
                };
                Some(Recording::new(path.clone(), keep)?)
            }
            None => None,
        };
        workbench(&started.settings, None, recording)
    }
}

impl Run for ReplayArgs {
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start()?;
        let trace = Trace::load(&self.trace)?;
        let replay = Player::new(vec![trace.events().to_vec()], self.speed)?;
        workbench(&started.settings, Some(replay), None)
    }
}

/// Opens the workbench. Everything that can be wrong is found before models are loaded.
fn workbench(
    settings: &Settings,
    replay: Option<Player>,
    recording: Option<Recording>,
) -> anyhow::Result<ExitCode> {
    let options = prepare(settings, replay, recording)?;
    tui::run(session::spawn(engine_options(settings)?), options)?;
    Ok(ExitCode::SUCCESS)
}

/// The keys and the looks that the settings ask for, read and found good.
pub struct Look {
    pub keymap: Keymap,
    pub themes: ThemeLoader,
    /// A name that `themes` knows.
    pub theme: String,
}

/// Reads the keys and the theme.
///
/// # Errors
/// Any mistake in them, with its place, and where the theme was set.
pub fn look(settings: &Settings) -> anyhow::Result<Look> {
    let keymap = match &settings.file {
        Some(file) => Keymap::with_config(file)?,
        None => Keymap::default(),
    };
    let env = |name: &str| std::env::var(name).ok();
    let themes = ThemeLoader {
        dir: Paths::for_user().map(|paths| paths.config_dir().join("themes")),
        depth: ColorDepth::detect(env),
        ascii: theme::locale_is_ascii(env),
    };
    let theme = settings.theme.value.clone();
    themes.load(&theme).with_context(|| {
        let place = settings.place("theme", settings.theme.origin);
        format!("the theme '{theme}' (set by {place}) cannot be used")
    })?;
    Ok(Look {
        keymap,
        themes,
        theme,
    })
}

/// The workbench, with everything that can be wrong about it found before models are loaded.
///
/// # Errors
/// No terminal, or a mistake in the keys or the theme.
fn prepare(
    settings: &Settings,
    replay: Option<Player>,
    recording: Option<Recording>,
) -> anyhow::Result<WorkbenchOptions> {
    tui::require_terminal()?;
    let look = look(settings)?;
    Ok(WorkbenchOptions {
        keymap: look.keymap,
        themes: look.themes,
        theme: look.theme,
        mouse: settings.mouse.value == Switch::On,
        replay,
        recorder: recording.map(Recording::into_recorder),
    })
}
