//! Pictures of the workbench without a terminal: what the panes draw into a buffer, as SVG
//! or PNG. The session behind them is a real one; [`capture`] types into it as a person
//! would and keeps the frames of four moments.

mod png;
mod shapes;
mod svg;

pub use png::{PngError, to_png};
pub use svg::to_svg;

use super::action::Action;
use super::app::{App, Effect};
use super::input::micros_since;
use super::theme::to_rgb;
use super::{Keymap, ThemeLoader, view};
use crate::session::{Client, Event as EngineEvent, RequestEvent};
use anyhow::bail;
use crossbeam_channel::{after, select};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Rect, Size};
use ratatui::style::Color;
use std::time::{Duration, Instant};

/// What to show.
pub struct ShotOptions {
    pub size: Size,
    pub theme: String,
    pub themes: ThemeLoader,
    pub prompt: String,
    pub pace: Pace,
}

/// How the prompt is typed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two keys.
    pub key_gap: Duration,
    /// How long the typist looks at the prompt before the first picture and Enter. Fixed,
    /// not until the engine is ready: the pictures show figures, and nobody types like that.
    pub settle: Duration,
}

impl Default for Pace {
    /// A brisk typist who looks at the prompt before sending it.
    fn default() -> Self {
        Self {
            key_gap: Duration::from_millis(90),
            settle: Duration::from_millis(600),
        }
    }
}

/// The picture of a moment.
pub struct Shot {
    /// `typing`, `answering`, `answer` or `help`.
    pub moment: &'static str,
    pub buffer: Buffer,
    /// What the theme leaves to the terminal.
    pub defaults: Defaults,
}

/// The colours that a picture has in the place of the terminal's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub foreground: [u8; 3],
    pub background: [u8; 3],
}

impl Defaults {
    const DARK: Self = Self {
        foreground: [0xd8, 0xd8, 0xd8],
        background: [0x12, 0x12, 0x12],
    };

    fn of(app: &App) -> Self {
        match app.theme.background {
            Color::Reset => Self::DARK,
            color => Self {
                background: to_rgb(color, Self::DARK.background),
                ..Self::DARK
            },
        }
    }
}

/// Characters of the answer in the second picture.
const ANSWERING_CHARS: usize = 160;

/// Types the prompt into the session and takes the pictures.
///
/// # Errors
/// A theme that cannot be used, and a session that fails.
pub fn capture(client: &Client, options: ShotOptions) -> anyhow::Result<Vec<Shot>> {
    let mut studio = Studio {
        app: App::new(Keymap::default(), options.themes, &options.theme)?,
        client,
        epoch: Instant::now(),
        area: Rect::from((ratatui::layout::Position::ORIGIN, options.size)),
        ready: false,
    };
    studio.pump_until(None, |s| s.ready)?;
    for c in options.prompt.chars() {
        let (code, modifiers) = match c {
            '\n' => (KeyCode::Enter, KeyModifiers::ALT),
            c => (KeyCode::Char(c), KeyModifiers::NONE),
        };
        studio.press(code, modifiers);
        studio.pump_until(Some(options.pace.key_gap), |_| false)?;
    }
    studio.pump_until(Some(options.pace.settle), |_| false)?;
    let mut shots = vec![studio.shoot("typing")];
    studio.press(KeyCode::Enter, KeyModifiers::NONE);
    if !studio.app.busy {
        bail!("the prompt is empty");
    }
    studio.pump_until(None, |s| {
        let answer = s
            .app
            .talk
            .last_turn()
            .map_or(0, |t| t.answer.chars().count());
        !s.app.busy || answer >= ANSWERING_CHARS
    })?;
    shots.push(studio.shoot("answering"));
    studio.pump_until(None, |s| !s.app.busy)?;
    shots.push(studio.shoot("answer"));
    studio.app.apply(Action::Help, 0);
    shots.push(studio.shoot("help"));
    Ok(shots)
}

struct Studio<'a> {
    app: App,
    client: &'a Client,
    epoch: Instant,
    area: Rect,
    ready: bool,
}

impl Studio<'_> {
    fn press(&mut self, code: KeyCode, modifiers: KeyModifiers) {
        let key = KeyEvent::new(code, modifiers);
        self.app.input(&Event::Key(key), micros_since(self.epoch));
        for effect in self.app.take_effects() {
            if let Effect::Send(intent) = effect {
                // A session that has ended says so by its events.
                let _ = self.client.send(intent);
            }
        }
    }

    /// Listens to the session until `done`, or for as long as `most`.
    fn pump_until(
        &mut self,
        most: Option<Duration>,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> anyhow::Result<()> {
        let timer = most.map_or_else(crossbeam_channel::never, after);
        while !done(self) {
            select! {
                recv(self.client.events()) -> event => {
                    match event? {
                        EngineEvent::Fatal(error) => return Err(error.into()),
                        EngineEvent::Request(_, RequestEvent::Failed(error)) if self.app.busy => {
                            return Err(error.into());
                        }
                        event => {
                            self.ready |= matches!(event, EngineEvent::Ready);
                            self.app.engine(event, micros_since(self.epoch));
                        }
                    }
                },
                recv(timer) -> _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn shoot(&mut self, moment: &'static str) -> Shot {
        self.app.set_snapshot(self.client.hub().snapshot());
        let mut buffer = Buffer::empty(self.area);
        view::draw(&mut buffer, self.area, &mut self.app);
        Shot {
            moment,
            buffer,
            defaults: Defaults::of(&self.app),
        }
    }
}
