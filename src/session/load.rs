//! From options to a running oracle, draft and scout.

use super::ahead::{DraftCores, OnDevice};
use super::budget::{self, Budget, Form, Machine};
use super::early::Early;
use super::late::LateDraft;
use super::options::EngineOptions;
use super::pairing::Pairing;
use super::vram;
use super::worth;
use crate::ggml::bare::BareModel;
use crate::ggml::llama::{self, Layout};
use crate::kv::KvMemory;
use crate::model::{ArchError, Blueprint, ChatTemplate, Gguf, Tokenizer, trial};
use crate::oracle::{
    DeviceOptions, HookedOptions, LayerOracle, LayerOracleOptions, LlamaOracle, Oracle, WidthClass,
};
use crate::river::{Placement, ReadSizes, total_bytes};
use crate::scout::HeuristicScout;
use crate::speculate::{self, Sampler, Sizing, Speculator};
use crate::system;
use crate::system::measure::Tuning;
use crate::telemetry::{Hub, Phase};
use crate::units::{Bytes, TokenId};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;

/// The file's chat template.
pub const TEMPLATE_KEY: &str = "tokenizer.chat_template";

/// All that a session works with.
pub(super) struct Loaded {
    pub oracle: Box<dyn Oracle>,
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
    pub speculator: Speculator,
    /// Loads behind the first token.
    pub draft: Option<LateDraft>,
    pub sampler: Sampler,
    pub scout: Option<HeuristicScout>,
    /// Tokens that end an answer.
    pub ends: Vec<TokenId>,
    /// What is worth saying and stops nothing.
    pub notices: Vec<String>,
}

