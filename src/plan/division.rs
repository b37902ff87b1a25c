//! Who gets how much of `--ram`, and how the oracle is run with it.
//!
//! The budget is for all that the process holds. The program is measured, vocabulary and draft
//! are predicted from their files ([`Footprint`]), so that weights can be placed and begin to load
//! before these do; the rest has a known size, a margin is left for what can neither be measured
//! nor predicted, and the weights get what remains:
//!
//! ```text
//!  | program | vocabulary, draft | margin | KV cache | activations | weights: pinned, ring |
//!    measured  predicted           fixed    max for ctx              what is left
//! ```
//!
//! Activations and logits grow with the most nodes that a pass may have. Where that number is
//! chosen automatically, it is small if the weights need the memory more.
//!
//! A [`Division`] is a function of [`Sizes`] and the model alone: nothing is measured here.

use super::footprint::Footprint;
use super::vram::{DevicePlacement, VramTooSmall};
use super::{DivisionError, Form, TooSmall, TreeSize, mixture};
use crate::experts::{ExpertPlan, Mixture};
use crate::ggml::Device;
use crate::ledger::{Ledger, Owner};
use crate::model::Blueprint;
use crate::oracle::{LayerOracle, LlamaOracle, WidthClass};
use crate::river::{Plan, Shard};
use crate::units::Bytes;

/// For text, telemetry, the screen, thread stacks, the allocator's slack, and what vocabulary
/// and draft hold beyond what is predicted of them (measured: up to 7 MiB).
const MARGIN: Bytes = Bytes::mib(28);

/// What the program holds differs a little from run to run, and the least budget that an error
/// names must work.
const SLACK: Bytes = Bytes::mib(16);

/// Most nodes of a pass whose size is chosen automatically: a full batch, or where memory is short
/// as many as cost hardly more than eight.
pub(super) const AUTO_NODES: usize = WidthClass::BATCH.max;
const AUTO_NODES_SHORT: usize = 16;

/// The same where only repetitions are guessed, and the memory of more nodes would make a pass
/// read a 50th more: most answers repeat little.
const AUTO_NODES_ALONE: usize = 8;
const MISSED: u64 = 50;

/// The same where a device computes, whose wide passes cost hardly more while weights stream.
const AUTO_NODES_DEVICE: [usize; 3] = [WidthClass::DEVICE.max, 256, WIDE_ENOUGH];

/// Nodes that a draft on the device has to leave to a pass: of guesses beyond these, few are ever
/// right.
const WIDE_ENOUGH: usize = 128;

/// Memory is short where the nodes from the smaller number to the larger would take more than
/// this part of it.
const SHORT: u64 = 20;

/// Tokens of a pass over a prompt in any case.
const PASS: usize = WidthClass::BATCH.max;

/// Tokens of the passes over a mixture's prompts that are tried beyond that, the most first: nearly
/// all experts are used, and so read, in any of them.
const PROMPT_WIDTHS: [usize; 3] = [512, 256, 128];

/// What wide passes take may be this part of what experts have.
const WIDE_PART: u64 = 16;

/// What a division is computed from, apart from the model's shape.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub ram: Bytes,
    /// Held before the weights are placed.
    pub footprint: Footprint,
    /// What llama.cpp takes for the whole model.
    pub tensors: Bytes,
    pub ctx_tokens: usize,
    pub tree: TreeSize,
    /// Where the oracle computes, if not on the CPU, and how much of its memory it may take.
    pub device: Option<(Device, Bytes)>,
}

/// How memory is divided.
#[derive(Clone, Debug)]
pub struct Division {
    /// Most nodes of a pass.
    pub max_nodes: usize,
    pub form: Form,
    /// Of the host's memory.
    pub ledger: Ledger,
    /// The device that computes, if one does.
    pub device: Option<DevicePlacement>,
}

/// How a mixture shares what is left for weights.
struct WithExperts {
    ledger: Ledger,
    layers: Plan,
    experts: ExpertPlan,
}

