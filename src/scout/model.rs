//! The scout's weights: a log-linear model over named features.
//!
//! ```text
//!  score[label] = (w1 + w2 + ... + wn) / sqrt(n)    word features that the text has
//!               + v1 + v2 + ...                     flags that hold
//!  p = softmax(score / temperature of the text's length)
//! ```
//! Weights are whole thousandths, so that adding and taking away in any order is exact.
//!
//! The file is text, made to be read: comments with `#`, then `temperature FROM_WORDS VALUE`,
//! `flag NAME CODE CHAT DOCS` and `word FEATURE CODE CHAT DOCS`, tab-separated.

use super::facts::Flag;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

/// A weight a label, in thousandths.
pub type Weights = [i32; 3];

/// A model that can be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The number of words from which a temperature holds, ascending.
    pub(super) temperatures: Vec<(u16, f32)>,
    pub(super) flags: Vec<Weights>,
    numbers: HashMap<String, u32>,
    pub(super) words: Vec<(String, Weights)>,
}

/// A weights file that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the scout's weights: {fault}")]
pub struct ModelError {
    line: usize,
    fault: String,
}

impl Model {
    /// The weights that NMOS ships, read once.
    pub fn shipped() -> Arc<Self> {
        static SHIPPED: LazyLock<Arc<Model>> = LazyLock::new(|| {
            // The file is part of the program: a broken one fails every test of the scout.
            let model = Model::parse(include_str!("weights.tsv"));
            Arc::new(model.unwrap_or_else(|e| panic!("{e}")))
        });
        Arc::clone(&SHIPPED)
    }

    pub(super) fn new(
        temperatures: Vec<(u16, f32)>,
        flags: Vec<Weights>,
        words: Vec<(String, Weights)>,
    ) -> Self {
        let numbers = words
            .iter()
            .map(|(name, _)| name.clone())
            .zip(0..)
            .collect();
        Self {
            temperatures,
            flags,
            numbers,
            words,
        }
    }

    /// Reads a weights file.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let mut temperatures: Vec<(u16, f32)> = Vec::new();
        let mut flags = vec![None; Flag::ALL.len()];
        let mut words = Vec::new();
        let mut lines = 0;
        for (line, number) in text.lines().zip(1..) {
            lines = number;
            let bad = |fault: &str| ModelError {
                line: number,
                fault: fault.to_owned(),
            };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                ["temperature", from, value] => {
                    let from = from.parse().map_err(|_| bad("not a number of words"))?;
                    let value: f32 = value.parse().map_err(|_| bad("not a temperature"))?;
                    if !(0.01..=100.0).contains(&value) {
                        return Err(bad("the temperature is not between 0.01 and 100"));
                    }
                    if temperatures.last().is_some_and(|&(last, _)| last >= from) {
                        return Err(bad("temperatures are not in ascending order"));
                    }
                    temperatures.push((from, value));
                }
                ["flag", key, code, chat, docs] => {
                    let weights = parse_weights([code, chat, docs]).ok_or(bad("not weights"))?;
                    // A flag that this version no longer has weighs nothing.
                    if let Some(at) = Flag::ALL.iter().position(|f| f.key() == key) {
                        flags[at] = Some(weights);
                    }
                }
                ["word", name, code, chat, docs] => {
                    let weights = parse_weights([code, chat, docs]).ok_or(bad("not weights"))?;
                    words.push((name.to_owned(), weights));
                }
                _ => return Err(bad("not 'temperature', 'flag' or 'word' with its fields")),
            }
        }
        let end = |fault: String| ModelError { line: lines, fault };
        if temperatures.first().is_none_or(|&(from, _)| from != 0) {
            return Err(end("there is no temperature from 0 words on".into()));
        }
        let flags: Option<Vec<Weights>> = flags.into_iter().collect();
        let flags = flags.ok_or_else(|| end("a flag has no weights".into()))?;
        Ok(Self::new(temperatures, flags, words))
    }

    /// The weights as a file, under `comment` (a line of it each).
    pub fn to_text(&self, comment: &str) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        for line in comment.lines() {
            let _ = writeln!(out, "# {line}");
        }
        for (from, value) in &self.temperatures {
            let _ = writeln!(out, "temperature\t{from}\t{value:.2}");
        }
        for (flag, [code, chat, docs]) in Flag::ALL.iter().zip(&self.flags) {
            let _ = writeln!(out, "flag\t{}\t{code}\t{chat}\t{docs}", flag.key());
        }
        for (name, [code, chat, docs]) in &self.words {
            let _ = writeln!(out, "word\t{name}\t{code}\t{chat}\t{docs}");
        }
        out
    }

    pub(super) fn number_of(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn word(&self, number: u32) -> &(String, Weights) {
        &self.words[number as usize]
    }

    pub(super) fn flag(&self, flag: Flag) -> &Weights {
        &self.flags[flag as usize]
    }

    /// Scores before the temperature, from the sum of `n` word features' weights.
    pub(super) fn scores(
        &self,
        words: [i64; 3],
        n: usize,
        flags: impl Iterator<Item = Flag>,
    ) -> [f32; 3] {
        let scale = 1e-3 / (n.max(1) as f64).sqrt();
        let mut scores = words.map(|sum| sum as f64 * scale);
        for flag in flags {
            for (score, weight) in scores.iter_mut().zip(self.flag(flag)) {
                *score += f64::from(*weight) * 1e-3;
            }
        }
        scores.map(|s| s as f32)
    }

    /// The temperature for a text of so many words.
    pub(super) fn temperature(&self, words: u16) -> f32 {
        let holds = self
            .temperatures
            .iter()
            .rev()
            .find(|(from, _)| words >= *from);
        holds.map_or(1.0, |(_, value)| *value)
    }
}

fn parse_weights(fields: [&str; 3]) -> Option<Weights> {
    let mut weights = [0; 3];
    for (weight, field) in weights.iter_mut().zip(fields) {
        *weight = field.parse().ok().filter(|w: &i32| w.abs() < 100_000)?;
    }
    Some(weights)
}

/// Probabilities from scores.
pub(super) fn softmax(scores: [f32; 3], temperature: f32) -> [f32; 3] {
    let top = scores.into_iter().fold(f32::MIN, f32::max);
    let exp = scores.map(|s| ((s - top) / temperature).exp());
    let sum: f32 = exp.iter().sum();
    exp.map(|e| e / sum)
}
