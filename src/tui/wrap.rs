//! Breaks text into rows of a width that is counted in terminal columns.
//!
//! Invariant: a row is measured as it is drawn, by grapheme clusters. The characters of a
//! cluster say little about its width: a family of emoji is as wide as one of them, and a
//! variation selector makes a narrow sign wide.

use ratatui::buffer::CellWidth as _;
use std::ops::Range;
use unicode_segmentation::UnicodeSegmentation as _;

/// Columns that a tab takes; the model's text is shown, not laid out.
pub const TAB: &str = "    ";

/// What of a text is drawn as one, and its columns; control characters take none because
/// none are drawn.
pub fn graphemes(text: &str) -> impl Iterator<Item = (usize, &str, usize)> {
    text.grapheme_indices(true).map(|(at, grapheme)| {
        let columns = match grapheme.contains(char::is_control) {
            true => 0,
            false => grapheme.cell_width().into(),
        };
        (at, grapheme, columns)
    })
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
    for (at, grapheme, w) in graphemes(line) {
        // Twice where what is left of a word does not fit its new row either.
        while columns + w > width && grapheme != " " && at > start {
            let (end, used) = last_break.take().unwrap_or((at, columns));
            rows.push(start..end);
            start = end;
            columns -= used;
        }
        columns += w;
        if grapheme == " " {
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
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    fn rows(line: &str, width: usize) -> Vec<&str> {
        wrap_line(line, width)
            .into_iter()
            .map(|r| &line[r])
            .collect()
    }

    /// What of a row is seen in a pane of this width.
    fn drawn(row: &str, width: u16) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, 1));
        let (end, _) = buffer.set_stringn(0, 0, row, width.into(), Style::new());
        let mut text = String::new();
        let mut x = 0;
        while x < end {
            let symbol = buffer[(x, 0)].symbol();
            text += symbol;
            x += symbol.cell_width().max(1);
        }
        text
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

    #[test]
    fn what_is_drawn_as_one_is_measured_as_one() {
        // A heart that a variation selector makes wide, a key cap, a family, a flag.
        let (heart, key, family, flag) = (
            "\u{2764}\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{1f1ef}\u{1f1f5}",
        );
        for sign in [heart, key, family, flag] {
            let line = sign.repeat(3);
            assert_eq!(rows(&line, 4), [sign.repeat(2), sign.to_owned()], "{sign}");
            // Never within one, however narrow the pane.
            assert_eq!(rows(&line, 1), [sign; 3], "{sign}");
        }
        assert_eq!(rows("ab\u{2764}\u{fe0f}", 3), ["ab", "\u{2764}\u{fe0f}"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_all_of_it_is_drawn(
            parts in proptest::collection::vec(prop_oneof![
                "[ab 漢é]{1,4}",
                Just("\u{2764}\u{fe0f}".to_owned()),
                Just("1\u{fe0f}\u{20e3}".to_owned()),
                Just("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}".to_owned()),
                Just("\u{1f1ef}".to_owned()),
                Just("\u{301}".to_owned()),
                Just("\u{200d}".to_owned()),
                Just("ｶﾞ".to_owned()),
            ], 0..16),
            width in 2u16..12,
        ) {
            let line = parts.concat();
            let rows = rows(&line, width.into());
            prop_assert_eq!(rows.concat(), line.as_str());
            for row in rows {
                // Spaces may hang over the edge; nothing else is cut off but what is wider
                // than any row, which has one to itself.
                let wanted: String = graphemes(row.trim_end_matches(' '))
                    .filter(|(.., columns)| (1..=width.into()).contains(columns))
                    .map(|(_, grapheme, _)| grapheme)
                    .collect();
                let seen = drawn(row, width);
                prop_assert_eq!(seen.trim_end_matches(' '), wanted.as_str());
            }
        }
    }
}
