//! Who gets how much of `--ram`.
//!
//! The budget is for all that the process holds. The program is measured, vocabulary and draft
//! are predicted from their files ([`Held`]), so that weights can be placed
//! and set out before these load; the rest is known by size, a margin is left for what can be
//! neither, and the weights get what remains:
//!
//! ```text
//!  | program | vocabulary, draft | KV cache | activations | margin | weights: pinned, ring |
//!    measured  predicted           max for ctx                       what is left
//! ```
//!
//! Activations and logits grow with the most nodes that a pass may have. Where that number
//! chooses itself, it is small where the memory that it takes would be missed by the weights.

use super::held::{DraftPlace, Held};
use super::options::EngineOptions;
use super::vram::{VramBudget, VramTooSmall};
use crate::ggml::Device;
use crate::model::{Blueprint, Gguf};
use crate::oracle::{LayerOracle, LlamaOracle, WidthClass};
use crate::river::{Plan, Shard, catalogue, catalogue_by_layer};
use crate::speculate::{TreeSize, bytes_at_start};
use crate::units::Bytes;

/// For text, telemetry, the screen, thread stacks, the allocator's slack, and what vocabulary
/// and draft hold beyond what is predicted of them (measured: up to 7 MiB).
const MARGIN: Bytes = Bytes::mib(28);

/// What the program holds differs a little from run to run: the least budget that is named
/// must work.
const SLACK: Bytes = Bytes::mib(16);

/// Most nodes of a pass that chooses its size: a full batch, or where memory is short as many as
/// cost hardly more than eight.
const AUTO_NODES: usize = WidthClass::BATCH.max;
const AUTO_NODES_SHORT: usize = 16;

/// The same where only repetitions are guessed and a pass would read a 50th more for the room of
/// more: most answers repeat little.
const AUTO_NODES_ALONE: usize = 8;
const MISSED: usize = 50;

/// The same where a device computes, whose wide passes cost hardly more while weights stream.
const AUTO_NODES_DEVICE: [usize; 3] = [WidthClass::DEVICE.max, 256, WIDE_ENOUGH];

/// Nodes that a draft on the device leaves to a pass: of more, few are ever right.
const WIDE_ENOUGH: usize = 128;

/// The smallest context that can be asked for.
pub const LEAST_CTX: usize = 256;

/// Memory is short where the nodes from the smaller number to the larger would take more than
/// this part of it.
const SHORT: u64 = 20;

/// Predicts what vocabulary and draft will hold and divides the memory, in the same way for a
/// session and for what is said of one beforehand.
///
/// # Errors
/// A header that lacks what every model has, and memory that is too little.
pub(super) fn divide(
    options: &EngineOptions,
    gguf: &Gguf,
    blueprint: &Blueprint,
    draft: Option<&Gguf>,
    machine: Machine,
) -> anyhow::Result<(Held, Budget)> {
    let ctx_tokens = options.ctx_tokens.min(blueprint.ctx_train());
    let with = |place| -> anyhow::Result<(Held, Budget)> {
        let held = Held::predict(machine.program, gguf, draft, ctx_tokens, place)?;
        let held = held.with_drafters(bytes_at_start(options.drafters));
        let sizes = Sizes {
            ram: machine.ram,
            held: held.total(),
            ctx_tokens,
            tree: options.tree,
            drafted: draft.is_some(),
            device: machine.device,
            vram_draft: held.vram_draft,
        };
        let budget = Budget::new(&sizes, Held::resident(gguf), blueprint)?;
        Ok((held, budget))
    };
    let on_gpu = machine.device.is_some_and(|(device, _)| !device.is_cpu());
    if on_gpu
        && draft.is_some()
        && let Ok((held, budget)) = with(DraftPlace::Device)
        && budget.leaves_room_beside_draft()
    {
        let host = with(DraftPlace::Host);
        let nodes_on_host = host.as_ref().map_or(0, |(_, budget)| budget.max_nodes);
        return if is_wide_enough(budget.max_nodes, nodes_on_host) {
            Ok((held, budget))
        } else {
            host
        };
    }
    with(DraftPlace::Host)
}

/// Whether passes beside a draft on the device have nodes enough, where they could have so many
/// with the draft on the host: what a fast draft guesses is of no use where it is not verified.
fn is_wide_enough(nodes: usize, nodes_on_host: usize) -> bool {
    nodes >= nodes_on_host.min(WIDE_ENOUGH)
}

