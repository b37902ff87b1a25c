//! What the terminal tells the workbench: keys, pastes, the mouse, its window's focus.

use super::{App, PaneId, PromptKey};
use crate::units::Micros;
use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

/// Rows that a turn of the mouse wheel moves.
const WHEEL_ROWS: isize = 3;

impl App {
    /// Takes an event of the terminal.
    pub fn input(&mut self, event: &Event, at_us: Micros) {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key, at_us),
            Event::Paste(text) if !self.help => {
                self.heed(None);
                self.focus = PaneId::Prompt;
                self.user_edit(&PromptKey::Paste(text), at_us);
            }
            Event::Mouse(mouse) => self.mouse(*mouse, at_us),
            Event::FocusGained => self.window_focused = true,
            Event::FocusLost => self.window_focused = false,
            Event::Key(_) | Event::Paste(_) | Event::Resize(..) => {}
        }
    }

    fn key(&mut self, key: KeyEvent, at_us: Micros) {
        let action = self.keymap.action(self.context(), key);
        self.heed(action);
        if let Some(action) = action {
            return self.apply(action, at_us);
        }
        let typed = !key
            .modifiers
            .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SUPER);
        if let KeyCode::Char(c) = key.code
            && typed
            && !self.help
        {
            // Wherever the focus is, what is typed is text.
            self.focus = PaneId::Prompt;
            self.user_edit(&PromptKey::Insert(c.encode_utf8(&mut [0; 4])), at_us);
        }
    }

    fn mouse(&mut self, mouse: MouseEvent, at_us: Micros) {
        let pane = self.layout.hit(mouse.column, mouse.row);
        let wheel = match mouse.kind {
            MouseEventKind::ScrollUp => -WHEEL_ROWS,
            MouseEventKind::ScrollDown => WHEEL_ROWS,
            MouseEventKind::Down(MouseButton::Left) if !self.help => {
                if let Some(pane) = pane {
                    self.heed(None);
                    self.click(pane, mouse, at_us);
                }
                return;
            }
            _ => return,
        };
        self.scroll(wheel);
    }

    /// A click on a title zooms its pane, one in the prompt moves the cursor. The focus goes
    /// to no other pane: letters are commands there, and who clicks goes on typing.
    fn click(&mut self, pane: PaneId, mouse: MouseEvent, at_us: Micros) {
        let Some(area) = self.layout.area(pane) else {
            return;
        };
        if mouse.row == area.y {
            return self.toggle_zoom(pane);
        }
        if pane != PaneId::Prompt {
            return;
        }
        self.focus = pane;
        // Inside the border.
        let row = mouse.row.saturating_sub(area.y + 1);
        let column = mouse.column.saturating_sub(area.x + 1);
        if !self.replaying() {
            self.edit(&PromptKey::Click { row, column }, at_us);
        }
    }
}
