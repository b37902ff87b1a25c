//! The workbench's state, and how keys, time and the engine change it.
//!
//! It knows neither terminal nor engine: it takes events in and leaves [`Effect`]s for the
//! loop to carry out. Time comes in as an argument, in microseconds on the loop's clock.
//!
//! Invariant: the session hears of every change of the prompt, in order, because every
//! change passes through `App::edit`.

mod armed;
mod engine;
mod input;

use super::action::{Action, Context};
use super::conversation::{Conversation, Item, Turn, TurnState};
use super::keymap::Keymap;
use super::layout::Layout;
use super::panes::PaneId;
use super::prompt::{Prompt, PromptKey};
use super::replay::Player;
use super::theme::{Theme, ThemeError, ThemeLoader};
use crate::session::Intent;
use crate::telemetry::{Phase, Snapshot};
use crate::typing::{Edit, RecordError, TypingEvent};
use crate::units::Micros;
use tui_textarea::CursorMove;

/// What the loop is to do.
#[derive(Debug)]
pub enum Effect {
    Send(Intent),
    Suspend,
    Redraw,
    Quit,
}

/// Hears every typing event, to record it.
/// What it returns as an error ends the recording, not the typing.
pub type Recorder = Box<dyn FnMut(&TypingEvent) -> Result<(), RecordError>>;

/// Everything that the screen shows.
pub struct App {
    pub keymap: Keymap,
    pub theme: Theme,
    pub prompt: Prompt,
    pub talk: Conversation,
    pub focus: PaneId,
    /// The pane that has the screen to itself and the prompt.
    pub zoom: Option<PaneId>,
    pub help: bool,
    pub help_scroll: usize,
    /// A remark in the place of the footer until the next key.
    pub toast: Option<String>,
    /// What is done if the next key asks for it again: it would throw something away.
    armed: Option<Action>,
    /// A prompt has been sent and its answer has not ended.
    pub busy: bool,
    /// Why the engine cannot go on.
    pub fatal: Option<String>,
    /// Whether the terminal tells of the mouse.
    pub mouse: bool,
    /// Whether the terminal's window has the focus, as far as it says.
    pub window_focused: bool,
    /// Counts up while something is waited for.
    pub spinner: usize,
    /// Where things were drawn last.
    pub layout: Layout,
    themes: ThemeLoader,
    live: Snapshot,
    frozen: Option<Box<Snapshot>>,
    player: Option<Player>,
    recorder: Option<Recorder>,
    ready: bool,
    effects: Vec<Effect>,
}

impl App {
    /// # Errors
    /// A theme that cannot be used.
    pub fn new(keymap: Keymap, themes: ThemeLoader, theme: &str) -> Result<Self, ThemeError> {
        Ok(Self {
            keymap,
            theme: themes.load(theme)?,
            prompt: Prompt::default(),
            talk: Conversation::default(),
            focus: PaneId::Prompt,
            zoom: None,
            help: false,
            help_scroll: 0,
            toast: None,
            armed: None,
            busy: false,
            fatal: None,
            mouse: true,
            window_focused: true,
            spinner: 0,
            layout: Layout::default(),
            themes,
            live: Snapshot::default(),
            frozen: None,
            player: None,
            recorder: None,
            ready: false,
            effects: Vec::new(),
        })
    }

    /// Plays recorded typing once the models are ready.
    pub fn set_replay(&mut self, replay: Player) {
        self.player = Some(replay);
    }

