//! The draft policy: whether the default draft pays for the memory that it takes.
//!
//! What a draft holds could hold weights instead, which then need not be read in every pass:
//!
//! ```text
//!  without  | kv | weights that stay .................... | ring |   1 token a short pass
//!  with     | kv | draft ........ | weights that stay ... | ring |   several a long one
//! ```
//!
//! For a model many times larger than the memory, the draft's share is small, and guesses pay.
//! Where nearly all of the model would fit, the weights that the draft displaces are most of what a
//! pass reads, and the draft costs more than it gains. The decision rests on what is known before
//! anything is loaded: which shards would stay, the speed of the disk if `nmos doctor` has measured
//! it, and how fast such machines compute. The policy is not applied where a draft or a tree was
//! asked for: that is never left out.

use super::{DecodeTimes, Division, LeftOut, PassTimes, PlacementError, Slower};
use crate::ledger::Owner;
use crate::oracle::WidthClass;
use crate::units::Bytes;

/// Bytes of weights a second that computing a single token takes in: two channels of memory.
const MEMORY: f64 = 30e9;

/// The probability that a guess is right after right ones: between chat and code, for a draft a
/// third of its oracle's size.
const RIGHT: f64 = 0.72;

/// By this factor the way without a draft must be expected to be faster, since both speeds are
/// estimates.
const CLEARLY: f64 = 1.15;

/// What the speed of answers depends on, whatever the division.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speeds {
    /// Weights of a pass.
    pub model: Bytes,
    pub disk_bytes_per_s: f64,
    pub threads: usize,
}

/// Chooses between the memory divided `with` a default draft and `without` one, and says why if it
/// is without.
///
/// # Errors
/// Those of `without`, where it is all that there is.
pub(super) fn choose(
    speeds: Speeds,
    with: Result<Division, PlacementError>,
    without: impl FnOnce() -> Result<Division, PlacementError>,
) -> Result<(Division, Option<LeftOut>), PlacementError> {
    Ok(match with {
        Err(error) => (without()?, Some(LeftOut::TooLarge(Box::new(error)))),
        Ok(with) => match without_is_faster(speeds, &with, without) {
            None => (with, None),
            Some((without, slower)) => (without, Some(LeftOut::Slower(slower))),
        },
    })
}

/// `None`: the draft pays for its memory, or takes none that the weights need.
fn without_is_faster(
    speeds: Speeds,
    with: &Division,
    without: impl FnOnce() -> Result<Division, PlacementError>,
) -> Option<(Division, Slower)> {
    with.form.plan()?;
    let memory = with.ledger.bytes_of(Owner::Draft);
    // What a GPU computes is read from the host's memory in any case.
    let with = speeds.tokens_per_s(with, true)?;
    let division = without().ok()?;
    let slower = Slower {
        memory,
        with,
        without: speeds.tokens_per_s(&division, false)?,
    };
    (slower.without > CLEARLY * slower.with).then_some((division, slower))
}

impl Speeds {
    /// The speed to expect of answers, before anything is loaded: `None` where a GPU computes, of
    /// which nothing is known.
    pub fn tokens_per_s(self, division: &Division, drafted: bool) -> Option<f64> {
        if division.device.is_some() {
            return None;
        }
        let work = Work {
            model: self.model,
            streamed: Bytes(division.form.streamed_bytes() as u64),
            missed: division
                .form
                .experts()
                .map_or(Bytes(0), |experts| experts.predicted_token_bytes),
            draft: drafted.then(|| division.ledger.bytes_of(Owner::Draft)),
            max_nodes: division.max_nodes,
            threads: self.threads,
        };
        Some(work.tokens_per_s(self.disk_bytes_per_s))
    }
}

/// What an answer's passes have to move.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Weights of a pass.
    model: Bytes,
    /// Of these, read from the disk.
    streamed: Bytes,
    /// Experts that each node has read for itself, when it has chosen them.
    missed: Bytes,
    /// Weights of a decode of the draft.
    draft: Option<Bytes>,
    max_nodes: usize,
    threads: usize,
}

