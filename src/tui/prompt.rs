//! The prompt being written: the text area, what was sent before, and the typing events.
//!
//! Every change goes through [`Prompt::key`], which compares the text before and after
//! (see [`edits`](super::edits())) unless text is only put in; so typing, pasting, undo, history and replayed traces all
//! reach the session by the same path. Event times count from the prompt's first event.

use super::edits::{TextState, edits};
use crate::typing::{Edit, TypingEvent};
use crate::units::Micros;
use tui_textarea::{CursorMove, TextArea, WrapMode};

/// Something that changes the text or moves its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptKey<'a> {
    Insert(&'a str),
    Paste(&'a str),
    Move(CursorMove),
    DeleteBefore,
    DeleteAfter,
    DeleteWordBefore,
    DeleteWordAfter,
    DeleteToLineStart,
    DeleteToLineEnd,
    Yank,
    Undo,
    Redo,
    Clear,
    /// Puts this text in the place of all there is.
    Replace(&'a str),
    /// To this row and column of the drawn area.
    Click {
        row: u16,
        column: u16,
    },
    /// An edit of a recorded trace.
    Replay(&'a Edit),
}

impl PromptKey<'static> {
    /// One of each that needs no argument.
    #[cfg(test)]
    pub const EDITING: [Self; 17] = [
        Self::Move(CursorMove::Back),
        Self::DeleteBefore,
        Self::Move(CursorMove::Forward),
        Self::DeleteAfter,
        Self::Move(CursorMove::Up),
        Self::DeleteWordBefore,
        Self::Undo,
        Self::Redo,
        Self::Move(CursorMove::Down),
        Self::DeleteWordAfter,
        Self::Move(CursorMove::WordBack),
        Self::DeleteToLineStart,
        Self::Yank,
        Self::DeleteToLineEnd,
        Self::Move(CursorMove::Head),
        Self::Clear,
        Self::Move(CursorMove::End),
    ];
}

/// The text area with what belongs to it.
pub struct Prompt {
    area: TextArea<'static>,
    /// When the first event of this prompt happened.
    first_us: Option<Micros>,
    /// Prompts that were sent, and texts that were left unsent for one of them.
    history: Vec<String>,
    recalled: Option<Recalled>,
}

/// The history while it is gone through: like a shell's, every entry keeps what is changed
/// of it until a prompt is sent.
struct Recalled {
    /// The history, then the text that was there before.
    entries: Vec<String>,
    /// The one in the prompt.
    shown: usize,
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            area: fresh_area(),
            first_us: None,
            history: Vec::new(),
            recalled: None,
        }
    }
}

