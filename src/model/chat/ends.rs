//! What ends an answer: tokens that the vocabulary is known to have for it, tokens that the file
//! names, and what the template writes after an answer.
//!
//! ```text
//!  <|im_start|>assistant\nIt is.<|im_end|>\n<|im_start|>user\nAnd?     a control token: it ends
//!  ### Assistant:\nIt is.\n\n### User:\nAnd?                           text: a stop string
//!                        '-------- what comes after an answer
//! ```

use super::jinja::Message;
use super::marks::ControlNames;
use super::{Form, PROBES};
use crate::model::Tokenizer;
use crate::units::TokenId;

/// The longest tag that is taken for a stop string by itself, in bytes.
const TAG_BYTES: usize = 48;

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub tokens: Vec<TokenId>,
    /// Each goes over any number of tokens.
    pub stops: Vec<String>,
}

impl Ends {
    /// Those of a vocabulary, and of a form by a conversation that is tried.
    pub(super) fn new(tokenizer: &Tokenizer, names: &ControlNames, form: &Form) -> Self {
        let mut ends = Self {
            tokens: tokenizer.ends(),
            stops: Vec::new(),
        };
        match after_an_answer(form).map(|after| first_piece(names, &after)) {
            Some(Piece::Control(token)) => ends.tokens.push(token),
            Some(Piece::Text(text)) => ends.stops.push(text),
            Some(Piece::Nothing) | None => {}
        }
        ends
    }
}

/// What the form writes between an answer and the next prompt.
fn after_an_answer(form: &Form) -> Option<String> {
    let message = |role, content| Message::new(role, content);
    let text = form.render(
        &[
            message("user", PROBES.user),
            message("assistant", PROBES.answer),
            message("user", PROBES.later_user),
        ],
        true,
    );
    let text = text.ok()?;
    let (_, after) = text.split_once(PROBES.answer)?;
    let (after, _) = after.split_once(PROBES.later_user)?;
    Some(after.to_owned())
}

/// What a text begins with.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Nothing,
    Control(TokenId),
    Text(String),
}

/// A control token, a tag, or else the first line with the line end or the space before it.
fn first_piece(names: &ControlNames, after: &str) -> Piece {
    let begun = after.trim_start();
    if let Some((place, token)) = names.find(begun).next()
        && place.start == 0
    {
        return Piece::Control(token);
    }
    let line = begun.lines().next().unwrap_or_default();
    let line = match names.find(line).next() {
        Some((control, _)) => &line[..control.start],
        None => line,
    };
    let line = line.trim_end();
    if line.is_empty() {
        return Piece::Nothing;
    }
    let closed_by = match line.chars().next() {
        Some('<') => Some('>'),
        Some('[') => Some(']'),
        _ => None,
    };
    if let Some(end) = closed_by.and_then(|close| line.find(close))
        && end < TAG_BYTES
    {
        return Piece::Text(line[..=end].to_owned());
    }
    let before = after[..after.len() - begun.len()].chars().next_back();
    Piece::Text(before.into_iter().chain(line.chars()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_an_answer_ends_it() {
        let names = ControlNames::new(vec![("<|im_end|>".to_owned(), TokenId(7))]);
        let text = |text: &str| Piece::Text(text.to_owned());
        for (after, piece) in [
            ("<|im_end|>\n<|im_start|>user\n", Piece::Control(TokenId(7))),
            ("\n<|im_end|>", Piece::Control(TokenId(7))),
            (
                "<end_of_turn>\n<start_of_turn>user\n",
                text("<end_of_turn>"),
            ),
            ("</s>[INST] ", text("</s>")),
            (" [INST] ", text("[INST]")),
            ("\n\n### User:\n", text("\n### User:")),
            (" USER: ", text(" USER:")),
            ("\nUser:<|im_end|>", text("\nUser:")),
            ("\n\n", Piece::Nothing),
            ("", Piece::Nothing),
        ] {
            assert_eq!(first_piece(&names, after), piece, "{after:?}");
        }
    }
}