/// What there is to divide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub ram: Bytes,
    /// In use already, with llama.cpp started and no model open.
    pub program: Bytes,
    /// Where the oracle computes, if not on the CPU, and how much of its memory it may take.
    pub device: Option<(Device, Bytes)>,
}

/// What a budget follows from, besides the model.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub ram: Bytes,
    /// In use before the weights are placed.
    pub held: Bytes,
    pub ctx_tokens: usize,
    pub tree: TreeSize,
    /// A model guesses.
    pub drafted: bool,
    /// Where the oracle computes, if not on the CPU, and how much of its memory it may take.
    pub device: Option<(Device, Bytes)>,
    /// What the draft takes of that, where it is to be there.
    pub vram_draft: Option<Bytes>,
}

/// How the oracle is run, and who holds what.
#[derive(Clone, Debug)]
pub struct Budget {
    pub ram: Bytes,
    /// Most nodes of a pass.
    pub max_nodes: usize,
    pub form: Form,
    /// Sums to at most `ram`.
    pub owners: Vec<(&'static str, Bytes)>,
    /// Who holds what of the memory of the device that computes, if one does.
    pub device: Option<(Device, VramBudget)>,
}

/// Memory is too little.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BudgetError {
    #[error(transparent)]
    Ram(#[from] TooSmall),
    #[error(transparent)]
    Vram(#[from] VramTooSmall),
}

/// Which oracle the memory is enough for.
#[derive(Clone, Debug)]
pub enum Form {
    /// llama.cpp over the whole model.
    Resident,
    /// Layer by layer, with this much for weights; all of them may stay.
    Streamed { weights: Bytes, plan: Plan },
    /// llama.cpp over layers that come and go, with this much for them.
    Hooked { weights: Bytes, plan: Plan },
}

impl Form {
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
    "{ram} of memory are too little for this model with this {}context: the least that works is {} \
     MiB; {}{}",
    if *drafted { "draft and " } else { "" },
    least.0.div_ceil(Bytes::MIB), self.remedies(), of_that(*head)
)]
pub struct TooSmall {
    pub ram: Bytes,
    pub least: Bytes,
    /// A model guesses.
    pub drafted: bool,
    pub ctx_tokens: usize,
    /// Most nodes of a pass.
    pub nodes: usize,
    /// The output matrix, where it has to stay.
    pub head: Option<Bytes>,
}

impl TooSmall {
    /// What would help and has not been done.
    fn remedies(&self) -> String {
        let less = [
            (self.drafted, "--draft none"),
            (self.ctx_tokens > LEAST_CTX, "a smaller --ctx"),
            (self.nodes > 1, "a smaller --tree"),
        ];
        let less: Vec<_> = less.iter().filter(|(helps, _)| *helps).collect();
        let less: Vec<_> = less.iter().map(|(_, what)| *what).collect();
        let more = "give more with --ram";
        match less.split_last() {
            None => more.to_owned(),
            Some((last, [])) => format!("{more}, or take {last}"),
            Some((last, others)) => format!("{more}, or take {} or {last}", others.join(", ")),
        }
    }
}

fn of_that(head: Option<Bytes>) -> String {
    head.map_or_else(String::new, |head| {
        format!(
            ". {head} of that are the output matrix, which has to stay in memory under llama.cpp's \
             graph"
        )
    })
}

impl Budget {
    /// The owner of what is loaded before the weights.
    pub const HELD: &str = "program, vocabulary, draft";
    /// The owner of what can be neither measured nor derived.
    pub const MARGIN: &str = "margin";

    /// Whether a pass that chooses its size has room for fewer nodes than it would with more memory.
    pub fn short_of_nodes(&self) -> bool {
        self.max_nodes < AUTO_NODES
    }

    /// What of `ram` nobody is given: too little for another shard, or more than is needed.
    pub fn unused(&self) -> Bytes {
        let given: u64 = self.owners.iter().map(|(_, bytes)| bytes.0).sum();
        self.ram.saturating_sub(Bytes(given))
    }