impl Prompt {
    /// The text area, for drawing.
    pub fn area_mut(&mut self) -> &mut TextArea<'static> {
        &mut self.area
    }

    /// The text with its lines joined.
    pub fn text(&self) -> String {
        self.area.lines().join("\n")
    }

    pub fn is_blank(&self) -> bool {
        self.area.lines().iter().all(|l| l.trim().is_empty())
    }

    /// Rows that the text takes at the width it was last drawn with.
    pub fn rows(&self, width: u16) -> usize {
        let width = usize::from(width.max(1));
        let area = &self.area;
        area.lines()
            .iter()
            .map(|l| super::wrap::wrap_line(l, width).len())
            .sum()
    }

    pub fn state(&self) -> TextState {
        let cursor = self.area.cursor();
        let lines = self.area.lines();
        let before: usize = lines[..cursor.0]
            .iter()
            .map(|l| l.chars().count() + 1)
            .sum();
        TextState {
            text: self.text().chars().collect(),
            cursor: before + cursor.1,
        }
    }

    /// Whether the cursor is in the first row, or in the last, of the text as it is wrapped.
    pub fn at_edge(&self) -> (bool, bool) {
        let row = self.area.screen_cursor().row;
        // Below the last row there is only that row again.
        let is_last = self.area.screen_to_data(row + 1, 0) == self.area.screen_to_data(row, 0);
        (row == 0, is_last)
    }

    /// Carries out a key pressed at `now_us`; returns what it did to the text.
    pub fn key(&mut self, key: &PromptKey<'_>, now_us: Micros) -> Vec<TypingEvent> {
        // It goes in at the cursor: nothing need be compared, which takes long in a long text.
        if let PromptKey::Insert(text) | PromptKey::Paste(text) = key {
            let text = clean(text);
            let paste = matches!(key, PromptKey::Paste(_));
            return match self.area.insert_str(&text) {
                true => vec![self.stamp(Edit::Insert { text, paste }, now_us)],
                false => Vec::new(),
            };
        }
        let before = self.state();
        let area = &mut self.area;
        match key {
            PromptKey::Insert(_) | PromptKey::Paste(_) => {}
            PromptKey::Move(to) => area.move_cursor(*to),
            PromptKey::DeleteBefore => {
                area.delete_char();
            }
            PromptKey::DeleteAfter => {
                area.delete_next_char();
            }
            PromptKey::DeleteWordBefore => {
                area.delete_word();
            }
            PromptKey::DeleteWordAfter => {
                area.delete_next_word();
            }
            PromptKey::DeleteToLineStart => {
                area.delete_line_by_head();
            }
            PromptKey::DeleteToLineEnd => {
                area.delete_line_by_end();
            }
            PromptKey::Yank => {
                area.paste();
            }
            PromptKey::Undo => {
                area.undo();
            }
            PromptKey::Redo => {
                area.redo();
            }
            PromptKey::Clear => {
                area.clear();
            }
            PromptKey::Replace(text) => {
                area.clear();
                area.insert_str(clean(text));
            }
            PromptKey::Click { row, column } => {
                let (top, left) = area.scroll_offset();
                let at = area.screen_to_data((top + row).into(), (left + column).into());
                jump(area, at.0, at.1);
            }
            PromptKey::Replay(edit) => self.replay(edit, before.cursor),
        }
        let paste = matches!(key, PromptKey::Replay(Edit::Insert { paste: true, .. }));
        let after = self.state();
        edits(&before, &after, paste)
            .into_iter()
            .map(|edit| self.stamp(edit, now_us))
            .collect()
    }

    fn replay(&mut self, edit: &Edit, cursor: usize) {
        match edit {
            Edit::Insert { text, .. } => {
                self.area.insert_str(text);
            }
            Edit::Backspace => {
                self.area.delete_char();
            }
            Edit::Cursor { pos } => self.jump_to(*pos),
            Edit::Delete { start, end } => {
                self.jump_to(*start);
                if end > start {
                    self.area.delete_str(end - start);
                } else {
                    self.jump_to(cursor);
                }
            }
            Edit::Enter => {}
        }
    }

    fn jump_to(&mut self, mut pos: usize) {
        for (row, line) in self.area.lines().iter().enumerate() {
            let len = line.chars().count();
            if pos <= len {
                return jump(&mut self.area, row, pos);
            }
            pos -= len + 1;
        }
        self.area.move_cursor(CursorMove::Bottom);
        self.area.move_cursor(CursorMove::End);
    }

    /// Takes the text away as a sent prompt; the event is its `Enter`.
    pub fn submit(&mut self, now_us: Micros) -> (String, TypingEvent) {
        let text = self.text();
        let enter = self.stamp(Edit::Enter, now_us);
        if let Some(mut recalled) = self.recalled.take()
            && recalled.shown + 1 < recalled.entries.len()
            && let Some(left) = recalled.entries.pop().filter(|t| !t.trim().is_empty())
        {
            // What waited for the recalled prompt is not lost by its being sent.
            self.history.push(left);
        }
        if self.history.last() != Some(&text) {
            self.history.push(text.clone());
        }
        // The next prompt has its own clock, and what was sent cannot be undone; what was
        // cut before can still be put back.
        let cut = self.area.yank_text();
        self.area = fresh_area();
        self.area.set_yank_text(cut);
        self.first_us = None;
        (text, enter)
    }

    /// Shows the prompt of the history before (`-1`) or after (`+1`) the one shown; after the
    /// last comes the text that was there before.
    pub fn recall(&mut self, step: isize, now_us: Micros) -> Vec<TypingEvent> {
        let mut recalled = self.recalled.take().unwrap_or_else(|| Recalled {
            entries: self
                .history
                .iter()
                .cloned()
                .chain([String::new()])
                .collect(),
            shown: self.history.len(),
        });
        let next = recalled.shown.checked_add_signed(step);
        let mut events = Vec::new();
        if let Some(next) = next.filter(|n| *n < recalled.entries.len()) {
            recalled.entries[recalled.shown] = self.text();
            recalled.shown = next;
            events = self.key(&PromptKey::Replace(&recalled.entries[next]), now_us);
        }
        self.recalled = Some(recalled);
        events
    }

    fn stamp(&mut self, edit: Edit, now_us: Micros) -> TypingEvent {
        let first = *self.first_us.get_or_insert(now_us);
        TypingEvent {
            t_us: now_us.saturating_sub(first),
            edit,
        }
    }
}

fn fresh_area() -> TextArea<'static> {
    let mut area = TextArea::default();
    area.set_wrap_mode(WrapMode::WordOrGlyph);
    area.set_tab_length(4);
    area
}

fn jump(area: &mut TextArea<'_>, row: usize, column: usize) {
    let clamp = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    area.move_cursor(CursorMove::Jump(clamp(row), clamp(column)));
}

/// A text as the area keeps what is pasted: line ends of one form, and no control characters,
/// which would be invisible in the prompt and real to the model, or to a terminal.
pub fn clean(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|&c| c == '\n' || c == '\t' || !c.is_control())
        .collect()
}