impl Work {
    /// At the best number of guesses.
    fn tokens_per_s(self, disk: f64) -> f64 {
        let stream_s = self.streamed.0 as f64 / disk;
        let token_s = self.model.0 as f64 / MEMORY;
        let typical = PassTimes::default();
        // With whichever class's kernels are faster.
        let relative = |nodes| {
            let classes = [WidthClass::PLAIN, WidthClass::BATCH];
            let ms = classes.map(|class| typical.ms(nodes, class));
            ms[0].min(ms[1]) / typical.ms(1, WidthClass::PLAIN)
        };
        let pass_s = |nodes: usize| {
            // More cores compute wide passes faster, and narrow ones as fast as memory lets them.
            let wider = relative(nodes) * PassTimes::CORES / self.threads as f64;
            let missed_s = (self.missed.0 * nodes as u64) as f64 / disk;
            (token_s * wider.max(1.0)).max(stream_s) + missed_s
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
    use crate::ledger::Ledger;
    use crate::plan::{Form, TooSmall};
    use crate::river::Plan;

    fn work(model_mib: u64, streamed_mib: u64, draft_mib: Option<u64>) -> Work {
        Work {
            model: Bytes::mib(model_mib),
            streamed: Bytes::mib(streamed_mib),
            missed: Bytes(0),
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

    /// For a model of 934 MiB, of which so much streams with a draft that holds so much.
    fn division(streamed_mib: usize, draft_mib: u64) -> Division {
        let mut ledger = Ledger::new(Bytes::mib(1024));
        ledger.predicted(Owner::Draft, Bytes::mib(draft_mib));
        Division {
            max_nodes: 16,
            form: Form::Streamed(Plan {
                pinned: Vec::new(),
                leaves: Vec::new(),
                ring_bytes: 0,
                pinned_bytes: (934 - streamed_mib) << 20,
                streamed_bytes: streamed_mib << 20,
            }),
            ledger,
            device: None,
        }
    }

    fn refused() -> PlacementError {
        let error = TooSmall {
            ram: Bytes::mib(1),
            least: Bytes::mib(9),
            drafted: true,
            ctx_tokens: 256,
            nodes: 1,
            head: None,
        };
        error.into()
    }

    const SPEEDS: Speeds = Speeds {
        model: Bytes::mib(934),
        disk_bytes_per_s: 3.5e9,
        threads: 2,
    };

    #[test]
    fn a_draft_whose_memory_is_better_used_is_left_out_with_figures() {
        let (chosen, why) =
            choose(SPEEDS, Ok(division(748, 470)), || Ok(division(140, 0))).unwrap();
        assert_eq!(chosen.form.streamed_bytes(), 140 << 20);
        let Some(LeftOut::Slower(slower)) = why else {
            panic!("{why:?}");
        };
        assert_eq!(slower.memory, Bytes::mib(470));
        assert!(slower.without > CLEARLY * slower.with);
        assert_eq!(SPEEDS.tokens_per_s(&chosen, false), Some(slower.without));
    }

    #[test]
    fn a_draft_that_takes_no_memory_from_weights_stays() {
        let (chosen, why) = choose(SPEEDS, Ok(division(0, 470)), || Ok(division(0, 0))).unwrap();
        assert_eq!(chosen.ledger.bytes_of(Owner::Draft), Bytes::mib(470));
        assert!(why.is_none(), "{why:?}");
        // Nor where nothing else can be had.
        let (_, why) = choose(SPEEDS, Ok(division(748, 470)), || Err(refused())).unwrap();
        assert!(why.is_none(), "{why:?}");
    }

    #[test]
    fn a_draft_that_memory_is_too_little_for_is_left_out() {
        let (_, why) = choose(SPEEDS, Err(refused()), || Ok(division(140, 0))).unwrap();
        assert!(matches!(why, Some(LeftOut::TooLarge(_))), "{why:?}");
        choose(SPEEDS, Err(refused()), || Err(refused())).unwrap_err();
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
