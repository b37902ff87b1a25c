//! From what a key did to the text area to the edits that say so.
//!
//! The text area knows many keys; a session knows five edits. What lies between is a
//! difference of two states, so that no key can be forgotten:
//!
//! ```text
//!   before  print(|)x      insert "a"       edits(before, after) = [Insert "a"]
//!   after   print(a|)x
//! ```
//!
//! Invariant: applying the edits to `before` gives `after`, text and cursor, whatever the
//! two are. Positions count Unicode scalar values. Linear in the length of the text.

use crate::prefix::common_prefix;
use crate::typing::Edit;

/// A text and a cursor in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextState {
    pub text: Vec<char>,
    /// From 0 to the text's length.
    pub cursor: usize,
}

/// The edits that lead from one state to another: none where they are equal, and as a rule
/// one. A `paste` marks what it inserts.
pub fn edits(before: &TextState, after: &TextState, paste: bool) -> Vec<Edit> {
    let (old, new) = (&before.text, &after.text);
    let mut edits = Vec::new();
    let mut cursor = before.cursor;
    if old != new {
        let prefix = common_prefix(old, new);
        let around = |prefix: usize| {
            let suffix = common_prefix(old[prefix..].iter().rev(), new[prefix..].iter().rev());
            (prefix, suffix)
        };
        // Of the equally short readings of "aa" -> "aaa", the one that happened is at the
        // cursor: nothing before both cursors has changed unless the text itself says so.
        let nearest = around(prefix.min(before.cursor).min(after.cursor));
        let shortest = around(prefix);
        let (prefix, suffix) = match nearest.0 + nearest.1 == shortest.0 + shortest.1 {
            true => nearest,
            false => shortest,
        };
        let removed = prefix..old.len() - suffix;
        let inserted: String = new[prefix..new.len() - suffix].iter().collect();
        if removed.len() == 1 && cursor == removed.end {
            edits.push(Edit::Backspace);
            cursor = removed.start;
        } else if !removed.is_empty() {
            edits.push(Edit::Delete {
                start: removed.start,
                end: removed.end,
            });
            cursor = removed.start;
        }
        if !inserted.is_empty() {
            if cursor != prefix {
                edits.push(Edit::Cursor { pos: prefix });
            }
            cursor = prefix + inserted.chars().count();
            edits.push(Edit::Insert {
                text: inserted,
                paste,
            });
        }
    }
    if cursor != after.cursor {
        edits.push(Edit::Cursor { pos: after.cursor });
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(marked: &str) -> TextState {
        let cursor = marked.chars().position(|c| c == '|').unwrap();
        TextState {
            text: marked.chars().filter(|&c| c != '|').collect(),
            cursor,
        }
    }

    /// What an edit means, as trace format version 1 defines it.
    fn replay(state: &mut TextState, edit: &Edit) {
        match edit {
            Edit::Insert { text, .. } => {
                let chars: Vec<char> = text.chars().collect();
                let after = state.cursor + chars.len();
                state.text.splice(state.cursor..state.cursor, chars);
                state.cursor = after;
            }
            Edit::Backspace => {
                state.cursor -= 1;
                state.text.remove(state.cursor);
            }
            Edit::Cursor { pos } => {
                assert!(*pos <= state.text.len());
                state.cursor = *pos;
            }
            Edit::Delete { start, end } => {
                assert!(start < end);
                state.text.drain(start..end);
                state.cursor = *start;
            }
            Edit::Enter => panic!("a difference never submits"),
        }
    }

    fn insert(text: &str) -> Edit {
        Edit::Insert {
            text: text.into(),
            paste: false,
        }
    }

    #[test]
    fn each_key_is_the_edit_that_a_person_would_name() {
        for (before, after, wanted) in [
            ("|", "a|", vec![insert("a")]),
            ("a|a", "aa|a", vec![insert("a")]),
            ("aa|a", "a|a", vec![Edit::Backspace]),
            ("a|aa", "a|a", vec![Edit::Delete { start: 1, end: 2 }]),
            ("é😀|x", "é|x", vec![Edit::Backspace]),
            ("one two|", "one |", vec![Edit::Delete { start: 4, end: 7 }]),
            ("one|", "|one", vec![Edit::Cursor { pos: 0 }]),
            ("one\n|", "one|", vec![Edit::Backspace]),
            (
                "old|",
                "new text|",
                vec![Edit::Delete { start: 0, end: 3 }, insert("new text")],
            ),
            ("same|", "same|", vec![]),
        ] {
            assert_eq!(
                edits(&state(before), &state(after), false),
                wanted,
                "{before} {after}"
            );
        }
    }

    fn any_state() -> impl Strategy<Value = TextState> {
        // Few letters, so that repeats make the difference ambiguous.
        (
            proptest::collection::vec(
                prop_oneof![Just('a'), Just('b'), Just('\n'), Just('é'), Just('😀')],
                0..12,
            ),
            any::<prop::sample::Index>(),
        )
            .prop_map(|(text, at)| {
                let cursor = at.index(text.len() + 1);
                TextState { text, cursor }
            })
    }

    proptest! {
        #[test]
        fn the_edits_lead_from_any_state_to_any_other(before in any_state(), after in any_state()) {
            let mut model = before.clone();
            for edit in edits(&before, &after, false) {
                replay(&mut model, &edit);
            }
            prop_assert_eq!(model, after);
        }

        #[test]
        fn any_keys_in_the_text_area_replay(keys in proptest::collection::vec((0usize..16, "[a-c é\n]{1,3}"), 0..60)) {
            use crate::tui::prompt::{Prompt, PromptKey};
            let mut prompt = Prompt::default();
            let mut model = TextState::default();
            for (i, (key, text)) in keys.into_iter().enumerate() {
                let key = match key {
                    0..6 => PromptKey::Insert(&text),
                    6 => PromptKey::Paste(&text),
                    7.. => PromptKey::EDITING[(key - 7) * 2 % PromptKey::EDITING.len()].clone(),
                };
                for event in prompt.key(&key, i as u64) {
                    replay(&mut model, &event.edit);
                }
                prop_assert_eq!(&model, &prompt.state());
            }
        }
    }
}