impl Division {
    /// Divides the memory for a model cut into `shards`, and passes of as many nodes as pay.
    ///
    /// # Errors
    /// Says the least that works.
    pub fn new(sizes: &Sizes, model: &Blueprint, shards: &[Shard]) -> Result<Self, DivisionError> {
        let divider = Divider {
            sizes,
            model,
            shards,
            mixture: match model {
                Blueprint::Graph(outline) => Mixture::of(outline),
                Blueprint::Layers(_) => None,
            },
        };
        divider.divide()
    }

    /// Whether the draft is on the device and leaves the window as many slots as are of use. That
    /// it displaces weights that would stay does not matter: sending a gigabyte of them costs a
    /// pass 20 ms, and a draft there is several times faster than on the CPU. Whether it leaves
    /// enough nodes to a pass is for [`Division::is_as_wide_as`].
    pub(super) fn holds_draft_and_window(&self) -> bool {
        let device = self.device.as_ref();
        device.is_some_and(|on| on.holds_draft && on.window.is_roomy())
    }

    /// Whether passes have enough nodes with the draft on the device, compared with `on_host`, the
    /// division with the draft on the host: the guesses of a fast draft are of no use where passes
    /// cannot verify them.
    pub(super) fn is_as_wide_as(&self, on_host: Option<&Self>) -> bool {
        is_wide_enough(self.max_nodes, on_host.map_or(0, |other| other.max_nodes))
    }

    /// Whether a pass reads clearly more than one of `other`.
    fn streams_more(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.form.token_bytes().0, other.form.token_bytes().0);
        ours > theirs + theirs / MISSED
    }
}

fn is_wide_enough(nodes: usize, nodes_on_host: usize) -> bool {
    nodes >= nodes_on_host.min(WIDE_ENOUGH)
}

/// One division under way.
struct Divider<'a> {
    sizes: &'a Sizes,
    model: &'a Blueprint,
    shards: &'a [Shard],
    /// Its experts, if it has any.
    mixture: Option<Mixture>,
}

