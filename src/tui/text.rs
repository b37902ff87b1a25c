//! Figures in words: every one with its unit, short enough for a pane.

use super::wrap::graphemes;
use crate::telemetry::{AnswerStats, ShardView};

/// A time given in milliseconds.
pub fn ms(ms: f64) -> String {
    match ms {
        t if t < 0.95 => format!("{t:.2} ms"),
        t if t < 9.95 => format!("{t:.1} ms"),
        t if t < 999.5 => format!("{t:.0} ms"),
        t if t < 59_950.0 => format!("{:.1} s", t / 1e3),
        t => format!("{:.0} min", t / 60e3),
    }
}

/// A difference of times, with its sign.
pub fn signed_ms(difference: f64) -> String {
    let sign = if difference < 0.0 { '-' } else { '+' };
    format!("{sign}{}", ms(difference.abs()))
}

/// Digits in groups of three.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn tokens(n: u64) -> String {
    match n {
        1 => "1 token".to_owned(),
        n => format!("{n} tokens"),
    }
}

/// What is said of an answer whose thought was closed by force.
pub fn think_cut(stats: &AnswerStats) -> Option<String> {
    let after = tokens(stats.think_cut?);
    Some(format!(
        "thinking was cut after {after} (--think-budget); the answer follows from that"
    ))
}

pub fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A shard's name in a few columns.
pub fn shard(view: &ShardView) -> String {
    let part = view.part.name();
    match view.layer {
        Some(layer) => format!("L{layer} {part}"),
        None => part.to_owned(),
    }
}

/// The text cut to a width in columns, with a mark where something is missing.
pub fn fit(text: &str, width: usize, ellipsis: &str) -> String {
    let columns = |text| -> usize { graphemes(text).map(|(.., columns)| columns).sum() };
    if columns(text) <= width {
        return text.to_owned();
    }
    let mark = columns(ellipsis);
    let mut used = 0;
    let mut end = 0;
    for (at, grapheme, columns) in graphemes(text) {
        used += columns;
        if used + mark > width {
            break;
        }
        end = at + grapheme.len();
    }
    let mut cut = text[..end].to_owned();
    if mark <= width {
        cut += ellipsis;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_carry_units() {
        for (value, text) in [
            (0.25, "0.25 ms"),
            (3.12, "3.1 ms"),
            (310.4, "310 ms"),
            (1_500.0, "1.5 s"),
            (600_000.0, "10 min"),
        ] {
            assert_eq!(ms(value), text);
        }
        assert_eq!(signed_ms(-12.0), "-12 ms");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(fit("abcdef", 4, "…"), "abc…");
        assert_eq!(fit("漢字漢", 4, "…"), "漢…");
        assert_eq!(fit("abc", 3, "…"), "abc");
        assert_eq!(fit("ab\u{2764}\u{fe0f}", 3, "…"), "ab…");
        assert_eq!(fit("1\u{fe0f}\u{20e3}23", 3, "…"), "1\u{fe0f}\u{20e3}…");
    }
}
