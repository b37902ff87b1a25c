//! How likely it is that Enter comes within the next second, given how long the typist has
//! paused, what the text ends in and how long it is.
//!
//! # Provenance
//! The table was fitted on 4,206 runs of real composition (550,489 keystrokes, 36 writers) from
//! CoAuthor (Mina Lee, Percy Liang, Qian Yang, CHI 2022), CC BY-SA 4.0; the table is an
//! adaptation under the same licence. A run ends where its writer pressed Enter or called a
//! language model.
//!
//! # Method
//! After each key of each run, and for each age of [`AGES_MS`] that the pause then reached,
//! one sample: did the run's end come within the next 1,000 ms? A cell is the share of yes,
//! drawn towards the share over both lengths (`p0`) by 20 imagined samples:
//! `p = (yes + 20 p0) / (samples + 20)`. Ages are stretched by the writer's median gap over
//! 134 ms (the median of all), between 1 and 4: for a slow typist the same pause says less.
//! Between ages the table is read linearly. Texts under 20 characters are read as the
//! shorter of the two lengths, since the runs were chosen to be longer.
//!
//! Log-loss on writers that were left out (4 folds, 553,517 samples): 0.153 nats a sample,
//! against 0.166 for the base rate. Stretching for the slow helps them (0.0678 against
//! 0.0685 for medians above 180 ms). The writers composed prose, most with full stops: someone
//! who ends prompts without one gets a small probability, not a wrong answer.

/// Pause ages of the table's columns, for a typist with a median gap of 134 ms.
const AGES_MS: [f64; 8] = [0.0, 250.0, 500.0, 1000.0, 2000.0, 3000.0, 5000.0, 10_000.0];

/// The median gap of the writers that the table was fitted on.
pub(super) const TYPICAL_GAP_MS: f64 = 134.0;

/// From this many characters, a text counts as long.
const LONG_CHARS: usize = 80;

/// `[length][TextEnd][age]`.
const SUBMIT_WITHIN_A_SECOND: [[[f64; 8]; 4]; 2] = [
    [
        [0.319, 0.320, 0.274, 0.170, 0.101, 0.057, 0.046, 0.029],
        [0.044, 0.021, 0.017, 0.012, 0.009, 0.003, 0.011, 0.005],
        [0.043, 0.032, 0.033, 0.033, 0.009, 0.010, 0.012, 0.029],
        [0.019, 0.027, 0.026, 0.019, 0.014, 0.031, 0.012, 0.028],
    ],
    [
        [0.231, 0.242, 0.219, 0.154, 0.082, 0.068, 0.034, 0.022],
        [0.012, 0.006, 0.006, 0.005, 0.004, 0.007, 0.001, 0.019],
        [0.020, 0.014, 0.018, 0.019, 0.008, 0.001, 0.002, 0.010],
        [0.018, 0.030, 0.032, 0.021, 0.002, 0.006, 0.007, 0.019],
    ],
];

/// What was typed last, as far as it tells a pause from an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEnd {
    /// `.`, `?`, `!`, a line's end, or one of them inside closing quotes; spaces may follow.
    Sentence,
    /// A space or a comma: a word is about to start.
    WordBoundary,
    /// Any other character.
    Word,
    /// The last key took something away.
    Correction,
}

impl TextEnd {
    /// What `text` ends in. Never [`TextEnd::Correction`]: that is the last key's doing.
    pub fn of(text: &str) -> Self {
        let mut back = text.trim_end_matches(' ').chars().rev();
        let is_stop = |c| matches!(c, Some('.' | '?' | '!'));
        match back.next() {
            Some('"' | '\'' | ')' | '”' | '’') if is_stop(back.clone().next()) => {
                Self::Sentence
            }
            Some('\n' | '.' | '?' | '!') => Self::Sentence,
            Some(',' | ';' | ':') | None => Self::WordBoundary,
            Some(_) if text.ends_with(' ') => Self::WordBoundary,
            Some(_) => Self::Word,
        }
    }
}

/// Probability, 0 to 1, that Enter comes within a second.
pub fn submit_probability(pause_ms: f64, median_gap_ms: f64, end: TextEnd, chars: usize) -> f64 {
    let stretch = (median_gap_ms / TYPICAL_GAP_MS).clamp(1.0, 4.0);
    let age_ms = (pause_ms / stretch).max(0.0);
    let row = &SUBMIT_WITHIN_A_SECOND[usize::from(chars >= LONG_CHARS)][end as usize];
    let Some(next) = AGES_MS.iter().position(|&a| a > age_ms) else {
        return row[row.len() - 1];
    };
    let (left, right) = (AGES_MS[next - 1], AGES_MS[next]);
    let share = (age_ms - left) / (right - left);
    row[next - 1] + share * (row[next] - row[next - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_are_told_apart() {
        for (text, end) in [
            ("", TextEnd::WordBoundary),
            ("Hello", TextEnd::Word),
            ("Hello ", TextEnd::WordBoundary),
            ("Hello,", TextEnd::WordBoundary),
            ("Hello. ", TextEnd::Sentence),
            ("He said \"no.\"", TextEnd::Sentence),
            ("f(x)", TextEnd::Word),
            ("a list:\n", TextEnd::Sentence),
            ("日本語", TextEnd::Word),
        ] {
            assert_eq!(TextEnd::of(text), end, "{text:?}");
        }
    }

    #[test]
    fn the_table_is_read_linearly_and_ends_flat() {
        let p = |ms, gap| submit_probability(ms, gap, TextEnd::Sentence, 40);
        assert_eq!(p(0.0, 134.0), 0.319);
        assert!((p(750.0, 134.0) - f64::midpoint(0.274, 0.170)).abs() < 1e-9);
        assert_eq!(p(1e9, 134.0), 0.029);
        assert_eq!(p(2000.0, 268.0), p(1000.0, 134.0), "slow typists");
        assert_eq!(p(1000.0, 67.0), p(1000.0, 134.0), "fast typists");
        assert!(p(300.0, 134.0) > submit_probability(300.0, 134.0, TextEnd::Word, 40));
    }

    #[test]
    fn no_input_leaves_the_unit_interval() {
        for pause in [-5.0, 0.0, 1.0, 999.0, 1e12] {
            for gap in [0.0, 134.0, 1e9] {
                for end in [
                    TextEnd::Sentence,
                    TextEnd::WordBoundary,
                    TextEnd::Word,
                    TextEnd::Correction,
                ] {
                    let p = submit_probability(pause, gap, end, 79);
                    assert!((0.0..=1.0).contains(&p));
                }
            }
        }
    }
}
