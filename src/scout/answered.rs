//! What an answer was, read off its text: what is learnt from it is filed under that, whatever the
//! prompt was taken for.

use crate::vocabulary::Label;
use std::collections::HashSet;

/// From this part of an answer on, what is code or quoted decides.
const MUCH: f64 = 0.3;
/// So many words in a row that the prompt has too are a quotation.
const QUOTED_WORDS: usize = 4;

/// The label of an answer to `prompt`, which a scout took for `guess`: code where much of it is
/// code, documents where much is quoted from the prompt or the scout took it for that, and talk
/// otherwise.
pub fn label_of_answer(prompt: &str, answer: &str, guess: Option<Label>) -> Label {
    if code_part(answer) >= MUCH {
        Label::Code
    } else if quoted_part(prompt, answer) >= MUCH || guess == Some(Label::Docs) {
        Label::Docs
    } else {
        Label::Chat
    }
}

/// The part of the text, by characters, that is between code fences, or in lines that only code
/// has.
fn code_part(text: &str) -> f64 {
    let (mut code, mut all, mut fenced) = (0, 0, false);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let chars = trimmed.chars().count();
        all += chars;
        if fenced || is_code(trimmed) {
            code += chars;
        }
    }
    f64::from(code as u32) / f64::from(all.max(1) as u32)
}

fn is_code(line: &str) -> bool {
    const BEGINS: [&str; 16] = [
        "def ",
        "class ",
        "return ",
        "import ",
        "from ",
        "fn ",
        "let ",
        "const ",
        "var ",
        "#include",
        "public ",
        "private ",
        "function ",
        "elif ",
        "} ",
        "@",
    ];
    const ENDS: [&str; 5] = [";", "{", "}", "):", ");"];
    BEGINS.iter().any(|begin| line.starts_with(begin))
        && line.contains(['(', '=', ':', '{', ';', '.'])
        || ENDS.iter().any(|end| line.ends_with(end))
        || line.contains(" = ") && !line.ends_with('.')
}

/// The part of the answer's words that stand in the prompt in the same order.
fn quoted_part(prompt: &str, answer: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let (prompt, answer) = (words(prompt), words(answer));
    let known: HashSet<_> = prompt.windows(QUOTED_WORDS).collect();
    let mut is_quoted = vec![false; answer.len()];
    for (at, run) in answer.windows(QUOTED_WORDS).enumerate() {
        if known.contains(run) {
            is_quoted[at..at + QUOTED_WORDS].fill(true);
        }
    }
    let quoted = is_quoted.iter().filter(|quoted| **quoted).count();
    f64::from(quoted as u32) / f64::from(answer.len().max(1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_it_consists_of() {
        let code = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\n";
        let bare = "def add(a, b):\n    c = a + b\n    return (c)\n";
        let passage = "The harbour was closed in 1911, since its entrance had silted up.";
        let quotes = "It was closed in 1911, since its entrance had silted up.";
        let talk = "Tell me more about that; it must have been a strange year for you.";
        for (prompt, answer, guess, label) in [
            ("Add two numbers", code, Some(Label::Chat), Label::Code),
            ("Add two numbers", bare, None, Label::Code),
            (passage, quotes, Some(Label::Chat), Label::Docs),
            ("I moved", talk, Some(Label::Chat), Label::Chat),
            ("I moved", talk, Some(Label::Docs), Label::Docs),
            ("I moved", talk, Some(Label::Code), Label::Chat),
            ("", "", None, Label::Chat),
        ] {
            assert_eq!(label_of_answer(prompt, answer, guess), label, "{answer}");
        }
    }
}