    /// Divides the memory. `resident_weights` is what llama.cpp takes for the whole model.
    ///
    /// # Errors
    /// Says the least that works.
    pub fn new(
        sizes: &Sizes,
        resident_weights: Bytes,
        model: &Blueprint,
    ) -> Result<Self, BudgetError> {
        let least = sizes.least_nodes();
        // Of more nodes than the least, where only repetitions are guessed.
        let mut wider: Option<Self> = None;
        for nodes in sizes.affordable_nodes(model) {
            let Ok(vram) = sizes.vram(nodes, model) else {
                continue;
            };
            let cramped = vram.as_ref().is_some_and(|v| !v.window.is_roomy());
            if cramped && nodes > least && sizes.drafted {
                continue;
            }
            let Some(budget) = Self::with_nodes(sizes, nodes, resident_weights, model, vram) else {
                continue;
            };
            if nodes > least && !sizes.drafted && budget.device.is_none() {
                wider = Some(budget);
                continue;
            }
            let wider = wider.filter(|wider| !wider.streams_more(&budget));
            return Ok(wider.unwrap_or(budget));
        }
        let on_device = sizes.vram(least, model)?.is_some();
        Err(sizes.least(model, on_device).into())
    }

    /// Whether the draft is on the device and leaves the window as many slots as are of use. It
    /// displaces weights that would stay as well: sending a gigabyte of them costs a pass 20 ms,
    /// and a draft there is several times faster than on the CPU. What it takes of a pass's nodes
    /// is judged by [`is_wide_enough`].
    fn leaves_room_beside_draft(&self) -> bool {
        let vram = self.device.as_ref().map(|(_, vram)| vram);
        vram.is_some_and(|v| v.holds_draft && v.window.is_roomy())
    }

    /// Whether a pass reads clearly more than one of `other`.
    fn streams_more(&self, other: &Self) -> bool {
        let streamed = |budget: &Self| budget.form.plan().map_or(0, |plan| plan.streamed_bytes);
        streamed(self) > streamed(other) + streamed(other) / MISSED
    }

    /// Whether weights come and go in every pass.
    pub fn streams(&self) -> bool {
        let streamed = |plan: &Plan| plan.streamed_bytes > 0;
        self.device.is_some() || self.form.plan().is_some_and(streamed)
    }

    /// How the oracle is run, as it is shown.
    pub fn form_name(&self) -> &'static str {
        match self.form {
            Form::Resident => "resident",
            _ if !self.streams() => "resident",
            Form::Streamed { .. } => "streamed",
            Form::Hooked { .. } => "hooked",
        }
    }

    /// Where the draft computes, if not on the CPU.
    pub fn draft_device(&self) -> Option<Device> {
        let (device, vram) = self.device.as_ref()?;
        vram.holds_draft.then_some(*device)
    }

    /// `None`: the memory is too little for so many nodes.
    fn with_nodes(
        sizes: &Sizes,
        max_nodes: usize,
        resident_weights: Bytes,
        model: &Blueprint,
        vram: Option<VramBudget>,
    ) -> Option<Self> {
        let &Sizes {
            ram,
            held,
            ctx_tokens,
            ..
        } = sizes;
        let device = sizes.device.map(|(device, _)| device).zip(vram);
        let mut owners = vec![(Self::HELD, held), (Self::MARGIN, MARGIN)];
        let context = LlamaOracle::context_bytes(
            model.n_layer(),
            model.kv_width(),
            model.n_vocab(),
            ctx_tokens,
            max_nodes,
        );
        let resident = held.0 + MARGIN.0 + resident_weights.0 + context.0;
        // Models that we have graphs for are computed with these, also where all of them fits.
        let is_left_to_llama = matches!(model, Blueprint::Graph(_));
        let form = if is_left_to_llama && device.is_none() && resident <= ram.0 {
            owners.push(("context", context));
            owners.push(("weights", resident_weights));
            Form::Resident
        } else {
            owners.extend(others(model, ctx_tokens, max_nodes, device.is_some()));
            let taken: u64 = owners.iter().map(|(_, bytes)| bytes.0).sum();
            let weights = ram.saturating_sub(Bytes(taken));
            let shards = shards(model);
            let plan = match &device {
                Some((_, vram)) => Plan::before_device(&shards, &vram.window.stays, weights),
                None => Plan::new(&shards, weights),
            };
            let plan = plan.ok()?;
            owners.push(("weights that stay", Bytes(plan.pinned_bytes as u64)));
            owners.push(("weights in flight", Bytes(plan.ring_bytes as u64)));
            match model {
                Blueprint::Layers(_) => Form::Streamed { weights, plan },
                Blueprint::Graph(_) => Form::Hooked { weights, plan },
            }
        };
        Some(Self {
            ram,
            max_nodes,
            form,
            owners,
            device,
        })
    }
}

