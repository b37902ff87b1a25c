//! The workbench: a full-screen view of a session.
//!
//! It draws [`telemetry::Snapshot`](crate::telemetry::Snapshot)s and sends
//! [`Intent`](crate::session::Intent)s; it never touches the engine.
//!
//! ```text
//!  reader thread --Stamped--+
//!  signal thread --request--+--> driver (one select, input first)
//!  session ------Event------+       |  keys -> keymap -> Action -> App -> Effect -> session
//!  hub ----------changed----+       |
//!                                   +--> view -> panes -> terminal (at most 60 frames a second)
//! ```
//!
//! Everything that changes state is in [`app`], everything that draws is in [`view`] and
//! `panes`, everything that touches the terminal is in `term`, `input`, `signals` and
//! `driver`. With nothing to do, all threads sleep.

pub mod action;
pub mod app;
mod chord;
mod conversation;
mod driver;
mod edits;
mod frame;
mod input;
pub mod keymap;
mod layout;
mod panes;
mod prompt;
mod recording;
mod replay;
mod rows;
pub mod shot;
mod signals;
mod term;
mod terminfo;
mod text;
pub mod theme;
pub mod view;
mod wrap;

pub use crate::config::DEFAULT_THEME;
pub use app::Recorder;
pub use edits::{TextState, edits};
pub use keymap::Keymap;
pub use layout::MIN_SIZE;
pub use prompt::{clean, clean_line};
pub use recording::Recording;
pub use replay::Player;
pub use term::give_back as give_terminal_back;
pub use text::{count, fit, think_cut, tokens};
pub use theme::{ColorDepth, ThemeError, ThemeLoader};
pub use wrap::wrap_line;

use crate::session::EngineHandle;
use anyhow::{Context as _, bail};
use std::io::{IsTerminal, Write, stderr, stdin, stdout};

/// How the workbench is set up.
pub struct WorkbenchOptions {
    pub keymap: Keymap,
    pub themes: ThemeLoader,
    /// A name that `themes` knows.
    pub theme: String,
    /// Report the mouse; off leaves selecting text to the terminal.
    pub mouse: bool,
    /// Recorded typing to play into the prompt.
    pub replay: Option<Player>,
    /// Hears every typing event; the screen shows that it does.
    pub recorder: Option<Recorder>,
}

impl Default for WorkbenchOptions {
    /// What the environment says about colours and characters, and nothing else.
    fn default() -> Self {
        let env = |name: &str| std::env::var(name).ok();
        Self {
            keymap: Keymap::default(),
            themes: ThemeLoader {
                dir: None,
                depth: ColorDepth::detect(env),
                ascii: theme::locale_is_ascii(env),
            },
            theme: DEFAULT_THEME.to_owned(),
            mouse: true,
            replay: None,
            recorder: None,
        }
    }
}

/// Refuses where there is no terminal that can show the workbench, naming what works without
/// one. To be asked before models are loaded.
///
/// # Errors
/// Where standard input or output is not a terminal, or one that cannot move its cursor.
pub fn require_terminal() -> anyhow::Result<()> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        bail!(
            "the workbench needs a terminal on its standard input and output; \
             `nmos run PROMPT` answers without one"
        );
    }
    if let Err(why) = terminfo::check(|name| std::env::var(name).ok()) {
        bail!(
            "the workbench needs a terminal that can move its cursor, and {why}; \
             `nmos run PROMPT` answers on any"
        );
    }
    Ok(())
}

/// A part of the program panicked. Its hook has said so already: nothing need be said again.
#[derive(Debug, thiserror::Error)]
#[error("a part of the program panicked: {0}")]
pub struct Panicked(pub String);

/// Runs the workbench until the user quits, then ends the session.
///
/// # Errors
/// No terminal, a theme that cannot be used, a terminal that fails, a session that could not
/// go on, and a panic anywhere. The terminal is as it was before in every case.
pub fn run(handle: EngineHandle, options: WorkbenchOptions) -> anyhow::Result<()> {
    let result = driver::run(&handle.connect(), options).context("the workbench ended");
    handle.shutdown_telling(|what| {
        // Where this cannot be printed, the wait is the same.
        let _ = writeln!(stderr(), "{what}; Ctrl-C ends at once");
    });
    result
}