/// Loads everything, saying in `hub` what is under way.
///
/// # Errors
/// In a user's words: what, which file, what to do. [`Ended`](super::early::Ended) where `early`
/// hears between two stages that the session is to end.
pub(super) fn load(
    options: &EngineOptions,
    hub: &Arc<Hub>,
    early: &mut Early,
) -> anyhow::Result<Loaded> {
    let mut begin = |what: &str| {
        hub.update(|s| s.phase = Phase::Loading(what.to_owned()));
        early.listen()
    };
    begin("the model's index")?;
    // Both wait for the disk when files are cold.
    let (gguf, mut blueprint) = std::thread::scope(|scope| {
        let kernels = scope.spawn(crate::ggml::init);
        let gguf = Gguf::open(&options.oracle)?;
        trial::writes_text(&gguf)?;
        let blueprint = Blueprint::from_gguf(&gguf)?;
        kernels
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok::<_, anyhow::Error>((gguf, blueprint))
    })?;
    let ctx_tokens = options.ctx_tokens.min(blueprint.ctx_train());
    // The GPU's driver takes memory of the host as soon as it is asked for anything.
    let device = vram::claim(options.vram)?;

    let program = system::rss().unwrap_or_default();
    let ram = system::budget(options.ram, &system::memory(), program)?;
    let machine = Machine {
        ram,
        program,
        device,
    };
    admit(&gguf, &blueprint, ram)?;
    // The oracle's weights set out while the vocabulary loads, so what that and the draft will
    // hold is predicted, not measured.
    begin("oracle")?;
    let (tokenizer, oracle, budget, pairing, mut notices, predicted) =
        std::thread::scope(|scope| {
            let vocabulary = match blueprint {
                Blueprint::Layers(_) => Some(scope.spawn(|| Tokenizer::open(gguf.path()))),
                // llama.cpp has the model open, with its vocabulary.
                Blueprint::Graph(_) => None,
            };
            let mut pairing = Pairing::of(options, &gguf)?;
            // What can be mended is told; how the memory is best used is for `plan` and the log.
            let notices: Vec<String> = pairing.left_out.iter().cloned().collect();
            let bare = open_bare(&gguf, &mut blueprint)?;
            let bare_model = bare.as_ref().map(|bare| Arc::clone(bare.model()));
            let (held, budget) = worth::divide(options, &gguf, &blueprint, &mut pairing, machine)?;
            if let Some(why) = &pairing.left_out {
                tracing::info!(why, "draft left out");
            }
            let draft = pairing.draft.as_ref().map(|_| held.draft);
            let model = total_bytes(&budget::shards(&blueprint));
            let predicted = worth::predicted_tokens_per_s(options, &budget, model, draft);
            for (owner, bytes) in &budget.owners {
                tracing::info!(owner, %bytes, "memory");
            }
            for (owner, bytes) in budget.device.iter().flat_map(|(_, vram)| &vram.owners) {
                tracing::info!(owner, %bytes, "the GPU's memory");
            }
            let oracle = open_oracle(options, &gguf, &blueprint, bare, &budget, ctx_tokens, hub)?;
            begin("vocabulary")?;
            let tokenizer = match (vocabulary, bare_model) {
                (Some(thread), _) => thread.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                (None, Some(model)) => Tokenizer::of(model),
                (None, None) => unreachable!("a model without a thread for its vocabulary is open"),
            };
            Ok::<_, anyhow::Error>((tokenizer, oracle, budget, pairing, notices, predicted))
        })?;
    let draft = pairing.draft;
    notices.extend(hooked_variant(&budget.form, &blueprint));
    notices.extend(system::threads_notice(options.threads));
    let threads = system::usable_threads(options.threads);
    let template = ChatTemplate::new(
        &tokenizer,
        gguf.str(TEMPLATE_KEY)?,
        options.chat_template.as_deref(),
        system::local_time(),
    )?;
    notices.extend(template.notices(&options.system));
    let ends: Vec<_> = (0..tokenizer.n_vocab())
        .map(|i| TokenId(i32::try_from(i).unwrap_or(i32::MAX)))
        .filter(|&t| tokenizer.is_end(t))
        .collect();
    let banned = if options.fixed_length {
        ends.clone()
    } else {
        Vec::new()
    };
    let sampler = Sampler::new(options.sampling, banned);
    early.listen()?;
    let draft_device = budget.draft_device();
    let on = OnDevice {
        oracle: budget.device.as_ref().is_some_and(|(d, _)| !d.is_cpu()),
        draft: draft_device.is_some(),
    };
    let draft_cores = DraftCores::new(on, threads, system::cores());
    let sizing = Sizing::new(options.tree, oracle.max_nodes()).of(oracle.trees());
    let sizing = sizing.with_one_text(options.exact);
    let mut speculator = Speculator::new(speculate::at_start(options.drafters), sizing);
    speculator.set_ahead(draft_cores.ahead);
    hub.update(|s| {
        s.engine.oracle = gguf.name();
        s.engine.form = budget.form_name();
        s.engine.draft = draft.as_ref().map(Gguf::name);
        s.engine.threads = threads;
        s.engine.threads_max = threads;
        s.engine.ctx_tokens = ctx_tokens;
        s.speculation.max_nodes = budget.max_nodes;
        s.engine.predicted_tokens_per_s = predicted;
        s.memory.budget = ram;
        s.memory.rss = system::rss().unwrap_or_default();
        s.memory.rss_peak = system::rss_peak().unwrap_or_default();
        s.memory.owners = budget.owners;
    });
    Ok(Loaded {
        tokenizer,
        template,
        speculator,
        draft: draft.map(|index| LateDraft {
            index,
            ctx_tokens,
            threads: draft_cores.threads,
            device: draft_device,
            n_vocab: blueprint.n_vocab(),
            sampler: sampler.clone(),
        }),
        oracle,
        sampler,
        scout: options.scout.then(HeuristicScout::new),
        ends,
        notices,
    })
}

/// Sees to it that llama.cpp can open the oracle: see [`trial::admit`].
///
/// # Errors
/// Why it cannot be used, and why llama.cpp's graph was to compute it, if so.
pub(super) fn admit(gguf: &Gguf, blueprint: &Blueprint, ram: Bytes) -> anyhow::Result<()> {
    let Err(error) = trial::admit(gguf, Some(ram)) else {
        return Ok(());
    };
    match blueprint {
        Blueprint::Layers(_) => Err(error.into()),
        Blueprint::Graph(outline) => Err(anyhow::anyhow!(
            "{error} (llama.cpp was asked, since {})",
            outline.why()
        )),
    }
}

