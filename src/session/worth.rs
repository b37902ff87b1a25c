//! Whether the default draft is worth the memory that it takes.
//!
//! What a draft holds could hold weights instead, which then need not be read in every pass:
//!
//! ```text
//!  without  | kv | weights that stay .................... | ring |   1 token a short pass
//!  with     | kv | draft ........ | weights that stay ... | ring |   several a long one
//! ```
//!
//! For a model many times larger than the memory that is little, and guesses pay. Where nearly
//! all of the model would fit, it is most of what is read, and the draft costs more than it
//! brings. What is known before anything is loaded decides: which shards would stay, the speed
//! of the disk if `nmos doctor` has measured it, and how such machines compute. A draft or a tree
//! that was asked for is never left out.

use super::budget::{self, Budget, Machine};
use super::held::Held;
use super::options::EngineOptions;
use super::pairing::{Pairing, left_out};
use crate::model::{Blueprint, Gguf};
use crate::oracle::WidthClass;
use crate::speculate::{DecodeTimes, PassTimes, TreeSize};
use crate::system::measure::Tuning;
use crate::units::Bytes;

/// Bytes a second of an SSD that was never measured.
const DISK: f64 = 2e9;

/// Bytes of weights that a token's computing takes in a second: two channels of memory.
const MEMORY: f64 = 30e9;

/// The probability that a guess is right behind right ones: between chat and code, for a draft
/// a third of its oracle's size.
const RIGHT: f64 = 0.72;

/// So much faster must the way without a draft be expected to be: this is an estimate.
const CLEARLY: f64 = 1.15;

/// Divides the memory, with the draft of `pairing` or, where that was not asked for and is not
/// worth what it takes, without: then the pairing says why.
///
/// # Errors
/// A header that lacks what every model has, and memory that is too little.
pub(super) fn divide(
    options: &EngineOptions,
    gguf: &Gguf,
    blueprint: &Blueprint,
    pairing: &mut Pairing,
    machine: Machine,
) -> anyhow::Result<(Held, Budget)> {
    let part = |draft| budget::divide(options, gguf, blueprint, draft, machine);
    let Some(draft) = &pairing.draft else {
        return part(None);
    };
    let with = part(Some(draft));
    if options.draft_required || options.tree != TreeSize::Auto {
        return with;
    }
    let (why, without) = match with {
        Err(error) => (left_out(error), part(None)?),
        Ok(with) => {
            let Some((estimate, without)) = without_is_faster(options, &with, || part(None)) else {
                return Ok(with);
            };
            (estimate.to_string(), without)
        }
    };
    pairing.draft = None;
    pairing.left_out = Some(why);
    Ok(without)
}

/// What is said of a draft that is not worth its memory.
#[derive(Debug, thiserror::Error)]
#[error(
    "no draft: in {memory} of memory that it would take, weights make answers faster (an estimate: \
     {without:.1} tokens/s instead of {with:.1}); --draft NAME takes one all the same"
)]
struct Estimate {
    memory: Bytes,
    with: f64,
    without: f64,
}

/// `None`: the draft is worth its memory, or takes none that is missed.
fn without_is_faster(
    options: &EngineOptions,
    (held, with): &(Held, Budget),
    without: impl FnOnce() -> anyhow::Result<(Held, Budget)>,
) -> Option<(Estimate, (Held, Budget))> {
    let streamed = with.form.plan()?;
    // What a GPU computes is read from the host's memory in any case.
    if with.device.is_some() {
        return None;
    }
    let without = without().ok()?;
    let model = Bytes((streamed.pinned_bytes + streamed.streamed_bytes) as u64);
    let disk = Tuning::of(&options.oracle).map_or(DISK, |tuning| tuning.gb_s * 1e9);
    let rate = |budget: &Budget, draft| {
        let work = Work::of(options, budget, model, draft);
        work.tokens_per_s(disk)
    };
    let estimate = Estimate {
        memory: held.draft,
        with: rate(with, Some(held.draft)),
        without: rate(&without.1, None),
    };
    (estimate.without > CLEARLY * estimate.with).then_some((estimate, without))
}

