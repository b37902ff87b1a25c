//! `nmos models recommend`: the best few of the catalogue for this machine's memory.
//!
//! Of models of one time, those with more parameters are the more capable ones, and that is all that
//! is judged by. Up to three are named:
//!
//! ```text
//!   best      the largest that stays in memory and answers at reading speed
//!   faster    the largest that is twice as fast as that, and not much smaller
//!   larger    the largest that is slower: streamed, or long to compute
//! ```

use std::io::Write;

use super::known::{self, Known};
use crate::model::catalog::Role;
use crate::model::locate;
use crate::model::store::Store;
use crate::plan::{Capacity, Suitability};

/// Tokens a second that are read as fast as they come.
const READING_SPEED: f64 = 4.0;
/// Slower than this, an answer is waited for too long to recommend it.
const BEARABLE: f64 = 0.2;
/// A faster model is that many times as fast, and has at least that share of the parameters.
const FASTER: f64 = 2.0;
const NOT_MUCH_SMALLER: f64 = 0.25;

/// A model, and what is predicted of it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    known: Known,
    suitability: Suitability,
    tokens_per_s: f64,
    parameters: f64,
}

impl Candidate {
    fn of(known: Known, capacity: &Capacity) -> Option<Self> {
        let (load, facts) = (known.load()?, known.facts()?);
        Some(Self {
            known,
            suitability: capacity.judge(load),
            tokens_per_s: capacity.predicted_tokens_per_s(load),
            parameters: facts.parameters,
        })
    }

    fn fits(&self) -> bool {
        self.suitability == Suitability::Fits
    }
}

/// Why a model is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Best,
    Faster,
    Larger,
    /// Nothing is fast enough: the least slow one.
    Fastest,
}

/// The best few, the first to take first.
fn choose(candidates: &[Candidate]) -> Vec<(Candidate, Reason)> {
    let most = |fits: &dyn Fn(&Candidate) -> bool| {
        let found = candidates.iter().copied().filter(|c| fits(c));
        found.max_by(|a, b| a.parameters.total_cmp(&b.parameters))
    };
    let mut chosen = Vec::new();
    let best = most(&|c| c.fits() && c.tokens_per_s >= READING_SPEED);
    chosen.extend(best.map(|c| (c, Reason::Best)));
    if let Some(best) = best {
        let faster = |c: &Candidate| {
            c.fits()
                && c.tokens_per_s >= FASTER * best.tokens_per_s
                && c.parameters >= NOT_MUCH_SMALLER * best.parameters
        };
        chosen.extend(most(&faster).map(|c| (c, Reason::Faster)));
    }
    let least = best.map_or(0.0, |best| best.parameters);
    let larger = |c: &Candidate| c.tokens_per_s >= BEARABLE && c.parameters > least;
    chosen.extend(most(&larger).map(|c| (c, Reason::Larger)));
    if chosen.is_empty() {
        let fastest = candidates.iter().copied();
        let fastest = fastest.max_by(|a, b| a.tokens_per_s.total_cmp(&b.tokens_per_s));
        chosen.extend(fastest.map(|c| (c, Reason::Fastest)));
    }
    chosen
}

fn reason(candidate: &Candidate, reason: Reason) -> String {
    let speed = format!(
        "about {} tokens/s (predicted)",
        known::speed(candidate.tokens_per_s)
    );
    match reason {
        Reason::Best => {
            format!("the largest that fits in memory and answers quickly: {speed}")
        }
        Reason::Faster => format!("smaller, and at least twice as fast: {speed}"),
        Reason::Larger if candidate.fits() => {
            format!("larger, and slow to compute though it fits in memory: {speed}")
        }
        Reason::Larger => format!("larger, streamed from the disk: {speed}"),
        Reason::Fastest => {
            format!("nothing is quick with so little memory; this is least slow: {speed}")
        }
    }
}

pub(super) fn recommend(
    store: &Store,
    capacity: Option<&Capacity>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some(capacity) = capacity else {
        anyhow::bail!("the machine does not say how much memory is free: give --ram SIZE");
    };
    let judged = Known::all().filter(|known| known.role() != Role::Test);
    let candidates: Vec<_> = judged.filter_map(|k| Candidate::of(k, capacity)).collect();
    let chosen = choose(&candidates);
    writeln!(out, "For {}:", known::basis(capacity))?;
    for (candidate, why) in &chosen {
        let known = candidate.known;
        let size = known
            .size()
            .map(|size| size.to_string())
            .unwrap_or_default();
        let licence = known.facts().map_or("", |facts| &facts.licence);
        writeln!(
            out,
            "\n  {}  ({}, {size}, licence {licence})",
            known.name(),
            known.title()
        )?;
        writeln!(out, "      {}", reason(candidate, *why))?;
    }
    if let Some((first, _)) = chosen.first() {
        let name = first.known.name();
        let next = match locate::resolve_in(name, store) {
            Ok(_) => format!("nmos --oracle {name}"),
            Err(_) => format!("nmos models pull {name}"),
        };
        writeln!(out, "\nNext: `{next}`")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn chosen(gib: u64) -> Vec<(&'static str, Reason)> {
        let capacity = Capacity {
            ram: Bytes(gib * Bytes::GIB),
            disk: None,
        };
        let candidates: Vec<_> = Known::all()
            .filter_map(|known| Candidate::of(known, &capacity))
            .collect();
        let chosen = choose(&candidates);
        chosen
            .iter()
            .map(|(c, why)| (c.known.name(), *why))
            .collect()
    }

    #[test]
    fn more_memory_brings_larger_models() {
        assert_eq!(chosen(8)[0], ("qwen3-8b", Reason::Best));
        assert_eq!(chosen(32)[0], ("qwen3.6-35b-a3b", Reason::Best));
        assert_eq!(chosen(128)[0], ("qwen3.5-122b-a10b", Reason::Best));
        let parameters = |gib| {
            let name = chosen(gib)[0].0;
            let known = Known::all().find(|known| known.name() == name).unwrap();
            known.facts().unwrap().parameters
        };
        let by_memory = [2, 4, 8, 16, 32, 64, 128].map(parameters);
        assert!(by_memory.is_sorted(), "{by_memory:?}");
    }

    #[test]
    fn what_is_named_is_different_and_why() {
        for gib in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
            let chosen = chosen(gib);
            assert!(!chosen.is_empty(), "{gib}");
            for (i, (name, why)) in chosen.iter().enumerate() {
                let other = |(n, w): &(&str, Reason)| n != name && w != why;
                assert!(chosen[..i].iter().all(other), "{gib}: {chosen:?}");
            }
        }
    }
}
