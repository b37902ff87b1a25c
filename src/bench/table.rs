//! The report as a table for a terminal, at most [`WIDTH`] columns wide.

use super::{FigurePercentiles, Percentiles, Row};

/// Columns of a line, as long as figures stay within theirs.
pub const WIDTH: usize = 120;

/// Names, units and widths of the columns after the trace's.
const COLUMNS: [(&str, &str, usize); 14] = [
    ("from", "", 5),
    ("label", "", 5),
    ("chars", "", 5),
    ("ttft", "ms", 7),
    ("cold", "ms", 7),
    ("hidden", "%", 6),
    ("tokens", "", 6),
    ("tok/s", "", 6),
    ("tok/", "pass", 5),
    ("accept", "%", 6),
    ("read", "MB", 7),
    ("wasted", "MB", 6),
    ("stall", "ms", 6),
    ("scout", "", 10),
];

/// Of the trace's name, its mark included.
const TRACE: usize = 19;

/// The two lines above the rows.
pub fn header() -> String {
    let names = line("  trace", COLUMNS.map(|(name, _, _)| name.to_owned()));
    let units = line("", COLUMNS.map(|(_, unit, _)| unit.to_owned()));
    format!("{names}\n{units}")
}

/// One trace. A row with a fault begins with `!`.
pub fn row_line(row: &Row) -> String {
    let mark = if row.faults().is_empty() { ' ' } else { '!' };
    let stats = row.stats.as_ref();
    let of = |get: fn(&crate::telemetry::AnswerStats) -> Option<f64>, digits| {
        number(stats.and_then(get), digits)
    };
    let scout = match (stats.and_then(|s| s.scout_label), row.scout_right()) {
        (None, _) => "-".to_owned(),
        (Some(label), None) => label.name().to_owned(),
        (Some(label), Some(true)) => format!("{} right", label.name()),
        (Some(label), Some(false)) => format!("{} wrong", label.name()),
    };
    line(
        &format!("{mark} {}", shorten(&row.id, TRACE - 2)),
        [
            cut(row.provenance.as_deref().unwrap_or("-"), 5),
            cut(row.label.as_deref().unwrap_or("-"), 5),
            row.chars.to_string(),
            of(|s| s.ttft_ms, 0),
            of(|s| s.cold_ttft_ms, 0),
            of(|s| s.hidden_fraction.map(|f| f * 100.0), 1),
            of(|s| Some(s.tokens as f64), 0),
            of(|s| s.tokens_per_s, 2),
            of(|s| s.accepted_per_pass, 2),
            of(|s| s.accept_rate.map(|f| f * 100.0), 0),
            of(|s| Some(s.bytes_read as f64 / 1e6), 0),
            of(|s| Some(s.bytes_wasted as f64 / 1e6), 0),
            of(|s| Some(s.stall_ms), 0),
            scout,
        ],
    )
}

/// The lines below the rows: nearest-rank percentiles of the figures that are compared.
pub fn percentile_lines(all: &FigurePercentiles) -> String {
    let rank = |name: &str, of: fn(&Percentiles) -> Option<f64>| {
        let mut cells = COLUMNS.map(|_| String::new());
        cells[3] = number(of(&all.ttft_ms), 0);
        cells[4] = number(of(&all.cold_ttft_ms), 0);
        cells[5] = number(of(&all.hidden_fraction).map(|f| f * 100.0), 1);
        cells[7] = number(of(&all.tokens_per_s), 2);
        cells[8] = number(of(&all.accepted_per_pass), 2);
        line(&format!("  {name}"), cells)
    };
    [
        rank("p50", |p| p.p50),
        rank("p90", |p| p.p90),
        rank("p95", |p| p.p95),
        rank("max", |p| p.max),
    ]
    .join("\n")
}

fn line(first: &str, cells: [String; COLUMNS.len()]) -> String {
    let mut line = format!("{first:<TRACE$}");
    for ((name, _, width), cell) in COLUMNS.iter().zip(&cells) {
        let is_text = matches!(*name, "from" | "label" | "scout");
        line.push_str(&match is_text {
            true => format!(" {cell:<width$}"),
            false => format!(" {cell:>width$}"),
        });
    }
    line.truncate(line.trim_end().len());
    line
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// The first `most` characters, fit for a terminal.
fn cut(text: &str, most: usize) -> String {
    text.chars().map(printable).take(most).collect()
}

/// `text` without its middle where it is longer than `most` characters: ends tell ids apart.
fn shorten(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().map(printable).collect();
    if chars.len() <= most {
        return chars.into_iter().collect();
    }
    let head = (most - 1) / 2;
    let tail = &chars[chars.len() - (most - 1 - head)..];
    chars[..head].iter().chain(&['…']).chain(tail).collect()
}

/// A trace's words are another's: none of them may steer the terminal.
fn printable(c: char) -> char {
    if c.is_control() { '?' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_fit() {
        let all: usize = COLUMNS.iter().map(|(_, _, width)| width + 1).sum();
        assert!(TRACE + all <= WIDTH, "{}", TRACE + all);
        assert!(header().lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn names_keep_their_ends_and_cannot_steer_the_terminal() {
        assert_eq!(shorten("syn-humaneval-02aa17", 11), "syn-h…2aa17");
        assert_eq!(shorten("a\u{1b}[2J", 11), "a?[2J");
    }
}