/// The speed to expect of answers, before anything is loaded: `None` where a GPU computes, of
/// which nothing is known. `draft`: what its weights take.
pub(super) fn predicted_tokens_per_s(
    options: &EngineOptions,
    budget: &Budget,
    model: Bytes,
    draft: Option<Bytes>,
) -> Option<f64> {
    if budget.device.is_some() {
        return None;
    }
    let disk = Tuning::of(&options.oracle).map_or(DISK, |tuning| tuning.gb_s * 1e9);
    Some(Work::of(options, budget, model, draft).tokens_per_s(disk))
}

/// What an answer's passes have to move.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Weights of a pass.
    model: Bytes,
    /// Of these, read from the disk.
    streamed: Bytes,
    /// Weights of a decode of the draft.
    draft: Option<Bytes>,
    max_nodes: usize,
    threads: usize,
}

impl Work {
    fn of(options: &EngineOptions, budget: &Budget, model: Bytes, draft: Option<Bytes>) -> Self {
        let streamed = budget.form.plan().map_or(0, |plan| plan.streamed_bytes);
        Self {
            model,
            streamed: Bytes(streamed as u64),
            draft,
            max_nodes: budget.max_nodes,
            threads: options.threads,
        }
    }

    /// At the best number of guesses.
    fn tokens_per_s(self, disk: f64) -> f64 {
        let stream_s = self.streamed.0 as f64 / disk;
        let token_s = self.model.0 as f64 / MEMORY;
        let typical = PassTimes::default();
        // In whichever class is faster.
        let relative = |nodes| {
            let classes = [WidthClass::PLAIN, WidthClass::BATCH];
            let ms = classes.map(|class| typical.ms(nodes, class));
            ms[0].min(ms[1]) / typical.ms(1, WidthClass::PLAIN)
        };
        let pass_s = |nodes: usize| {
            // More cores compute wide passes faster, and narrow ones as fast as memory lets them.
            let wider = relative(nodes) * PassTimes::CORES / self.threads as f64;
            (token_s * wider.max(1.0)).max(stream_s)
        };
        let alone = pass_s(1).recip();
        let Some(draft) = self.draft else {
            return alone;
        };
        let decode_s = DecodeTimes::new(1, draft.0 as f64 / MEMORY).ms(1);
        let mut tokens = 1.0;
        (1..self.max_nodes).fold(alone, |best, guesses| {
            tokens += RIGHT.powi(guesses as i32);
            best.max(tokens / (pass_s(guesses + 1) + guesses as f64 * decode_s))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(model_mib: u64, streamed_mib: u64, draft_mib: Option<u64>) -> Work {
        Work {
            model: Bytes::mib(model_mib),
            streamed: Bytes::mib(streamed_mib),
            draft: draft_mib.map(Bytes::mib),
            max_nodes: 16,
            threads: 2,
        }
    }

    #[test]
    fn a_small_oracle_wants_the_memory_more() {
        // The default models at 1 GiB: 15 or 80 % of the oracle come from disk.
        let with = work(934, 748, Some(470)).tokens_per_s(3.5e9);
        let without = work(934, 140, None).tokens_per_s(3.5e9);
        assert!(without > CLEARLY * with, "{without} {with}");
    }

    #[test]
    fn a_large_oracle_wants_the_draft() {
        for disk in [0.5e9, 2e9, 7e9] {
            let with = work(18_000, 16_900, Some(470)).tokens_per_s(disk);
            let without = work(18_000, 16_400, None).tokens_per_s(disk);
            assert!(with > without, "{without} {with}");
        }
    }

    #[test]
    fn what_does_not_wait_for_the_disk_is_as_fast_as_memory() {
        let rate = work(3000, 0, None).tokens_per_s(1e9);
        assert!((rate - MEMORY / Bytes::mib(3000).0 as f64).abs() < 1e-9);
        // Guesses pay where more cores make wide passes cheap.
        let many = Work {
            threads: 16,
            ..work(3000, 0, Some(300))
        };
        assert!(many.tokens_per_s(1e9) > 1.5 * rate);
    }
}
