//! The composer against a model too simple to be wrong: a vector of characters.

use nmos::typing::{Composer, Edit, EditError};
use proptest::prelude::*;

/// What each edit means, character by character. `None` where it does not fit.
fn naive(text: &mut Vec<char>, cursor: &mut usize, edit: &Edit) -> Option<()> {
    match edit {
        Edit::Insert { text: new, .. } => {
            for c in new.chars() {
                text.insert(*cursor, c);
                *cursor += 1;
            }
        }
        Edit::Backspace => {
            if *cursor > 0 {
                *cursor -= 1;
                text.remove(*cursor);
            }
        }
        Edit::Cursor { pos } => {
            if *pos > text.len() {
                return None;
            }
            *cursor = *pos;
        }
        Edit::Delete { start, end } => {
            if start > end || *end > text.len() {
                return None;
            }
            text.drain(*start..*end);
            *cursor = *start;
        }
        Edit::Enter => {}
    }
    Some(())
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => ("[a-zé\u{301}日🦀 \\n]{0,6}", any::<bool>())
            .prop_map(|(text, paste)| Edit::Insert { text, paste }),
        2 => Just(Edit::Backspace),
        2 => (0usize..30).prop_map(|pos| Edit::Cursor { pos }),
        2 => (0usize..30, 0usize..30).prop_map(|(start, end)| Edit::Delete { start, end }),
        1 => Just(Edit::Enter),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_vector_of_characters(edits in prop::collection::vec(edit(), 0..60)) {
        let mut composer = Composer::new();
        let (mut text, mut cursor) = (Vec::new(), 0);
        for edit in &edits {
            let before = composer.text().to_owned();
            let fits = naive(&mut text, &mut cursor, edit);
            match composer.apply(edit) {
                Ok(change) => {
                    prop_assert!(fits.is_some());
                    let kept = before.get(..change.from_byte);
                    prop_assert!(kept.is_some(), "not a border: {change:?} of {before:?}");
                    prop_assert!(composer.text().starts_with(kept.unwrap()));
                    prop_assert_eq!(change.submitted, *edit == Edit::Enter);
                    if change.from_byte == composer.text().len() {
                        // "All of it is kept" or cut at the end: nothing new may follow.
                        prop_assert!(before.starts_with(composer.text()));
                    }
                }
                Err(_) => {
                    prop_assert!(fits.is_none());
                    prop_assert_eq!(composer.text(), &before);
                }
            }
            prop_assert_eq!(composer.text(), text.iter().collect::<String>());
            prop_assert_eq!(composer.cursor(), cursor);
            prop_assert_eq!(composer.chars(), text.len());
            prop_assert_eq!(
                composer.before_cursor(),
                text[..cursor].iter().collect::<String>()
            );
        }
    }
}

fn insert(text: &str) -> Edit {
    Edit::Insert {
        text: text.into(),
        paste: false,
    }
}

#[test]
fn says_from_which_byte_the_text_changed() {
    let mut composer = Composer::new();
    let from = |composer: &mut Composer, edit| composer.apply(&edit).unwrap().from_byte;
    assert_eq!(from(&mut composer, insert("Grüße")), 0);
    assert_eq!(
        from(&mut composer, Edit::Cursor { pos: 3 }),
        7,
        "all is kept"
    );
    assert_eq!(from(&mut composer, insert("n")), 4, "ü has two bytes");
    assert_eq!(from(&mut composer, Edit::Backspace), 4);
    assert_eq!(from(&mut composer, Edit::Delete { start: 2, end: 4 }), 2);
    assert_eq!(composer.text(), "Gre");
    assert_eq!(composer.cursor(), 2);
    assert_eq!(composer.take(), "Gre");
    assert_eq!(
        (composer.text(), composer.cursor(), composer.chars()),
        ("", 0, 0)
    );
}

#[test]
fn edits_out_of_range_are_refused_in_words() {
    let mut composer = Composer::new();
    composer.apply(&insert("日本")).unwrap();
    for (edit, error) in [
        (
            Edit::Cursor { pos: 3 },
            EditError::CursorOutOfRange { pos: 3, chars: 2 },
        ),
        (
            Edit::Delete { start: 1, end: 3 },
            EditError::DeleteOutOfRange {
                start: 1,
                end: 3,
                chars: 2,
            },
        ),
        (
            Edit::Delete { start: 2, end: 1 },
            EditError::DeleteReversed { start: 2, end: 1 },
        ),
    ] {
        assert_eq!(composer.apply(&edit), Err(error));
        assert_eq!((composer.text(), composer.cursor()), ("日本", 2));
    }
}

#[test]
fn a_large_paste_is_edited_in_place() {
    let mut composer = Composer::new();
    let page = "naïve text, 日本語\n".repeat(6_000);
    composer.apply(&insert(&page)).unwrap();
    let chars = page.chars().count();
    assert_eq!(composer.chars(), chars);
    for pos in [0, 1, chars / 3, chars / 2, chars - 1, chars, 17, chars - 17] {
        composer.apply(&Edit::Cursor { pos }).unwrap();
        assert_eq!(composer.before_cursor().chars().count(), pos);
    }
}
