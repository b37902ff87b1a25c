//! The rows of one entry of the conversation: prompt, thought, answer, figures.
//!
//! Invariant: a row's place counts bytes of its entry, so that it is the same at any width. A
//! thought's bytes count where it is folded, too. Of a line about it only its end does: its length
//! changes.

use super::conversation::{Item, Turn, TurnState};
use super::text::{think_cut, tokens};
use super::wrap::{TAB, wrap_line};
use crate::telemetry::{AnswerEnd, AnswerStats};

/// What a row is part of; the pane gives each its style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    User,
    Text,
    Heading,
    Code,
    Fence,
    Waiting,
    /// How much is being thought, and how much was.
    Thinking,
    Thought,
    /// The thought itself.
    ThoughtText,
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
    /// Bytes of its entry before it, each line with its end: the same place at any width.
    pub(super) at: usize,
}

/// All rows of an entry; thoughts are a line where they are not shown.
pub(super) fn rows(item: &Item, width: usize, shows_thoughts: bool) -> Vec<Row> {
    let mut rows = Rows::default();
    match item {
        Item::Turn(turn) => {
            // The user's rows carry a mark of two columns.
            rows.wrapped(&turn.prompt, width.saturating_sub(2), |_| RowKind::User);
            rows.line(RowKind::Blank, "");
            thought(&mut rows, turn, width, shows_thoughts);
            answer(&mut rows, turn, width);
        }
        Item::Notice(text) => rows.wrapped(text, width, |_| RowKind::Notice),
        Item::Fatal(text) => rows.wrapped(text, width, |_| RowKind::Error),
        Item::NewConversation => rows.line(RowKind::Divider, "new conversation"),
    }
    rows.line(RowKind::Blank, "");
    rows.rows
}

fn thought(rows: &mut Rows, turn: &Turn, width: usize, shown: bool) {
    if turn.thought.is_empty() {
        return;
    }
    let tokens = tokens(turn.thought_tokens);
    let under_way = matches!(turn.state, TurnState::Streaming) && turn.answer.is_empty();
    match under_way {
        true => rows.remark(RowKind::Thinking, &format!("thinking, {tokens}")),
        false => rows.remark(RowKind::Thought, &format!("thought, {tokens}")),
    }
    match shown {
        true => {
            let text = turn.thought.trim_end();
            rows.wrapped(text, width.saturating_sub(2), |_| RowKind::ThoughtText);
        }
        false => rows.skip(turn.thought.trim_end()),
    }
    if !turn.answer.is_empty() {
        rows.remark(RowKind::Blank, "");
    }
}

fn answer(rows: &mut Rows, turn: &Turn, width: usize) {
    let mut in_code = false;
    // A trailing line end would show as an empty row before the figures.
    let text = match turn.state {
        TurnState::Streaming | TurnState::Waiting => turn.answer.as_str(),
        _ => turn.answer.trim_end(),
    };
    if !text.is_empty() {
        rows.wrapped(text, width, |line| {
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
        TurnState::Waiting => rows.line(RowKind::Waiting, ""),
        TurnState::Streaming => {}
        TurnState::Done(stats) => {
            rows.line(RowKind::Blank, "");
            for line in figures(stats, width) {
                rows.line(RowKind::Figures, &line);
            }
            if let Some(cut) = think_cut(stats) {
                rows.wrapped(&cut, width, |_| RowKind::Figures);
            }
        }
        TurnState::Failed(error) => rows.wrapped(error, width, |_| RowKind::Error),
    }
}

/// The rows of an entry as they are made.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    /// Bytes of the lines so far.
    at: usize,
}

impl Rows {
    /// A line that is a row as it is.
    fn line(&mut self, kind: RowKind, text: &str) {
        self.remark(kind, text);
        self.at += text.len();
    }

    /// The same for a line whose length changes: of its bytes only its end counts.
    fn remark(&mut self, kind: RowKind, text: &str) {
        self.rows.push(Row {
            kind,
            text: text.to_owned(),
            at: self.at,
        });
        self.at += 1;
    }

    /// Counts text that has no rows.
    fn skip(&mut self, text: &str) {
        let lines = text.split('\n').map(shown);
        self.at += lines.map(|line| line.len() + 1).sum::<usize>();
    }

    fn wrapped(&mut self, text: &str, width: usize, mut kind: impl FnMut(&str) -> RowKind) {
        for line in text.split('\n') {
            let line = shown(line);
            let kind = kind(&line);
            let at = self.at;
            self.rows
                .extend(wrap_line(&line, width).into_iter().map(|r| Row {
                    kind,
                    at: at + r.start,
                    text: line[r].to_owned(),
                }));
            self.at += line.len() + 1;
        }
    }
}

/// A line as it is shown.
fn shown(line: &str) -> String {
    line.trim_end_matches('\r').replace('\t', TAB)
}

/// A Markdown heading: one to six signs, then a space.
fn is_heading(line: &str) -> bool {
    let rest = line.trim_start_matches('#');
    (1..=6).contains(&(line.len() - rest.len())) && rest.starts_with(' ')
}

/// What was measured of a finished answer, the most telling first, in as few lines as hold it
/// without breaking a figure.
fn figures(stats: &AnswerStats, width: usize) -> Vec<String> {
    let mut parts = vec![tokens(stats.tokens)];
    parts.extend(stats.tokens_per_s.map(|r| format!("{r:.1} tokens/s")));
    let first = stats.ttft_ms.map(super::text::ms);
    parts.extend(first.map(|t| format!("first after {t}")));
    if stats.thinking_tokens > 0 {
        let answer = stats.first_answer_ms.map(super::text::ms);
        parts.extend(answer.map(|t| format!("answer after {t}")));
        parts.push(format!("{} thought", stats.thinking_tokens));
    }
    parts.extend(stats.accepted_per_pass.map(|a| format!("{a:.1} a pass")));
    let end = match stats.end {
        AnswerEnd::EndOfText | AnswerEnd::StopString => None,
        AnswerEnd::Length => Some("token limit"),
        AnswerEnd::Stopped => Some("stopped"),
        AnswerEnd::ContextFull => Some("context full"),
    };
    parts.extend(end.map(str::to_owned));

    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            // Figures are ASCII: bytes are columns.
            Some(line) if line.len() + part.len() + 2 <= width => *line += &format!(", {part}"),
            _ => lines.push(part),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_an_answer_are_short_and_whole() {
        let stats = AnswerStats {
            tokens: 16,
            tokens_per_s: Some(10.2),
            ttft_ms: Some(441.0),
            accepted_per_pass: Some(4.0),
            passes: 4,
            end: AnswerEnd::Length,
            ..AnswerStats::default()
        };
        assert_eq!(
            figures(&stats, 45),
            [
                "16 tokens, 10.2 tokens/s, first after 441 ms",
                "4.0 a pass, token limit"
            ]
        );
        assert_eq!(figures(&stats, 99).len(), 1);
        let thoughtful = AnswerStats {
            thinking_tokens: 9,
            first_answer_ms: Some(1900.0),
            ..stats
        };
        assert_eq!(
            figures(&thoughtful, 45),
            [
                "16 tokens, 10.2 tokens/s, first after 441 ms",
                "answer after 1.9 s, 9 thought, 4.0 a pass",
                "token limit"
            ]
        );
        let nothing = AnswerStats::default();
        assert_eq!(figures(&nothing, 45), ["0 tokens"]);
    }
}