/// Opens a model that is left to llama.cpp's graph, without its weights; tensors that llama.cpp
/// does not use leave the blueprint. `None` for a model that we have graphs for.
///
/// # Errors
/// Where llama.cpp cannot compute it either: names the architecture and what is supported.
pub fn open_bare(gguf: &Gguf, blueprint: &mut Blueprint) -> Result<Option<BareModel>, ArchError> {
    let Blueprint::Graph(outline) = blueprint else {
        return Ok(None);
    };
    let fail = |why: String| match &outline.variant {
        Some(what) => ArchError::NeitherVariant {
            path: gguf.path().to_owned(),
            what: what.clone(),
            why,
        },
        None => ArchError::Neither {
            path: gguf.path().to_owned(),
            arch: outline.arch.clone(),
            why,
        },
    };
    let bare = BareModel::open(gguf.path()).map_err(|error| fail(error.to_string()))?;
    if let Some(why) = bare.model().obstacle() {
        return Err(fail(why.to_owned()));
    }
    outline.retain(|name| bare.find(name).is_some());
    Ok(Some(bare))
}

/// Says that llama.cpp's graph computes a model that one would expect ours to.
fn hooked_variant(form: &Form, blueprint: &Blueprint) -> Option<String> {
    match (form, blueprint) {
        (Form::Hooked { .. }, Blueprint::Graph(outline)) if outline.variant.is_some() => {
            Some(format!(
                "llama.cpp's graph computes this model, since {}",
                outline.why()
            ))
        }
        _ => None,
    }
}

/// The width class that an answer's passes will likely have: of `one_text` where that is asked
/// for, or nothing is drafted.
pub(super) fn answer_class(streams: bool, one_text: bool) -> WidthClass {
    if one_text {
        WidthClass::PLAIN
    } else if streams {
        // Then the padding of a batch is free.
        WidthClass::BATCH
    } else {
        WidthClass::NARROW
    }
}

/// How the disk that holds the oracle is read: as `nmos doctor` found best, or by default.
pub fn read_sizes(oracle: &Path) -> ReadSizes {
    Tuning::of(oracle).map_or_else(ReadSizes::default, |tuning| ReadSizes {
        depth: tuning.depth,
        bytes: tuning.block_bytes,
    })
}

/// The oracle in the form that `budget` has room for. `bare` is what [`open_bare`] gave.
///
/// # Errors
/// Files that cannot be read, and memory that cannot be had.
pub(super) fn open_oracle(
    options: &EngineOptions,
    gguf: &Gguf,
    blueprint: &Blueprint,
    bare: Option<BareModel>,
    budget: &Budget,
    ctx_tokens: usize,
    hub: &Arc<Hub>,
) -> anyhow::Result<Box<dyn Oracle>> {
    let read_sizes = read_sizes(&options.oracle);
    let threads = system::usable_threads(options.threads);
    match (&budget.form, blueprint, bare) {
        (Form::Streamed { weights, .. }, Blueprint::Layers(layout), _) => {
            let layer = LayerOracleOptions {
                ctx_tokens,
                threads,
                max_nodes: budget.max_nodes,
                weight_bytes: *weights,
                placement: Placement::Even,
                read_sizes,
                device: budget.device.as_ref().map(|(device, vram)| DeviceOptions {
                    device: *device,
                    weight_bytes: vram.weights,
                    kv: KvMemory::Paged,
                }),
            };
            Ok(Box::new(LayerOracle::open(gguf, layout, layer, hub)?))
        }
        (Form::Hooked { weights, .. }, Blueprint::Graph(outline), Some(bare)) => {
            let hooked = HookedOptions {
                ctx_tokens,
                threads,
                max_nodes: budget.max_nodes,
                layer_bytes: *weights,
                read_sizes,
            };
            let oracle = LlamaOracle::hooked(bare, gguf, outline, hooked, hub)?;
            Ok(Box::new(oracle))
        }
        // Whatever fits.
        _ => {
            // Repacked weights give a token other bits by its place in a pass.
            let (arch, n_vocab) = (gguf.architecture()?, gguf.n_tokens()?);
            let model =
                llama::load_without_vocabulary(gguf.path(), arch, n_vocab, Layout::AsStored)?;
            let oracle = LlamaOracle::new(&model, ctx_tokens, threads, budget.max_nodes)?;
            Ok(Box::new(oracle.knowing(gguf)))
        }
    }
}
