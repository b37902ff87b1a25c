//! From options to a running oracle, draft and scout.

use super::deferred_draft::DeferredDraft;
use super::experts::Experts;
use super::intent_backlog::IntentBacklog;
use super::load_error::{LoadError, Unloaded, WithCauses};
use super::options::EngineOptions;
use super::overlap::{DraftCores, OnDevice};
use crate::ledger::{Ledger, Owner};
use crate::model::{Blueprint, ChatTemplate, Tokenizer, stored_template};
use crate::oracle::Oracle;
use crate::plan::{DraftChoice, Form, Placement, Planner};
use crate::scout::HeuristicScout;
use crate::speculate::{self, Sizing, Speculator};
use crate::system;
use crate::telemetry::{Hub, Phase};
use crate::units::Bytes;
use crate::vocabulary::ExpertPolicy;
use std::panic::resume_unwind;
use std::sync::Arc;

/// All that a session works with.
pub(super) struct Loaded {
    pub oracle: Box<dyn Oracle>,
    pub template: Arc<ChatTemplate>,
    pub speculator: Speculator,
    /// Loads before the session is ready, or after the first token.
    pub draft: Option<DeferredDraft>,
    pub scout: Option<HeuristicScout>,
    /// In a mixture.
    pub experts: Option<Experts>,
    /// What a user should know and stops nothing.
    pub notices: Vec<String>,
}

/// Loads everything, saying in `hub` what is under way.
///
/// # Errors
/// What failed; or `backlog` heard between two stages that the session is to end.
pub(super) fn load(
    options: &EngineOptions,
    hub: &Arc<Hub>,
    backlog: &mut IntentBacklog,
) -> Result<Loaded, Unloaded> {
    let mut begin = |what: &str| {
        hub.update(|s| s.phase = Phase::Loading(what.to_owned()));
        backlog.listen()
    };
    begin("the model's index")?;
    let mut planner = Planner::open(options.plan_request())?;
    let bare = planner.oracle.bare.take();
    let (index, blueprint) = (&planner.oracle.index, &planner.oracle.blueprint);
    let recording = options.record_routing.as_deref();
    if let (None, Some(_)) = (&planner.experts, recording) {
        return Err(LoadError::NothingToRecord(index.path().to_owned()).into());
    }
    if options.experts != ExpertPolicy::default() && !blueprint.is_mixture() {
        return Err(LoadError::NoExperts(index.path().to_owned()).into());
    }
    let experts = planner.experts.as_ref();
    let experts = experts.map(|known| Experts::new(known, options.experts));
    let (mut experts, mut guide) = experts.unzip();
    // The oracle's weights start to load while the vocabulary does, so the memory that the latter
    // and the draft will hold is predicted, not measured.
    begin("oracle")?;
    let (tokenizer, oracle, placement) = std::thread::scope(|scope| {
        let vocabulary = match blueprint {
            Blueprint::Layers(_) => Some(scope.spawn(|| Tokenizer::open(index))),
            // llama.cpp has the model open, with its vocabulary.
            Blueprint::Graph(_) => None,
        };
        let bare_model = bare.as_ref().map(|bare| Arc::clone(bare.model()));
        let placement = planner.place()?;
        log(&placement);
        // Not before: a start that is refused leaves an earlier recording as it is.
        if let (Some(experts), Some(guide), Some(path)) = (&mut experts, &mut guide, recording) {
            experts.record(path, guide)?;
        }
        let oracle = placement.open_oracle(index, blueprint, bare, guide, hub)?;
        begin("vocabulary")?;
        let tokenizer = match (vocabulary, bare_model) {
            (Some(thread), _) => thread.join().unwrap_or_else(|panic| resume_unwind(panic))?,
            (None, Some(model)) => Tokenizer::of(model),
            (None, None) => unreachable!("a model without a thread for its vocabulary is open"),
        };
        Ok::<_, Unloaded>((tokenizer, oracle, placement))
    })?;
    // What the user can remedy is told; how memory is best used is for `nmos plan` and the log.
    let left_out = placement.draft.left_out();
    let left_out = left_out.filter(|why| why.can_be_mended());
    let mut notices: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    notices.extend(hooked_variant(&placement.form, blueprint));
    let unusable = planner
        .experts
        .as_ref()
        .and_then(|known| known.fault.as_ref());
    notices.extend(unusable.map(|fault| WithCauses(fault).to_string()));
    notices.extend(system::threads_notice(options.threads));
    let template = ChatTemplate::new(
        &tokenizer,
        stored_template(index)?,
        options.chat_template.as_deref(),
        system::local_time(),
    )?
    .with_ends(&index.named_ends()?)
    .with_thinking(options.think, &options.system);
    notices.extend(template.notices(&options.system));
    if options.think_budget.is_some() {
        notices.extend(template.budget_notice().map(str::to_owned));
    }
    backlog.listen()?;
    let draft_device = placement.draft_device();
    let on = OnDevice {
        oracle: (placement.device.as_ref()).is_some_and(|on| !on.device.is_cpu()),
        draft: draft_device.is_some(),
    };
    let draft_cores = DraftCores::new(on, placement.threads, system::cores());
    let sizing = Sizing::new(options.tree, oracle.max_nodes()).of(oracle.trees());
    let sizing = sizing.with_one_text(options.exact);
    let mut speculator = Speculator::new(speculate::at_start(options.drafters), sizing);
    speculator.set_ahead(draft_cores.ahead);
    hub.update(|s| {
        s.engine.oracle = index.name();
        s.engine.form = Some(placement.oracle_form());
        s.engine.draft = placement.draft.model().map(|draft| draft.name());
        s.engine.threads = placement.threads;
        s.engine.threads_max = placement.threads;
        s.engine.ctx_tokens = placement.ctx_tokens;
        s.speculation.max_nodes = placement.max_nodes;
        s.engine.predicted_tokens_per_s = placement.predicted_tokens_per_s;
        s.memory.budget = placement.ledger.limit();
        s.memory.rss = system::rss().unwrap_or_default();
        s.memory.rss_peak = system::rss_peak().unwrap_or_default();
        s.memory.owners = owners(&placement.ledger);
    });
    let draft = match placement.draft {
        DraftChoice::Model(draft) => Some(DeferredDraft {
            index: *draft,
            ctx_tokens: placement.ctx_tokens,
            threads: draft_cores.threads,
            device: draft_device,
            n_vocab: blueprint.n_vocab(),
        }),
        DraftChoice::None | DraftChoice::LeftOut(_) => None,
    };
    Ok(Loaded {
        template: Arc::new(template),
        speculator,
        draft,
        oracle,
        scout: options.scout.then(HeuristicScout::new),
        experts,
        notices,
    })
}

