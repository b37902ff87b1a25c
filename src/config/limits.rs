//! What each setting may be. One check a setting, used for flags, environment and file alike.

use super::values::ModelName;
use crate::oracle::WidthClass;
use crate::plan::{LEAST_CTX, TreeSize};
use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;

/// Reads a text as a number and checks it.
pub fn read<N: FromStr, T>(text: &str, check: fn(N) -> Result<T, String>) -> Result<T, String> {
    match text.trim().parse::<N>() {
        Ok(number) => check(number),
        Err(_) => Err(format!("'{text}' is not a number that fits here")),
    }
}

/// A path or a catalogue name.
pub fn model(name: impl Into<OsString>) -> Result<ModelName, String> {
    let name = name.into();
    if name.to_string_lossy().trim().is_empty() {
        return Err("a model's path or name is wanted, and this is empty".into());
    }
    Ok(ModelName::new(name))
}

/// An oracle: a model, and there is no doing without one.
pub fn oracle(name: OsString) -> Result<ModelName, String> {
    if name == "none" {
        return Err("the oracle cannot be 'none': it is the model that answers".into());
    }
    model(name)
}

/// Tokens of context.
pub fn ctx(n: i64) -> Result<usize, String> {
    whole("a context", n, LEAST_CTX, 1 << 20)
}

/// Threads that compute.
pub fn threads(n: i64) -> Result<usize, String> {
    whole("a number of threads", n, 1, 1024)
}

/// Most nodes of a pass.
pub fn tree(n: i64) -> Result<TreeSize, String> {
    whole("a number of nodes", n, 1, WidthClass::WIDE.max).map(TreeSize::Fixed)
}

/// Guesses of a pass that follow one another: the token that they follow has a place too.
pub fn chain(n: i64) -> Result<TreeSize, String> {
    whole("a number of guesses", n, 1, WidthClass::WIDE.max - 1).map(TreeSize::Chain)
}

/// Most tokens of an answer.
pub fn max_tokens(n: i64) -> Result<usize, String> {
    whole("a number of answer tokens", n, 1, 1 << 20)
}

/// Most tokens of a thought.
pub fn think_budget(n: i64) -> Result<usize, String> {
    whole("a number of tokens", n, 0, 1 << 20)
}

/// How many of the likeliest tokens are drawn from; 0 is all.
pub fn top_k(n: i64) -> Result<usize, String> {
    whole("top-k", n, 0, 1 << 20)
}

/// The number that random choices start from.
pub fn seed(n: i64) -> Result<u64, String> {
    u64::try_from(n).map_err(|_| format!("{n} is not a seed: write a whole number from 0 up"))
}

/// Sampling temperature; 0 is greedy.
pub fn temp(x: f64) -> Result<f32, String> {
    between("a temperature", x, 0.0, 10.0)
}

/// Share of probability that is drawn from.
pub fn top_p(x: f64) -> Result<f32, String> {
    between("top-p", x, 0.0, 1.0)
}

/// Least probability, as a share of the likeliest token's.
pub fn min_p(x: f64) -> Result<f32, String> {
    between("min-p", x, 0.0, 1.0)
}

/// What repeated tokens are divided by; 1 is nothing.
pub fn repeat_penalty(x: f64) -> Result<f32, String> {
    between("a repeat penalty", x, 0.1, 10.0)
}

/// How many times faster than recorded a trace is typed.
pub fn speed(x: f64) -> Result<f64, String> {
    if (0.01..=1000.0).contains(&x) {
        Ok(x)
    } else {
        Err(outside("a speed", x, 0.01, 1000))
    }
}

/// Columns and rows, as in `120x40`.
pub fn size(text: &str) -> Result<(u16, u16), String> {
    text.split_once('x')
        .and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)))
        .ok_or_else(|| format!("'{text}' is not a size: write columns and rows, as in 120x40"))
}

fn whole(what: &str, n: i64, least: usize, most: usize) -> Result<usize, String> {
    usize::try_from(n)
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| outside(what, n, least, most))
}

fn between(what: &str, x: f64, least: f64, most: f64) -> Result<f32, String> {
    if (least..=most).contains(&x) {
        Ok(x as f32)
    } else {
        Err(outside(what, x, least, most))
    }
}

fn outside(what: &str, x: impl Display, least: impl Display, most: impl Display) -> String {
    format!("{x} is not {what}: write a number from {least} to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_in_and_what_is_past_them_is_out() {
        assert_eq!(ctx(256), Ok(256));
        assert!(ctx(255).is_err());
        assert!(ctx(-1).is_err());
        assert_eq!(threads(1), Ok(1));
        assert!(threads(0).is_err());
        assert_eq!(temp(0.0), Ok(0.0));
        assert!(temp(-0.1).is_err());
        assert!(temp(f64::NAN).is_err());
        assert_eq!(top_p(1.0), Ok(1.0));
        assert!(top_p(1.1).is_err());
        assert!(seed(-1).is_err());
    }

    #[test]
    fn sizes_and_speeds_are_read() {
        assert_eq!(size("120x40"), Ok((120, 40)));
        assert!(size("120").is_err() && size("axb").is_err() && size("120x400000").is_err());
        assert_eq!(read("0.5", speed), Ok(0.5));
        assert!(read("0", speed).is_err() && read("inf", speed).is_err());
    }

    #[test]
    fn text_that_is_no_number_is_named() {
        assert!(read("many", threads).unwrap_err().contains("'many'"));
        assert_eq!(read("4", threads), Ok(4));
    }
}