    /// Tells every typing event of the user's to `recorder`.
    pub fn set_recorder(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// What the loop is to do, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What the panes show: the present, or the instant of the freeze.
    pub fn shown(&self) -> &Snapshot {
        self.frozen.as_deref().unwrap_or(&self.live)
    }

    /// The present, frozen or not.
    pub fn live(&self) -> &Snapshot {
        &self.live
    }

    pub fn set_snapshot(&mut self, snapshot: Snapshot) {
        self.live = snapshot;
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    pub fn is_recording(&self) -> bool {
        self.recorder.is_some()
    }

    /// The replay's speed and how many prompts are left, while there is one.
    pub fn replay_state(&self) -> Option<(f64, usize)> {
        self.player.as_ref().map(|p| (p.speed(), p.remaining()))
    }

    /// Whether something moves without being told of: the spinner turns.
    pub fn is_waiting(&self) -> bool {
        matches!(self.live.phase, Phase::Loading(_)) || self.busy
    }

    fn replaying(&self) -> bool {
        self.player.as_ref().is_some_and(|p| p.remaining() > 0)
    }

    /// The context whose keys hold now.
    pub fn context(&self) -> Context {
        match self.focus {
            PaneId::Prompt => Context::Input,
            _ => Context::Pane,
        }
    }

    /// When [`App::tick`] has something to do, if it will.
    pub fn wake_us(&self) -> Option<Micros> {
        self.player.as_ref().and_then(Player::due_us)
    }

    /// Plays what is due of a replay. Returns whether anything changed.
    pub fn tick(&mut self, now_us: Micros) -> bool {
        let idle = self.ready && !self.busy && self.fatal.is_none();
        let mut changed = false;
        if idle && let Some(player) = &mut self.player {
            player.begin(now_us);
        }
        while let Some(event) = self.player.as_mut().and_then(|p| p.next(now_us)) {
            changed = true;
            match event.edit {
                Edit::Enter => self.submit(event.t_us),
                edit => self.edit(&PromptKey::Replay(&edit), event.t_us),
            }
        }
        changed
    }

    fn scroll(&mut self, rows: isize) {
        if self.help {
            self.help_scroll = self.help_scroll.saturating_add_signed(rows);
        } else {
            self.talk.scroll(rows);
        }
    }

    /// Carries out an action asked for at `now_us`.
    pub fn apply(&mut self, action: Action, now_us: Micros) {
        use PromptKey as K;
        // Under the help box the keys of the cursor move it.
        let action = match action {
            Action::CursorUp if self.help => Action::ScrollUp,
            Action::CursorDown if self.help => Action::ScrollDown,
            action => action,
        };
        if self.help && !works_in_help(action) {
            return;
        }
        let key = match action {
            Action::Submit => return self.user_submit(now_us),
            Action::Cancel => return self.cancel(),
            Action::Quit => return self.quit(),
            Action::Suspend => return self.effects.push(Effect::Suspend),
            Action::Redraw => return self.effects.push(Effect::Redraw),
            Action::NewConversation => return self.new_conversation(),
            Action::Help => {
                self.help = !self.help;
                self.help_scroll = 0;
                return;
            }
            Action::FocusNext => return self.focus = self.layout.neighbour(self.focus, 1),
            Action::FocusPrevious => return self.focus = self.layout.neighbour(self.focus, -1),
            Action::FocusInput => return self.focus = PaneId::Prompt,
            Action::Zoom => return self.toggle_zoom(self.focus),
            Action::Freeze => {
                self.frozen = match self.frozen.take() {
                    Some(_) => None,
                    None => Some(Box::new(self.live.clone())),
                };
                return;
            }
            Action::NextTheme => return self.next_theme(),
            Action::ToggleThinking => return self.talk.toggle_thoughts(),
            Action::ScrollUp => return self.scroll(-1),
            Action::ScrollDown => return self.scroll(1),
            Action::ScrollPageUp if self.help => return self.scroll(-10),
            Action::ScrollPageDown if self.help => return self.scroll(10),
            Action::ScrollPageUp => return self.talk.scroll_pages(-1),
            Action::ScrollPageDown => return self.talk.scroll_pages(1),
            Action::ScrollTop => return self.talk.scroll_to_start(),
            Action::ScrollEnd => return self.talk.follow(),
            Action::CursorUp if self.prompt.at_edge().0 => return self.recall(-1, now_us),
            Action::CursorDown if self.prompt.at_edge().1 => return self.recall(1, now_us),
            Action::Newline => K::Insert("\n"),
            Action::CursorLeft => K::Move(CursorMove::Back),
            Action::CursorRight => K::Move(CursorMove::Forward),
            Action::CursorUp => K::Move(CursorMove::Up),
            Action::CursorDown => K::Move(CursorMove::Down),
            Action::WordLeft => K::Move(CursorMove::WordBack),
            Action::WordRight => K::Move(CursorMove::WordForward),
            Action::LineStart => K::Move(CursorMove::Head),
            Action::LineEnd => K::Move(CursorMove::End),
            Action::TextStart => K::Move(CursorMove::Jump(0, 0)),
            Action::TextEnd => K::Move(CursorMove::Jump(u16::MAX, u16::MAX)),
            Action::DeleteBefore => K::DeleteBefore,
            Action::DeleteAfter => K::DeleteAfter,
            Action::DeleteWordBefore => K::DeleteWordBefore,
            Action::DeleteWordAfter => K::DeleteWordAfter,
            Action::DeleteToLineStart => K::DeleteToLineStart,
            Action::DeleteToLineEnd => K::DeleteToLineEnd,
            Action::Yank => K::Yank,
            Action::Undo => K::Undo,
            Action::Redo => K::Redo,
            Action::ClearPrompt => K::Clear,
        };
        self.user_edit(&key, now_us);
    }

    fn key_name(&self, action: Action) -> String {
        let key = self.keymap.key(self.context(), action);
        key.map_or_else(|| action.name().to_owned(), |k| k.to_string())
    }

    fn busy_remark(&self) -> String {
        format!(
            "an answer is under way; {} stops it",
            self.key_name(Action::Cancel)
        )
    }

    /// Refuses while a replay writes the prompt.
    fn held_by_replay(&mut self) -> bool {
        let held = self.replaying();
        if held {
            let key = self.key_name(Action::Cancel);
            self.toast = Some(format!("a replay writes the prompt; {key} ends it"));
        }
        held
    }

    fn user_edit(&mut self, key: &PromptKey<'_>, now_us: Micros) {
        if !self.held_by_replay() {
            self.edit(key, now_us);
        }
    }

    fn user_submit(&mut self, now_us: Micros) {
        if !self.held_by_replay() {
            self.submit(now_us);
        }
    }

    fn edit(&mut self, key: &PromptKey<'_>, now_us: Micros) {
        for event in self.prompt.key(key, now_us) {
            self.typed(event);
        }
    }

    fn recall(&mut self, step: isize, now_us: Micros) {
        if !self.held_by_replay() {
            for event in self.prompt.recall(step, now_us) {
                self.typed(event);
            }
        }
    }

    fn typed(&mut self, event: TypingEvent) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder(&event)
        {
            self.recorder = None;
            self.talk
                .push(Item::Notice(format!("recording has ended: {error}")));
        }
        self.effects.push(Effect::Send(Intent::Typing(event)));
    }

    fn submit(&mut self, now_us: Micros) {
        if self.fatal.is_some() {
            let key = self.key_name(Action::Quit);
            self.toast = Some(format!("the engine has stopped; {key} quits"));
        } else if self.busy {
            self.toast = Some(self.busy_remark());
        } else if !self.prompt.is_blank() {
            let (prompt, enter) = self.prompt.submit(now_us);
            self.typed(enter);
            self.talk.push(Item::Turn(Turn {
                prompt,
                thought: String::new(),
                thought_tokens: 0,
                answer: String::new(),
                state: TurnState::Waiting,
            }));
            self.busy = true;
        }
    }

    fn cancel(&mut self) {
        if self.help {
            self.help = false;
        } else if self.busy {
            self.toast = Some(self.stop().into());
        } else if self.replaying() {
            self.player = None;
            self.toast = Some("replay ended".into());
        } else if self.zoom.is_some() {
            self.zoom = None;
        } else {
            self.focus = PaneId::Prompt;
        }
    }

    /// Ends the answer under way; returns what to say of it.
    fn stop(&mut self) -> &'static str {
        self.effects.push(Effect::Send(Intent::Stop));
        match self.live.phase {
            Phase::Loading(_) => "the prompt is stopped as soon as the models are loaded",
            _ => "stopping after the pass under way",
        }
    }

    fn toggle_zoom(&mut self, pane: PaneId) {
        self.zoom = match self.zoom {
            Some(_) => None,
            None => Some(pane),
        };
    }

    fn next_theme(&mut self) {
        let names = self.themes.names();
        let at = names.iter().position(|n| *n == self.theme.name);
        let next = &names[at.map_or(0, |i| (i + 1) % names.len())];
        match self.themes.load(next) {
            Ok(theme) => {
                self.toast = Some(format!("theme: {}", theme.name));
                self.theme = theme;
            }
            Err(error) => {
                // The footer has one line: the place and what is wrong there.
                let error = error.to_string();
                self.toast = error.lines().next().map(str::to_owned);
                // The broken one is passed over at the next key.
                self.theme.name.clone_from(next);
            }
        }
    }
}

/// Under the help box only what moves or closes it works, and what concerns the whole workbench.
fn works_in_help(action: Action) -> bool {
    matches!(
        action,
        Action::Help
            | Action::Cancel
            | Action::Quit
            | Action::Suspend
            | Action::Redraw
            | Action::NextTheme
            | Action::ScrollUp
            | Action::ScrollDown
            | Action::ScrollPageUp
            | Action::ScrollPageDown
    )
}