/// Writes down what was decided.
fn log(placement: &Placement) {
    if let Some(why) = placement.draft.left_out() {
        tracing::info!(%why, "draft left out");
    }
    for entry in placement.ledger.entries() {
        tracing::info!(owner = entry.owner.name(), bytes = %entry.bytes, "memory");
    }
    let on_device = placement.device.iter();
    for entry in on_device.flat_map(|on| on.ledger.entries()) {
        tracing::info!(owner = entry.owner.name(), bytes = %entry.bytes, "the GPU's memory");
    }
}

/// The owners as they are shown: what is there before the weights in one row.
fn owners(ledger: &Ledger) -> Vec<(&'static str, Bytes)> {
    const BEFORE: [Owner; 4] = [
        Owner::Program,
        Owner::Vocabulary,
        Owner::Draft,
        Owner::Drafters,
    ];
    let before = Bytes(BEFORE.map(|owner| ledger.bytes_of(owner).0).iter().sum());
    let others = ledger.entries().iter();
    let others = others.filter(|entry| !BEFORE.contains(&entry.owner));
    std::iter::once(("program, vocabulary, draft", before))
        .chain(others.map(|entry| (entry.owner.name(), entry.bytes)))
        .collect()
}

/// A notice where llama.cpp's graph computes a model that ours would be expected to compute.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_before_the_weights_is_one_row() {
        let mut ledger = Ledger::new(Bytes(100));
        ledger.measured(Owner::Program, Bytes(10));
        ledger.predicted(Owner::Vocabulary, Bytes(5));
        ledger.predicted(Owner::Draft, Bytes(20));
        ledger.fixed(Owner::Margin, Bytes(7));
        ledger.predicted(Owner::PinnedWeights, Bytes(50));
        let rows = [
            ("program, vocabulary, draft", Bytes(35)),
            ("margin", Bytes(7)),
            ("weights that stay", Bytes(50)),
        ];
        assert_eq!(owners(&ledger), rows);
    }
}