impl Divider<'_> {
    fn divide(&self) -> Result<Division, DivisionError> {
        let least = self.least_nodes();
        let drafted = self.sizes.footprint.draft.is_some();
        // With more nodes than the least, where only repetitions are guessed.
        let mut wider: Option<Division> = None;
        for nodes in self.affordable_nodes() {
            let Ok(device) = self.on_device(nodes) else {
                continue;
            };
            let cramped = device.as_ref().is_some_and(|on| !on.window.is_roomy());
            if cramped && nodes > least && drafted {
                continue;
            }
            let Some(division) = self.with_nodes(nodes, device) else {
                continue;
            };
            if nodes > least && !drafted && division.device.is_none() {
                wider = Some(division);
                continue;
            }
            let wider = wider.filter(|wider| !wider.streams_more(&division));
            return Ok(wider.unwrap_or(division));
        }
        let on_device = self.on_device(least)?.is_some();
        Err(self.too_small(on_device).into())
    }

    /// Most nodes of a pass that memory is enough for, the larger numbers first: the last is
    /// the least that a session has.
    fn affordable_nodes(&self) -> Vec<usize> {
        let least = self.least_nodes();
        if self.sizes.tree != TreeSize::Auto {
            return vec![least];
        }
        if self.sizes.footprint.draft.is_none() {
            return vec![AUTO_NODES_SHORT, least];
        }
        let bytes = |nodes| -> u64 {
            let others = self.others(nodes, self.sizes.device.is_some(), PASS);
            others.iter().map(|(_, bytes)| bytes.0).sum()
        };
        let affordable = |&nodes: &usize| (bytes(nodes) - bytes(least)) * SHORT <= self.sizes.ram.0;
        let on_gpu = (self.sizes.device).is_some_and(|(device, _)| !device.is_cpu());
        let wide = AUTO_NODES_DEVICE.into_iter().filter(|_| on_gpu);
        let many = wide.chain([AUTO_NODES]).filter(affordable);
        many.chain([least]).collect()
    }

    /// Most nodes of a pass where memory is short.
    fn least_nodes(&self) -> usize {
        let auto = match self.sizes.footprint.draft {
            Some(_) => AUTO_NODES_SHORT,
            None => AUTO_NODES_ALONE,
        };
        self.sizes.tree.nodes().unwrap_or(auto)
    }

    /// How the device's memory is divided; `None` where the CPU computes, as it does for models
    /// that we have no graphs for.
    fn on_device(&self, max_nodes: usize) -> Result<Option<DevicePlacement>, VramTooSmall> {
        let (Some(device), Blueprint::Layers(layout)) = (self.sizes.device, self.model) else {
            return Ok(None);
        };
        let pass = (self.sizes.ctx_tokens, max_nodes);
        let draft = self.sizes.footprint.draft.and_then(|draft| draft.device);
        DevicePlacement::new(device, layout, self.shards, pass, draft).map(Some)
    }

    /// `None`: the memory is too little for so many nodes.
    fn with_nodes(&self, max_nodes: usize, device: Option<DevicePlacement>) -> Option<Division> {
        let mut ledger = self.before_weights();
        // Models that we have graphs for are computed with these, even where the whole model fits.
        // So is a mixture by llama.cpp's graph over weights that are placed: what an expert computes
        // must not depend on how many tokens chose it, which llama.cpp alone does not see to.
        let context = match self.model {
            Blueprint::Graph(outline) if !outline.is_mixture() => {
                let ctx_tokens = self.sizes.ctx_tokens;
                Some(LlamaOracle::context_bytes(outline, ctx_tokens, max_nodes))
            }
            Blueprint::Graph(_) | Blueprint::Layers(_) => None,
        };
        let whole = |context: &Bytes| ledger.given().0 + self.sizes.tensors.0 + context.0;
        let context = context.filter(|context| whole(context) <= ledger.limit().0);
        let form = if let (Some(context), None) = (context, &device) {
            ledger.predicted(Owner::Context, context);
            ledger.predicted(Owner::Weights, self.sizes.tensors);
            Form::Resident
        } else {
            let (plan, experts) = match (&device, &self.mixture) {
                (None, Some(mixture)) => {
                    let divided = self.with_experts(mixture, &ledger, max_nodes)?;
                    ledger = divided.ledger;
                    (divided.layers, Some(divided.experts))
                }
                (device, _) => {
                    self.count_others(&mut ledger, max_nodes, device.is_some(), PASS);
                    let free = ledger.free();
                    let plan = match device {
                        Some(on) => Plan::before_device(self.shards, &on.window.stays, free),
                        None => Plan::new(self.shards, free),
                    };
                    (plan.ok()?, None)
                }
            };
            ledger.predicted(Owner::PinnedWeights, Bytes(plan.pinned_bytes as u64));
            ledger.predicted(Owner::StreamedWeights, Bytes(plan.ring_bytes as u64));
            if let Some(experts) = &experts {
                ledger.predicted(Owner::Experts, experts.memory());
            }
            match self.model {
                Blueprint::Layers(_) => Form::Streamed(plan),
                Blueprint::Graph(_) => Form::Hooked {
                    layers: plan,
                    experts,
                },
            }
        };
        Some(Division {
            max_nodes,
            form,
            ledger,
            device,
        })
    }

    /// How a mixture shares what `ledger` leaves, with passes over prompts as wide as pays. `None`:
    /// it is too little.
    fn with_experts(
        &self,
        mixture: &Mixture,
        ledger: &Ledger,
        max_nodes: usize,
    ) -> Option<WithExperts> {
        let divided = |width: usize| {
            let mut ledger = ledger.clone();
            self.count_others(&mut ledger, max_nodes, false, width);
            let (layers, experts) = mixture::divide(mixture, self.shards, ledger.free(), width)?;
            Some(WithExperts {
                ledger,
                layers,
                experts,
            })
        };
        let narrow = divided(PASS)?;
        let recurs = matches!(self.model, Blueprint::Graph(outline) if outline.state_len > 0);
        // Where all experts stay, no pass reads them again.
        if recurs || narrow.experts.bytes == narrow.experts.all {
            return Some(narrow);
        }
        let most = Bytes(narrow.experts.bytes.0 / WIDE_PART);
        let pays = |wide: &WithExperts, width| {
            let scratch = narrow.ledger.free().saturating_sub(wide.ledger.free());
            wide.experts.widest == width && scratch <= most
        };
        let wide = PROMPT_WIDTHS
            .into_iter()
            .find_map(|width| divided(width).filter(|wide| pays(wide, width)));
        Some(wide.unwrap_or(narrow))
    }

    /// What is held whatever the form and the number of nodes.
    fn before_weights(&self) -> Ledger {
        let Footprint {
            program,
            vocabulary,
            draft,
            drafters,
        } = self.sizes.footprint;
        let mut ledger = Ledger::new(self.sizes.ram);
        ledger.measured(Owner::Program, program);
        ledger.predicted(Owner::Vocabulary, vocabulary);
        let draft = draft.map_or(Bytes(0), |draft| draft.host);
        ledger.predicted(Owner::Draft, draft);
        if drafters > Bytes(0) {
            ledger.fixed(Owner::Drafters, drafters);
        }
        ledger.fixed(Owner::Margin, MARGIN);
        ledger
    }

    fn count_others(&self, ledger: &mut Ledger, max_nodes: usize, on_device: bool, width: usize) {
        for (owner, bytes) in self.others(max_nodes, on_device, width) {
            ledger.predicted(owner, bytes);
        }
    }

    /// Memory that is not for shards, by owner; a mixture's prompts are read in passes of
    /// `prompt_width` tokens.
    fn others(
        &self,
        max_nodes: usize,
        on_device: bool,
        prompt_width: usize,
    ) -> Vec<(Owner, Bytes)> {
        let ctx_tokens = self.sizes.ctx_tokens;
        match self.model {
            Blueprint::Layers(layout) if on_device => {
                LayerOracle::host_bytes(layout, ctx_tokens, max_nodes).to_vec()
            }
            Blueprint::Layers(layout) => {
                LayerOracle::other_bytes(layout, ctx_tokens, max_nodes).to_vec()
            }
            Blueprint::Graph(outline) => {
                LlamaOracle::other_bytes(outline, ctx_tokens, max_nodes, prompt_width).to_vec()
            }
        }
    }

    /// Says how little memory would be enough.
    fn too_small(&self, on_device: bool) -> TooSmall {
        let others = self.others(self.least_nodes(), on_device, PASS);
        let others: u64 = others.iter().map(|(_, bytes)| bytes.0).sum();
        let weights = match &self.mixture {
            Some(experts) => mixture::least(experts, self.shards),
            None => Plan::least(self.shards),
        };
        let least = self.before_weights().given().0 + others + weights.0 + SLACK.0;
        TooSmall {
            ram: self.sizes.ram,
            least: Bytes(least.next_multiple_of(Bytes::MIB)),
            drafted: self.sizes.footprint.draft.is_some(),
            ctx_tokens: self.sizes.ctx_tokens,
            nodes: self.least_nodes(),
            head: match self.model {
                Blueprint::Layers(_) => None,
                Blueprint::Graph(outline) => Some(outline.head_bytes()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_goes_to_the_device_where_passes_stay_wide() {
        assert!(is_wide_enough(512, 512));
        assert!(is_wide_enough(128, 512));
        assert!(!is_wide_enough(16, 512));
        assert!(!is_wide_enough(16, 63));
        // A size that was asked for, or the most that there can be in any case.
        assert!(is_wide_enough(16, 16));
        assert!(is_wide_enough(16, 0));
    }
}
