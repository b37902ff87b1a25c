//! The conversation as it is shown: turns, their rows at a width, and the place scrolled to.
//!
//! Rows are kept for each turn and made again only when its text or the width changes, so
//! that a streamed piece costs its own turn's length and not the conversation's. The place
//! that a reader has scrolled to is a place in the text, so that it outlives both.

use super::prompt::clean;
use super::rows::{Row, rows};
use crate::telemetry::AnswerStats;

/// How far an answer is.
#[derive(Clone, Debug)]
pub enum TurnState {
    /// Sent; nothing of the answer yet.
    Waiting,
    Streaming,
    Done(Box<AnswerStats>),
    /// Ended by an error; what there is of the text is kept.
    Failed(String),
}

/// A prompt and its answer.
#[derive(Clone, Debug)]
pub struct Turn {
    pub prompt: String,
    /// What was thought before the answer, and its tokens.
    pub thought: String,
    pub thought_tokens: u64,
    pub answer: String,
    pub state: TurnState,
}

/// Something in the conversation's order.
#[derive(Clone, Debug)]
pub enum Item {
    Turn(Turn),
    /// The engine's remark, or the workbench's own.
    Notice(String),
    /// An error after which nothing goes on.
    Fatal(String),
    /// The model has forgotten what is above.
    NewConversation,
}

/// A place in the text: an entry, and bytes of it as [`Row::at`] counts them.
#[derive(Clone, Copy)]
struct Place {
    entry: usize,
    at: usize,
}

struct Entry {
    item: Item,
    rows: Vec<Row>,
    /// Width for which `rows` hold; zero when they must be made again.
    width: usize,
}

/// All turns and what is visible of them.
#[derive(Default)]
pub struct Conversation {
    entries: Vec<Entry>,
    /// What the first visible row holds; `None` follows the end.
    top: Option<Place>,
    /// Whether thoughts are shown and not folded.
    shows_thoughts: bool,
    /// The first visible row, of the last layout like the two below.
    top_row: usize,
    total_rows: usize,
    height: usize,
}

impl Conversation {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether anything has been asked, forgotten or not.
    pub fn has_turns(&self) -> bool {
        self.entries.iter().any(|e| matches!(e.item, Item::Turn(_)))
    }

    /// Whether the model remembers anything of it.
    pub fn has_context(&self) -> bool {
        let items = self.entries.iter().rev().map(|e| &e.item);
        items
            .take_while(|i| !matches!(i, Item::NewConversation))
            .any(|i| matches!(i, Item::Turn(_)))
    }

    /// Adds an item and returns to following the end.
    pub fn push(&mut self, item: Item) {
        self.entries.push(Entry {
            item,
            rows: Vec::new(),
            width: 0,
        });
        if matches!(self.entries.last().map(|e| &e.item), Some(Item::Turn(_))) {
            self.top = None;
        }
    }

    /// The latest turn, to be changed.
    pub fn last_turn(&mut self) -> Option<&mut Turn> {
        let entry = self
            .entries
            .iter_mut()
            .rev()
            .find(|e| matches!(e.item, Item::Turn(_)))?;
        entry.width = 0;
        match &mut entry.item {
            Item::Turn(turn) => Some(turn),
            _ => None,
        }
    }

    /// Whether thoughts are shown; folded, a line says how long they are.
    pub fn shows_thoughts(&self) -> bool {
        self.shows_thoughts
    }

    /// Whether there are any.
    pub fn has_thoughts(&self) -> bool {
        self.turns().any(|turn| !turn.thought.is_empty())
    }

    /// Shows all thoughts, or folds them.
    pub fn toggle_thoughts(&mut self) {
        self.shows_thoughts = !self.shows_thoughts;
        for entry in &mut self.entries {
            if matches!(&entry.item, Item::Turn(turn) if !turn.thought.is_empty()) {
                entry.width = 0;
            }
        }
    }

    fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.entries.iter().filter_map(|entry| match &entry.item {
            Item::Turn(turn) => Some(turn),
            _ => None,
        })
    }

    /// Bytes of prompts and answers.
    pub fn text_len(&self) -> usize {
        let bytes = |turn: &Turn| turn.prompt.len() + turn.answer.len();
        self.turns().map(bytes).sum()
    }

    /// Prompts and answers as plain text, without what a terminal would take for commands.
    pub fn text(&self) -> String {
        let all: String = self
            .turns()
            .map(|turn| format!("> {}\n\n{}\n\n", turn.prompt, turn.answer))
            .collect();
        clean(&all)
    }

    /// Lays the items out for a pane of this size.
    pub fn layout(&mut self, width: usize, height: usize) {
        self.total_rows = 0;
        for entry in &mut self.entries {
            if entry.width != width {
                entry.rows = rows(&entry.item, width, self.shows_thoughts);
                entry.width = width;
            }
            self.total_rows += entry.rows.len();
        }
        self.height = height;
        let top = self.top.map_or(usize::MAX, |place| self.row_of(place));
        self.top_row = top.min(self.max_top());
    }

    /// The row that holds a place.
    fn row_of(&self, place: Place) -> usize {
        let before = self.entries.iter().take(place.entry);
        let before: usize = before.map(|e| e.rows.len()).sum();
        let inside = self
            .entries
            .get(place.entry)
            .map_or(0, |e| e.rows.partition_point(|row| row.at <= place.at));
        before + inside.saturating_sub(1)
    }

    /// The place that a row begins with.
    fn place_of(&self, mut row: usize) -> Option<Place> {
        for (entry, Entry { rows, .. }) in self.entries.iter().enumerate() {
            if let Some(row) = rows.get(row) {
                return Some(Place { entry, at: row.at });
            }
            row -= rows.len();
        }
        None
    }

    /// The rows to show, of the last layout.
    pub fn visible(&self) -> impl Iterator<Item = &Row> {
        self.entries
            .iter()
            .flat_map(|e| &e.rows)
            .skip(self.top_row)
            .take(self.height)
    }

    /// First visible row, all rows, and rows below what is visible.
    pub fn position(&self) -> (usize, usize, usize) {
        let below = self.total_rows.saturating_sub(self.top_row + self.height);
        (self.top_row, self.total_rows, below)
    }

    fn max_top(&self) -> usize {
        self.total_rows.saturating_sub(self.height)
    }

    fn scroll_to(&mut self, row: usize) {
        self.top_row = row.min(self.max_top());
        // Reaching the end follows it again.
        self.top = match row < self.max_top() {
            true => self.place_of(row),
            false => None,
        };
    }

    /// Moves by rows; reaching the end follows it again.
    pub fn scroll(&mut self, rows: isize) {
        self.scroll_to(self.top_row.saturating_add_signed(rows));
    }

    /// Moves by pages, keeping a row of the one before.
    pub fn scroll_pages(&mut self, pages: isize) {
        let page = self.height.saturating_sub(1).max(1);
        self.scroll(pages * isize::try_from(page).unwrap_or(isize::MAX));
    }

    pub fn scroll_to_start(&mut self) {
        self.scroll_to(0);
    }

    pub fn follow(&mut self) {
        self.scroll_to(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::RowKind;
    use super::*;

    fn turn(answer: &str) -> Item {
        Item::Turn(Turn {
            prompt: "ask".into(),
            thought: String::new(),
            thought_tokens: 0,
            answer: answer.into(),
            state: TurnState::Streaming,
        })
    }

    #[test]
    fn follows_the_end_until_scrolled_and_again_at_the_end() {
        let mut talk = Conversation::default();
        talk.push(turn(&"line\n".repeat(20)));
        talk.layout(20, 5);
        let (top, total, below) = talk.position();
        assert_eq!((top + 5, below), (total, 0));
        talk.scroll(-3);
        assert_eq!(talk.position(), (top - 3, total, 3));
        talk.last_turn().unwrap().answer += "more\nmore\n";
        talk.layout(20, 5);
        assert_eq!(
            talk.position(),
            (top - 3, total + 2, 5),
            "stays where it was"
        );
        talk.scroll(99);
        talk.last_turn().unwrap().answer += "more\n";
        talk.layout(20, 5);
        assert_eq!(talk.position().2, 0, "follows again");
    }

    #[test]
    fn a_reader_stays_at_the_text_at_every_size() {
        let mut talk = Conversation::default();
        let words: Vec<String> = (0..200).map(|n| format!("word{n}")).collect();
        talk.push(turn("an answer before"));
        talk.push(turn(&words.join(" ")));
        talk.push(Item::Notice("a remark after it".into()));
        talk.layout(80, 5);
        talk.scroll(-9);
        let first = |talk: &Conversation| talk.visible().next().unwrap().text.clone();
        let top = first(&talk);
        let word = top.split(' ').next().unwrap();
        for (width, height) in [(30, 5), (61, 9), (14, 3), (200, 99), (80, 5)] {
            talk.layout(width, height);
            let mut visible = talk.visible();
            match talk.position().2 {
                0 => assert!(visible.any(|r| r.text.contains(word)), "{width}"),
                _ => assert!(visible.next().unwrap().text.contains(word), "{width}"),
            }
        }
        assert_eq!(
            first(&talk),
            top,
            "back at the first size nothing has moved"
        );
        // What grows above a remark moves the remark, not the reader.
        talk.last_turn().unwrap().answer += &" and more".repeat(40);
        talk.layout(80, 5);
        assert_eq!(first(&talk), top);
    }

    #[test]
    fn a_reader_of_the_answer_stays_whatever_becomes_of_the_thought() {
        let mut talk = Conversation::default();
        let lines: String = (0..40).map(|n| format!("line {n}\n")).collect();
        talk.push(turn(&lines));
        let last = talk.last_turn().unwrap();
        last.thought = "First this.\n\tThen that.\n".repeat(3);
        last.thought_tokens = 9;
        talk.layout(30, 5);
        talk.scroll(-20);
        let first = |talk: &mut Conversation| {
            talk.layout(30, 5);
            talk.visible().next().unwrap().text.clone()
        };
        let top = first(&mut talk);
        talk.last_turn().unwrap().thought_tokens = 1_000_000;
        assert_eq!(first(&mut talk), top, "a growing count");
        talk.toggle_thoughts();
        assert_eq!(first(&mut talk), top, "shown");
        talk.toggle_thoughts();
        assert_eq!(first(&mut talk), top, "folded");
        // Every row can be gone to.
        talk.toggle_thoughts();
        for row in (0..20).rev() {
            talk.layout(30, 5);
            let (top, ..) = talk.position();
            talk.scroll(row - top as isize);
            talk.layout(30, 5);
            assert_eq!(talk.position().0, row as usize);
        }
    }

    #[test]
    fn thoughts_are_folded_until_they_are_asked_for() {
        let mut talk = Conversation::default();
        talk.push(turn(""));
        let seen = |talk: &mut Conversation| -> Vec<(RowKind, String)> {
            talk.layout(30, 99);
            let rows = talk.visible().skip(2);
            rows.map(|row| (row.kind, row.text.clone())).collect()
        };
        let row = |kind, text: &str| (kind, text.to_owned());
        assert!(!talk.has_thoughts());
        let last = talk.last_turn().unwrap();
        last.thought = "First this.\nThen that.\n".into();
        last.thought_tokens = 7;
        let blank = row(RowKind::Blank, "");
        let header = row(RowKind::Thinking, "thinking, 7 tokens");
        assert_eq!(seen(&mut talk), [header, blank.clone()]);
        talk.last_turn().unwrap().answer = "So.".into();
        let header = row(RowKind::Thought, "thought, 7 tokens");
        let said = row(RowKind::Text, "So.");
        let folded = [header.clone(), blank.clone(), said.clone(), blank.clone()];
        assert_eq!(seen(&mut talk), folded);
        talk.toggle_thoughts();
        let thoughts = ["First this.", "Then that."].map(|text| row(RowKind::ThoughtText, text));
        let shown = [&[header][..], &thoughts, &[blank.clone(), said, blank]].concat();
        assert_eq!(seen(&mut talk), shown);
        assert!(talk.has_thoughts() && !talk.text().contains("First"));
        talk.toggle_thoughts();
        assert_eq!(seen(&mut talk), folded);
    }

    #[test]
    fn what_a_new_conversation_would_forget_is_known() {
        let mut talk = Conversation::default();
        talk.push(Item::Notice("a remark".into()));
        assert!(!talk.has_turns() && !talk.has_context());
        talk.push(turn("answer"));
        assert!(talk.has_turns() && talk.has_context());
        talk.push(Item::NewConversation);
        assert!(talk.has_turns() && !talk.has_context());
    }

    #[test]
    fn what_a_shell_is_left_with_is_text_alone() {
        let mut talk = Conversation::default();
        assert_eq!(talk.text_len(), 0);
        talk.push(Item::Notice("a remark".into()));
        talk.push(turn("one\n\ttwo \u{1b}[2J"));
        talk.push(turn("three"));
        let text = talk.text();
        assert!(text.contains("one\n\ttwo [2J\n\n> "), "{text:?}");
        assert!(text.ends_with("three\n\n") && !text.contains("remark"));
        assert!(talk.text_len() > "one\n\ttwo three".len());
    }

    #[test]
    fn code_and_headings_are_told_from_text() {
        let mut talk = Conversation::default();
        talk.push(turn("# Title\n#not\n```rust\n# code\n```\ntext"));
        talk.layout(40, 99);
        let kinds: Vec<RowKind> = talk.visible().skip(2).map(|r| r.kind).collect();
        use RowKind::{Blank, Code, Fence, Heading, Text};
        assert_eq!(kinds, [Heading, Text, Fence, Code, Fence, Text, Blank]);
    }
}
