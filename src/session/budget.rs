//! Who gets how much of `--ram`.
//!
//! The budget is for all that the process holds. What is loaded before the weights (program,
//! vocabulary, draft) is measured, what comes after is known by size, a margin is left for
//! what can be neither, and the weights get the rest:
//!
//! ```text
//!  | program, vocabulary, draft | KV cache | activations | margin | weights: pinned, ring |
//!     measured                    max for ctx                       what is left
//! ```

use crate::model::ModelLayout;
use crate::oracle::{LayerOracle, LlamaOracle};
use crate::river::{Plan, catalogue};
use crate::units::Bytes;

/// For text, telemetry, the screen, thread stacks and the allocator's slack.
const MARGIN: Bytes = Bytes::mib(20);

/// What is held before the weights differs a little from run to run, and from what is
/// predicted of it: the least budget that is named must work.
const SLACK: Bytes = Bytes::mib(16);

/// How the oracle is run, and who holds what.
#[derive(Clone, Debug)]
pub struct Budget {
    pub ram: Bytes,
    pub form: Form,
    /// Sums to at most `ram`.
    pub owners: Vec<(&'static str, Bytes)>,
}

/// Which oracle the memory is enough for.
#[derive(Clone, Debug)]
pub enum Form {
    /// llama.cpp over the whole model.
    Resident,
    /// Layer by layer, with this much for weights.
    Streamed { weights: Bytes, plan: Plan },
}

/// The budget is too small to stream through.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{ram} of memory are too little for this model with this draft and context: the least that \
     works is {} MiB; give more with --ram, or take --draft none or a smaller --ctx",
    least.0.div_ceil(Bytes::MIB)
)]
pub struct TooSmall {
    pub ram: Bytes,
    pub least: Bytes,
}

impl Budget {
    /// The owner of what is loaded before the weights.
    pub const HELD: &str = "program, vocabulary, draft";
    /// The owner of what can be neither measured nor derived.
    pub const MARGIN: &str = "margin";

    /// What of `ram` nobody is given: too little for another shard, or more than is needed.
    pub fn unused(&self) -> Bytes {
        let given: u64 = self.owners.iter().map(|(_, bytes)| bytes.0).sum();
        self.ram.saturating_sub(Bytes(given))
    }

    /// Divides `ram` with `held` in use already. `resident_weights` is what llama.cpp takes
    /// for the whole model.
    ///
    /// # Errors
    /// Says the least that works.
    pub fn new(
        ram: Bytes,
        held: Bytes,
        resident_weights: Bytes,
        layout: &ModelLayout,
        ctx_tokens: usize,
    ) -> Result<Self, TooSmall> {
        let shape = &layout.shape;
        let context =
            LlamaOracle::context_bytes(shape.n_layer, shape.kv_width(), shape.n_vocab, ctx_tokens);
        let mut owners = vec![(Self::HELD, held), (Self::MARGIN, MARGIN)];
        let resident = held.0 + MARGIN.0 + resident_weights.0 + context.0;
        if resident <= ram.0 {
            owners.push(("context", context));
            owners.push(("weights, vocabulary", resident_weights));
            return Ok(Self {
                ram,
                form: Form::Resident,
                owners,
            });
        }
        owners.extend(LayerOracle::other_bytes(layout, ctx_tokens));
        let taken: u64 = owners.iter().map(|(_, bytes)| bytes.0).sum();
        let weights = ram.saturating_sub(Bytes(taken));
        match Plan::new(&catalogue(layout), weights) {
            Ok(plan) => {
                owners.push(("weights that stay", Bytes(plan.pinned_bytes as u64)));
                owners.push(("weights in flight", Bytes(plan.ring_bytes as u64)));
                Ok(Self {
                    ram,
                    form: Form::Streamed { weights, plan },
                    owners,
                })
            }
            Err(_) => Err(Self::least(layout, held, ctx_tokens, ram)),
        }
    }

    /// Says how little would be enough with `held` in use before the weights.
    pub fn least(layout: &ModelLayout, held: Bytes, ctx_tokens: usize, ram: Bytes) -> TooSmall {
        let others = LayerOracle::other_bytes(layout, ctx_tokens);
        let taken = held.0 + MARGIN.0 + others.iter().map(|(_, bytes)| bytes.0).sum::<u64>();
        let weights = Plan::least(&catalogue(layout));
        let least = Bytes((taken + weights.0 + SLACK.0).next_multiple_of(Bytes::MIB));
        TooSmall { ram, least }
    }
}
