//! The conversation as it is shown: turns, their rows at a width, and the place scrolled to.
//!
//! Rows are kept for each turn and made again only when its text or the width changes, so
//! that a streamed piece costs its own turn's length and not the conversation's.

use super::wrap::{TAB, wrap_line};
use crate::telemetry::AnswerStats;

/// How far an answer is.
#[derive(Clone, Debug)]
pub enum TurnState {
    /// Sent; nothing of the answer yet.
    Waiting,
    Streaming,
    Done(Box<AnswerStats>),
    /// Ended by an error; what there is of the text stands.
    Failed(String),
}

/// A prompt and its answer.
#[derive(Clone, Debug)]
pub struct Turn {
    pub prompt: String,
    pub answer: String,
    pub state: TurnState,
}

/// Something in the conversation's order.
#[derive(Clone, Debug)]
pub enum Item {
    Turn(Turn),
    /// The engine's remark, or the workbench's own.
    Notice(String),
    /// What cannot be gone on from.
    Fatal(String),
    /// The model has forgotten what is above.
    NewConversation,
}

/// What a row is part of; the pane gives each its style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    User,
    Text,
    Heading,
    Code,
    Fence,
    Waiting,
    Figures,
    Notice,
    Error,
    Divider,
    Blank,
}

/// One row of the pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub kind: RowKind,
    pub text: String,
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
    /// First visible row; `None` follows the end.
    top: Option<usize>,
    /// Of the last layout.
    total_rows: usize,
    height: usize,
}

impl Conversation {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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

    /// Lays the items out for a pane of this size.
    pub fn layout(&mut self, width: usize, height: usize) {
        self.total_rows = 0;
        for entry in &mut self.entries {
            if entry.width != width {
                entry.rows = rows(&entry.item, width);
                entry.width = width;
            }
            self.total_rows += entry.rows.len();
        }
        self.height = height;
        if self.top.is_some_and(|top| top >= self.max_top()) {
            self.top = None;
        }
    }

    /// The rows to show, of the last layout.
    pub fn visible(&self) -> impl Iterator<Item = &Row> {
        self.entries
            .iter()
            .flat_map(|e| &e.rows)
            .skip(self.top())
            .take(self.height)
    }

    /// First visible row, all rows, and rows below what is visible.
    pub fn position(&self) -> (usize, usize, usize) {
        let below = self.total_rows.saturating_sub(self.top() + self.height);
        (self.top(), self.total_rows, below)
    }

    fn max_top(&self) -> usize {
        self.total_rows.saturating_sub(self.height)
    }

    fn top(&self) -> usize {
        self.top.unwrap_or_else(|| self.max_top())
    }

    /// Moves by rows; reaching the end follows it again.
    pub fn scroll(&mut self, rows: isize) {
        let top = self.top().saturating_add_signed(rows);
        self.top = (top < self.max_top()).then_some(top);
    }

    /// Moves by pages, keeping a row of the one before.
    pub fn scroll_pages(&mut self, pages: isize) {
        let page = self.height.saturating_sub(1).max(1);
        self.scroll(pages * isize::try_from(page).unwrap_or(isize::MAX));
    }

    pub fn scroll_to_start(&mut self) {
        self.top = (self.max_top() > 0).then_some(0);
    }

    pub fn follow(&mut self) {
        self.top = None;
    }
}

fn rows(item: &Item, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    match item {
        Item::Turn(turn) => {
            // The user's rows carry a mark of two columns.
            wrapped(&mut rows, &turn.prompt, width.saturating_sub(2), |_| {
                RowKind::User
            });
            rows.push(blank());
            answer(&mut rows, turn, width);
        }
        Item::Notice(text) => wrapped(&mut rows, text, width, |_| RowKind::Notice),
        Item::Fatal(text) => wrapped(&mut rows, text, width, |_| RowKind::Error),
        Item::NewConversation => rows.push(Row {
            kind: RowKind::Divider,
            text: "new conversation".into(),
        }),
    }
    rows.push(blank());
    rows
}

fn answer(rows: &mut Vec<Row>, turn: &Turn, width: usize) {
    let mut in_code = false;
    // A trailing line end would show as an empty row before the figures.
    let text = match turn.state {
        TurnState::Streaming | TurnState::Waiting => turn.answer.as_str(),
        _ => turn.answer.trim_end(),
    };
    if !text.is_empty() {
        wrapped(rows, text, width, |line| {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
                return RowKind::Fence;
            }
            match in_code {
                true => RowKind::Code,
                false if is_heading(line) => RowKind::Heading,
                false => RowKind::Text,
            }
        });
    }
    match &turn.state {
        TurnState::Waiting => rows.push(Row {
            kind: RowKind::Waiting,
            text: String::new(),
        }),
        TurnState::Streaming => {}
        TurnState::Done(stats) => {
            rows.push(blank());
            wrapped(rows, &figures(stats), width, |_| RowKind::Figures);
        }
        TurnState::Failed(error) => wrapped(rows, error, width, |_| RowKind::Error),
    }
}

/// A Markdown heading: one to six signs, then a space.
fn is_heading(line: &str) -> bool {
    let rest = line.trim_start_matches('#');
    (1..=6).contains(&(line.len() - rest.len())) && rest.starts_with(' ')
}

fn blank() -> Row {
    Row {
        kind: RowKind::Blank,
        text: String::new(),
    }
}

fn wrapped(rows: &mut Vec<Row>, text: &str, width: usize, mut kind: impl FnMut(&str) -> RowKind) {
    for line in text.split('\n') {
        let line = line.trim_end_matches('\r').replace('\t', TAB);
        let kind = kind(&line);
        rows.extend(wrap_line(&line, width).into_iter().map(|r| Row {
            kind,
            text: line[r].to_owned(),
        }));
    }
}

/// One line about a finished answer; all of it measured.
fn figures(stats: &AnswerStats) -> String {
    use crate::telemetry::AnswerEnd;
    let mut parts = vec![match stats.tokens {
        1 => "1 token".to_owned(),
        n => format!("{n} tokens"),
    }];
    parts.extend(stats.tokens_per_s.map(|r| format!("{r:.1} tokens/s")));
    parts.extend(
        stats
            .ttft_ms
            .map(|t| format!("TTFT {}", super::text::ms(t))),
    );
    let mean = stats.accepted_per_pass;
    let mean = mean.map_or_else(String::new, |a| format!(" of {a:.1} tokens"));
    parts.push(format!("{} passes{mean}", stats.passes));
    parts.extend(match stats.end {
        AnswerEnd::EndOfText => None,
        AnswerEnd::Length => Some("ended at the token limit".to_owned()),
        AnswerEnd::Stopped => Some("stopped".to_owned()),
        AnswerEnd::ContextFull => Some("ended because the context is full".to_owned()),
    });
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(answer: &str) -> Item {
        Item::Turn(Turn {
            prompt: "ask".into(),
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
    fn code_and_headings_are_told_from_text() {
        let mut talk = Conversation::default();
        talk.push(turn("# Title\n#not\n```rust\n# code\n```\ntext"));
        talk.layout(40, 99);
        let kinds: Vec<RowKind> = talk.visible().skip(2).map(|r| r.kind).collect();
        use RowKind::{Blank, Code, Fence, Heading, Text};
        assert_eq!(kinds, [Heading, Text, Fence, Code, Fence, Text, Blank]);
    }
}
