//! Who gets how much of `--ram`.
//!
//! The budget is for all that the process holds. The program is measured, vocabulary and draft
//! are predicted from their files ([`Held`](super::held::Held)), so that weights can be placed
//! and set out before these load; the rest is known by size, a margin is left for what can be
//! neither, and the weights get what remains:
//!
//! ```text
//!  | program | vocabulary, draft | KV cache | activations | margin | weights: pinned, ring |
//!    measured  predicted           max for ctx                       what is left
//! ```

use crate::model::Blueprint;
use crate::oracle::{LayerOracle, LlamaOracle};
use crate::river::{Plan, Shard, catalogue, catalogue_by_layer};
use crate::units::Bytes;

/// For text, telemetry, the screen, thread stacks, the allocator's slack, and what vocabulary
/// and draft hold beyond what is predicted of them (measured: up to 7 MiB).
const MARGIN: Bytes = Bytes::mib(28);

/// What the program holds differs a little from run to run: the least budget that is named
/// must work.
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
    /// llama.cpp over layers that come and go, with this much for them.
    Hooked { weights: Bytes, plan: Plan },
}

impl Form {
    /// As it is shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Streamed { .. } => "streamed",
            Self::Hooked { .. } => "hooked",
        }
    }

    /// Which shards stay; none where the model is not cut into shards.
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Resident => None,
            Self::Streamed { plan, .. } | Self::Hooked { plan, .. } => Some(plan),
        }
    }
}

/// The budget is too small to stream through.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{ram} of memory are too little for this model with this draft and context: the least that \
     works is {} MiB; give more with --ram, or take --draft none or a smaller --ctx{}",
    least.0.div_ceil(Bytes::MIB), of_that(*head)
)]
pub struct TooSmall {
    pub ram: Bytes,
    pub least: Bytes,
    /// The output matrix, where it has to stay.
    pub head: Option<Bytes>,
}

fn of_that(head: Option<Bytes>) -> String {
    head.map_or_else(String::new, |head| {
        format!(
            ". {head} of that are the output matrix, which has to stay in memory under the graph \
             of this architecture"
        )
    })
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
        model: &Blueprint,
        ctx_tokens: usize,
    ) -> Result<Self, TooSmall> {
        let context = LlamaOracle::context_bytes(
            model.n_layer(),
            model.kv_width(),
            model.n_vocab(),
            ctx_tokens,
        );
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
        owners.extend(others(model, ctx_tokens));
        let taken: u64 = owners.iter().map(|(_, bytes)| bytes.0).sum();
        let weights = ram.saturating_sub(Bytes(taken));
        match Plan::new(&shards(model), weights) {
            Ok(plan) => {
                owners.push(("weights that stay", Bytes(plan.pinned_bytes as u64)));
                owners.push(("weights in flight", Bytes(plan.ring_bytes as u64)));
                let form = match model {
                    Blueprint::Layers(_) => Form::Streamed { weights, plan },
                    Blueprint::Graph(_) => Form::Hooked { weights, plan },
                };
                Ok(Self { ram, form, owners })
            }
            Err(_) => Err(Self::least(model, held, ctx_tokens, ram)),
        }
    }

    /// Says how little would be enough with `held` in use before the weights.
    pub fn least(model: &Blueprint, held: Bytes, ctx_tokens: usize, ram: Bytes) -> TooSmall {
        let others = others(model, ctx_tokens);
        let taken = held.0 + MARGIN.0 + others.iter().map(|(_, bytes)| bytes.0).sum::<u64>();
        let weights = Plan::least(&shards(model));
        TooSmall {
            ram,
            least: Bytes((taken + weights.0 + SLACK.0).next_multiple_of(Bytes::MIB)),
            head: match model {
                Blueprint::Layers(_) => None,
                Blueprint::Graph(outline) => Some(outline.head_bytes()),
            },
        }
    }
}

/// The parts that come and go where not all of the model fits.
pub fn shards(model: &Blueprint) -> Vec<Shard> {
    match model {
        Blueprint::Layers(layout) => catalogue(layout),
        Blueprint::Graph(outline) => catalogue_by_layer(&outline.layers),
    }
}

/// Memory that is not for shards, by owner.
fn others(model: &Blueprint, ctx_tokens: usize) -> [(&'static str, Bytes); 3] {
    match model {
        Blueprint::Layers(layout) => LayerOracle::other_bytes(layout, ctx_tokens),
        Blueprint::Graph(outline) => LlamaOracle::other_bytes(outline, ctx_tokens),
    }
}
