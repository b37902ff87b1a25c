//! `nmos` and `nmos replay`: what the settings say about the workbench.

use crate::config::{Paths, Settings, Switch};
use crate::tui::{
    self, ColorDepth, Keymap, Player, Recording, ThemeLoader, WorkbenchOptions, theme,
};
use anyhow::Context;

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
        Some(file) => Keymap::with_config(&file.path, &file.text)?,
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
pub fn prepare(
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