impl Sizes {
    /// Most nodes of a pass that memory is enough for, the larger numbers first: the last is
    /// the least that a session has.
    fn affordable_nodes(&self, model: &Blueprint) -> Vec<usize> {
        let least = self.least_nodes();
        if self.tree != TreeSize::Auto {
            return vec![least];
        }
        if !self.drafted {
            return vec![AUTO_NODES_SHORT, least];
        }
        let bytes = |nodes| -> u64 {
            let others = others(model, self.ctx_tokens, nodes, self.device.is_some());
            others.iter().map(|(_, bytes)| bytes.0).sum()
        };
        let affordable = |&nodes: &usize| (bytes(nodes) - bytes(least)) * SHORT <= self.ram.0;
        let on_gpu = self.device.is_some_and(|(device, _)| !device.is_cpu());
        let wide = AUTO_NODES_DEVICE.into_iter().filter(|_| on_gpu);
        let many = wide.chain([AUTO_NODES]).filter(affordable);
        many.chain([least]).collect()
    }

    /// Most nodes of a pass where memory is short.
    fn least_nodes(&self) -> usize {
        let auto = match self.drafted {
            true => AUTO_NODES_SHORT,
            false => AUTO_NODES_ALONE,
        };
        self.tree.nodes().unwrap_or(auto)
    }

    /// How the device's memory is divided; `None` where the CPU computes, as it does for models
    /// that we have no graphs for.
    fn vram(
        &self,
        max_nodes: usize,
        model: &Blueprint,
    ) -> Result<Option<VramBudget>, VramTooSmall> {
        let (Some((_, vram)), Blueprint::Layers(layout)) = (self.device, model) else {
            return Ok(None);
        };
        let pass = (self.ctx_tokens, max_nodes);
        VramBudget::new(vram, layout, &shards(model), pass, self.vram_draft).map(Some)
    }

    /// Says how little memory would be enough.
    pub fn least(&self, model: &Blueprint, on_device: bool) -> TooSmall {
        let others = others(model, self.ctx_tokens, self.least_nodes(), on_device);
        let others: u64 = others.iter().map(|(_, bytes)| bytes.0).sum();
        let weights = Plan::least(&shards(model));
        let least = self.held.0 + MARGIN.0 + others + weights.0 + SLACK.0;
        TooSmall {
            ram: self.ram,
            least: Bytes(least.next_multiple_of(Bytes::MIB)),
            drafted: self.drafted,
            ctx_tokens: self.ctx_tokens,
            nodes: self.least_nodes(),
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
fn others(
    model: &Blueprint,
    ctx_tokens: usize,
    max_nodes: usize,
    on_device: bool,
) -> Vec<(&'static str, Bytes)> {
    match model {
        Blueprint::Layers(layout) if on_device => {
            LayerOracle::host_bytes(layout, ctx_tokens, max_nodes).to_vec()
        }
        Blueprint::Layers(layout) => {
            LayerOracle::other_bytes(layout, ctx_tokens, max_nodes).to_vec()
        }
        Blueprint::Graph(outline) => {
            LlamaOracle::other_bytes(outline, ctx_tokens, max_nodes).to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_not_been_done_is_advised() {
        let refused = |drafted, ctx_tokens, nodes| {
            let refusal = TooSmall {
                ram: Bytes::mib(1),
                least: Bytes::mib(9),
                drafted,
                ctx_tokens,
                nodes,
                head: None,
            };
            refusal.to_string()
        };
        let all = "1 MiB of memory are too little for this model with this draft and context: the \
                   least that works is 9 MiB; give more with --ram, or take --draft none, a smaller \
                   --ctx or a smaller --tree";
        assert_eq!(refused(true, 4096, 16), all);
        assert_eq!(
            refused(false, 256, 1),
            "1 MiB of memory are too little for this model with this context: the least that works \
             is 9 MiB; give more with --ram"
        );
        assert!(refused(false, 512, 1).ends_with("--ram, or take a smaller --ctx"));
    }

    #[test]
    fn a_draft_goes_to_the_device_where_passes_stay_wide() {
        assert!(is_wide_enough(512, 512));
        assert!(is_wide_enough(128, 512));
        assert!(!is_wide_enough(16, 512));
        assert!(!is_wide_enough(16, 63));
        // A size that was asked for, or that is all there is in any case.
        assert!(is_wide_enough(16, 16));
        assert!(is_wide_enough(16, 0));
    }
}
