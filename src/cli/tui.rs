//! `nmos` and `nmos replay`: the workbench over a session that has been started.

use crate::config::Switch;
use crate::session::EngineHandle;
use crate::tui::{
    self, ColorDepth, Keymap, Player, Recorder, ThemeLoader, WorkbenchOptions, theme,
};
use std::path::{Path, PathBuf};

/// What the command line and the configuration file say about the workbench.
pub struct TuiSettings {
    /// `None` for the default theme.
    pub theme: Option<String>,
    /// The configuration directory; its `themes/` is looked into.
    pub config_dir: Option<PathBuf>,
    /// The configuration file with its text, for its `[keys]`.
    pub config_file: Option<(PathBuf, String)>,
    /// Take the mouse, or leave it to the terminal.
    pub mouse: Switch,
    pub replay: Option<Player>,
    pub recorder: Option<Recorder>,
    pub log_file: Option<PathBuf>,
}

/// Everything that can be wrong about the settings, found before models are loaded.
///
/// # Errors
/// No terminal, or a mistake in the keys or the theme.
pub fn prepare(settings: TuiSettings) -> anyhow::Result<WorkbenchOptions> {
    tui::require_terminal()?;
    let keymap = match &settings.config_file {
        Some((path, text)) => Keymap::with_config(path, text)?,
        None => Keymap::default(),
    };
    let themes = theme_loader(settings.config_dir.as_deref());
    let theme = settings
        .theme
        .unwrap_or_else(|| tui::DEFAULT_THEME.to_owned());
    themes.load(&theme)?;
    Ok(WorkbenchOptions {
        keymap,
        themes,
        theme,
        mouse: settings.mouse == Switch::On,
        replay: settings.replay,
        recorder: settings.recorder,
        log_file: settings.log_file,
    })
}

fn theme_loader(config_dir: Option<&Path>) -> ThemeLoader {
    let env = |name: &str| std::env::var(name).ok();
    ThemeLoader {
        dir: config_dir.map(|d| d.join("themes")),
        depth: ColorDepth::detect(env),
        ascii: theme::locale_is_ascii(env),
    }
}

/// Runs the workbench with what [`prepare`] made.
///
/// # Errors
/// See [`tui::run`].
pub fn run(handle: EngineHandle, options: WorkbenchOptions) -> anyhow::Result<()> {
    tui::run(handle, options)
}