/// A name as a line for people shows it: no control characters, no line ends, and nothing that
/// turns the order of what follows.
pub fn clean_line(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean: String = clean(text).chars().filter(|&c| !turns(c)).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::widgets::Widget;

    fn typed(prompt: &mut Prompt, text: &str, at: Micros) -> Vec<TypingEvent> {
        prompt.key(&PromptKey::Insert(text), at)
    }

    #[test]
    fn a_name_is_one_line_that_commands_nothing() {
        let name = "evil\x1b]0;t\x07\r\nname\t\u{202e}abc \u{9b}1m";
        assert_eq!(clean_line(name), "evil]0;t name abc 1m");
        assert_eq!(clean(name), "evil]0;t\nname\t\u{202e}abc 1m");
    }

    #[test]
    fn times_count_from_the_first_event_of_each_prompt() {
        let mut prompt = Prompt::default();
        assert_eq!(typed(&mut prompt, "a", 1_000)[0].t_us, 0);
        assert_eq!(typed(&mut prompt, "b", 1_250)[0].t_us, 250);
        let (text, enter) = prompt.submit(2_000);
        assert_eq!(
            (text.as_str(), enter.t_us, enter.edit),
            ("ab", 1_000, Edit::Enter)
        );
        assert!(prompt.key(&PromptKey::Undo, 2_500).is_empty());
        assert_eq!(typed(&mut prompt, "c", 9_000)[0].t_us, 0);
        assert_eq!(prompt.text(), "c");
    }

    #[test]
    fn a_paste_is_one_event_and_loses_its_control_characters() {
        let mut prompt = Prompt::default();
        let events = prompt.key(&PromptKey::Paste("a\r\nb\u{1b}[31mc\rd"), 0);
        let wanted = Edit::Insert {
            text: "a\nb[31mc\nd".into(),
            paste: true,
        };
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].edit, wanted);
    }

    #[test]
    fn history_walks_back_and_returns_to_the_unsent_text() {
        let mut prompt = Prompt::default();
        for text in ["one", "two"] {
            typed(&mut prompt, text, 0);
            prompt.submit(0);
        }
        typed(&mut prompt, "draft", 0);
        prompt.recall(-1, 0);
        assert_eq!(prompt.text(), "two");
        prompt.recall(-1, 0);
        assert_eq!(prompt.text(), "one");
        assert!(prompt.recall(-1, 0).is_empty());
        prompt.recall(1, 0);
        prompt.recall(1, 0);
        assert_eq!(prompt.text(), "draft");
        assert!(prompt.recall(1, 0).is_empty());
    }

    #[test]
    fn editing_a_recalled_prompt_loses_no_other_text() {
        let mut prompt = Prompt::default();
        for text in ["one", "two"] {
            typed(&mut prompt, text, 0);
            prompt.submit(0);
        }
        typed(&mut prompt, "draft", 0);
        prompt.recall(-1, 0);
        typed(&mut prompt, "!", 0);
        prompt.recall(1, 0);
        assert_eq!(prompt.text(), "draft");
        prompt.recall(-1, 0);
        assert_eq!(prompt.text(), "two!", "as it was left");
        assert_eq!(prompt.submit(0).0, "two!");
        assert_eq!(prompt.text(), "");
        // The sent one comes first, then the draft that waited for it, then the old ones.
        for text in ["two!", "draft", "two", "one"] {
            prompt.recall(-1, 0);
            assert_eq!(prompt.text(), text);
        }
    }

    #[test]
    fn the_edges_are_those_of_the_wrapped_text() {
        let mut prompt = Prompt::default();
        typed(&mut prompt, "four words in rows", 0);
        let area = Rect::new(0, 0, 11, 4);
        (&*prompt.area_mut()).render(area, &mut Buffer::empty(area));
        // "four words ", "in rows"
        assert_eq!(prompt.at_edge(), (false, true));
        prompt.key(&PromptKey::Move(CursorMove::Up), 0);
        assert_eq!(prompt.at_edge(), (true, false));
        typed(&mut prompt, "\n\n", 0);
        prompt.key(&PromptKey::Move(CursorMove::Up), 0);
        assert_eq!(prompt.at_edge(), (false, false));
        prompt.key(&PromptKey::Clear, 0);
        assert_eq!(prompt.at_edge(), (true, true));
    }

    #[test]
    fn a_recorded_trace_makes_the_recorded_text() {
        let mut prompt = Prompt::default();
        for edit in [
            Edit::Insert {
                text: "fn man\n()".into(),
                paste: true,
            },
            Edit::Cursor { pos: 5 },
            Edit::Insert {
                text: "i".into(),
                paste: false,
            },
            Edit::Delete { start: 7, end: 8 },
            Edit::Cursor { pos: 9 },
            Edit::Backspace,
        ] {
            let events = prompt.key(&PromptKey::Replay(&edit), 0);
            assert_eq!(events.len(), 1, "{edit:?}");
            assert_eq!(events[0].edit, edit);
        }
        assert_eq!(prompt.text(), "fn main(");
    }
}
