//! Breaks text into rows of a width that is counted in terminal columns.

use std::ops::Range;
use unicode_width::UnicodeWidthChar;

/// Columns that a tab takes; the model's text is shown, not laid out.
pub const TAB: &str = "    ";

/// Columns of a character; control characters take none because none are drawn.
pub fn width_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Byte ranges of the rows of one line (without its end), at most `width` columns each: broken
/// after a space where there is one, within a word where there is none. An empty line is
/// one empty row. The spaces at which a row breaks belong to it and may hang over the edge.
pub fn wrap_line(line: &str, width: usize) -> Vec<Range<usize>> {
    let width = width.max(1);
    let mut rows = Vec::new();
    let (mut start, mut columns) = (0, 0);
    // End of the last word that fits, and the columns since.
    let mut last_break: Option<(usize, usize)> = None;
    for (at, c) in line.char_indices() {
        let w = width_of(c);
        // Twice where what is left of a word does not fit its new row either.
        while columns + w > width && c != ' ' && at > start {
            let (end, used) = last_break.take().unwrap_or((at, columns));
            rows.push(start..end);
            start = end;
            columns -= used;
        }
        columns += w;
        if c == ' ' {
            last_break = Some((at + 1, columns));
        }
    }
    rows.push(start..line.len());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    fn rows(line: &str, width: usize) -> Vec<&str> {
        wrap_line(line, width)
            .into_iter()
            .map(|r| &line[r])
            .collect()
    }

    #[test]
    fn breaks_at_words_and_in_them_where_it_must() {
        assert_eq!(rows("the quick fox", 9), ["the quick ", "fox"]);
        assert_eq!(rows("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(rows("a bcdefgh", 4), ["a ", "bcde", "fgh"]);
        assert_eq!(rows("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(rows("", 5), [""]);
        assert_eq!(rows("e\u{301}e\u{301}", 1), ["e\u{301}", "e\u{301}"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_is_too_wide(line in "[ab 漢é]{0,40}", width in 2usize..12) {
            let rows = rows(&line, width);
            prop_assert_eq!(rows.concat(), line.as_str());
            for row in rows {
                prop_assert!(row.trim_end_matches(' ').width() <= width);
            }
        }
    }
}
