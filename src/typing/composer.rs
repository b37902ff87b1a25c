//! The text being composed, and what each edit does to it.
//!
//! Positions in edits count Unicode scalar values; a [`Change`] speaks of bytes, since that
//! is what tokenizers and slices need. The cursor is kept in both units, so that typing,
//! backspacing and pasting never walk the text: an edit costs the bytes that it moves, a
//! jump the distance from the nearest of start, cursor and end.
//!
//! ```text
//!  text    H é l l o        cursor at position 2 = byte 3
//!  byte    0 1 3 4 5
//! ```

use super::Edit;

/// The prompt as typed so far.
///
/// ```
/// use nmos::typing::{Composer, Edit};
///
/// let mut prompt = Composer::new();
/// let typed = |text: &str| Edit::Insert { text: text.to_owned(), paste: false };
/// prompt.apply(&typed("Hé!"))?;
/// prompt.apply(&Edit::Cursor { pos: 2 })?;
/// let change = prompt.apply(&typed("llo"))?;
/// assert_eq!(prompt.text(), "Héllo!");
/// // The cursor counts characters, a change counts bytes.
/// assert_eq!((prompt.cursor(), change.from_byte), (5, 3));
/// # Ok::<(), nmos::typing::EditError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Composer {
    text: String,
    chars: usize,
    /// Always on a character's border, and the same place in both units.
    cursor: Place,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    byte: usize,
    char: usize,
}

/// What an edit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The bytes before this offset are as they were; the length of the text if all are.
    pub from_byte: usize,
    /// The text is complete.
    pub submitted: bool,
}

/// An edit that does not fit the text. The text is as it was before.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EditError {
    #[error("the cursor cannot go to position {pos}: the text has {chars} characters")]
    CursorOutOfRange { pos: usize, chars: usize },
    #[error("cannot delete positions {start} to {end}: the text has {chars} characters")]
    DeleteOutOfRange {
        start: usize,
        end: usize,
        chars: usize,
    },
    #[error("cannot delete positions {start} to {end}: the start is behind the end")]
    DeleteReversed { start: usize, end: usize },
}

impl Composer {
    /// An empty text.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its length in characters.
    pub fn chars(&self) -> usize {
        self.chars
    }

    /// The cursor, in characters from the start.
    pub fn cursor(&self) -> usize {
        self.cursor.char
    }

    /// The text before the cursor.
    pub fn before_cursor(&self) -> &str {
        &self.text[..self.cursor.byte]
    }

    /// The finished text; the composer is empty afterwards, ready for the next prompt.
    pub fn take(&mut self) -> String {
        std::mem::take(self).text
    }

    /// Does one edit. A backspace at the start of the text changes nothing, as in any editor.
    pub fn apply(&mut self, edit: &Edit) -> Result<Change, EditError> {
        let from_byte = match edit {
            Edit::Insert { text, .. } => self.insert(text),
            Edit::Backspace => self.backspace(),
            Edit::Cursor { pos } => {
                if *pos > self.chars {
                    return Err(EditError::CursorOutOfRange {
                        pos: *pos,
                        chars: self.chars,
                    });
                }
                self.cursor = self.place_of(*pos);
                self.text.len()
            }
            Edit::Delete { start, end } => self.delete(*start, *end)?,
            Edit::Enter => self.text.len(),
        };
        Ok(Change {
            from_byte,
            submitted: matches!(edit, Edit::Enter),
        })
    }

    fn insert(&mut self, text: &str) -> usize {
        let at = self.cursor.byte;
        let chars = text.chars().count();
        self.text.insert_str(at, text);
        self.chars += chars;
        self.cursor.byte += text.len();
        self.cursor.char += chars;
        at
    }

    fn backspace(&mut self) -> usize {
        let Some(last) = self.before_cursor().chars().next_back() else {
            return self.text.len();
        };
        self.cursor.byte -= last.len_utf8();
        self.cursor.char -= 1;
        self.chars -= 1;
        self.text.remove(self.cursor.byte);
        self.cursor.byte
    }

    fn delete(&mut self, start: usize, end: usize) -> Result<usize, EditError> {
        if start > end {
            return Err(EditError::DeleteReversed { start, end });
        }
        if end > self.chars {
            return Err(EditError::DeleteOutOfRange {
                start,
                end,
                chars: self.chars,
            });
        }
        let from = self.place_of(start);
        self.cursor = from;
        if start == end {
            return Ok(self.text.len());
        }
        let to = self.place_of(end);
        self.text.replace_range(from.byte..to.byte, "");
        self.chars -= end - start;
        Ok(from.byte)
    }

    /// Where the position `char <= self.chars` is.
    fn place_of(&self, char: usize) -> Place {
        let ascii = self.chars == self.text.len();
        let byte = if ascii {
            char
        } else if char >= self.cursor.char {
            let ahead = &self.text[self.cursor.byte..];
            let from_cursor = char - self.cursor.char;
            self.cursor.byte + offset_of(ahead, self.chars - self.cursor.char, from_cursor)
        } else {
            offset_of(self.before_cursor(), self.cursor.char, char)
        };
        Place { byte, char }
    }
}

/// The byte offset of character `n` of `text`, which has `chars` of them, from the nearer end.
fn offset_of(text: &str, chars: usize, n: usize) -> usize {
    if n <= chars / 2 {
        text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
    } else {
        let back = chars - n;
        match back.checked_sub(1) {
            None => text.len(),
            Some(skip) => text.char_indices().nth_back(skip).map_or(0, |(at, _)| at),
        }
    }
}
