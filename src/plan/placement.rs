//! The plan: how a session runs, and by whom its memory is held.

use super::{DevicePlacement, DraftChoice, Form, division};
use crate::experts::ExpertGuide;
use crate::ggml::Device;
use crate::ggml::bare::BareModel;
use crate::ggml::llama::{self, Layout};
use crate::kv::KvMemory;
use crate::ledger::Ledger;
use crate::model::{Blueprint, Gguf};
use crate::oracle::{
    DeviceOptions, HookedOptions, LayerOracle, LayerOracleOptions, LlamaOracle, OpenError, Oracle,
    WidthClass,
};
use crate::river::ReadSizes;
use crate::telemetry::Hub;
use crate::vocabulary::OracleForm;
use std::sync::Arc;

/// Everything that is decided before anything is loaded. Made by
/// [`Planner::place`](super::Planner::place).
#[derive(Debug)]
pub struct Placement {
    pub ctx_tokens: usize,
    /// Threads that compute: at most as many as there are cores.
    pub threads: usize,
    pub read_sizes: ReadSizes,
    /// Answers depend on model, prompt and sampling alone.
    pub exact: bool,
    /// Most nodes of a pass.
    pub max_nodes: usize,
    pub form: Form,
    /// The device that computes, if one does: its window, and who holds what of its memory.
    pub device: Option<DevicePlacement>,
    /// Who holds what of the host's memory.
    pub ledger: Ledger,
    pub draft: DraftChoice,
    /// The expected speed of answers; `None` where nothing is known to estimate it from.
    pub predicted_tokens_per_s: Option<f64>,
}

impl Placement {
    /// Whether weights come and go in every pass.
    pub fn streams(&self) -> bool {
        self.device.is_some() || self.form.token_bytes().0 > 0
    }

    /// How the oracle is run, as it is shown.
    pub fn oracle_form(&self) -> OracleForm {
        match self.form {
            Form::Resident => OracleForm::Resident,
            _ if !self.streams() => OracleForm::Resident,
            Form::Streamed(_) => OracleForm::Streamed,
            Form::Hooked { .. } => OracleForm::Hooked,
        }
    }

    /// Whether passes, whose size is chosen automatically, have fewer nodes than with more memory.
    pub fn is_short_of_nodes(&self) -> bool {
        self.max_nodes < division::AUTO_NODES
    }

    /// Where the draft computes, if not on the CPU.
    pub fn draft_device(&self) -> Option<Device> {
        let on = self.device.as_ref()?;
        on.holds_draft.then_some(on.device)
    }

    /// The width class that an answer's passes will probably have.
    pub fn answer_class(&self) -> WidthClass {
        if self.exact || self.draft.model().is_none() {
            WidthClass::PLAIN
        } else if self.streams() {
            // Then the padding of a batch is free.
            WidthClass::BATCH
        } else {
            WidthClass::NARROW
        }
    }

    /// Opens the oracle of these headers in the form that was planned. `bare` is what llama.cpp
    /// has open of it ([`OracleFile::bare`](super::OracleFile)), and `guide` is for a mixture.
    ///
    /// # Errors
    /// Files that cannot be read, and memory that cannot be had.
    pub fn open_oracle(
        &self,
        index: &Gguf,
        blueprint: &Blueprint,
        bare: Option<BareModel>,
        guide: Option<ExpertGuide>,
        hub: &Arc<Hub>,
    ) -> Result<Box<dyn Oracle>, OpenError> {
        let &Self {
            ctx_tokens,
            threads,
            read_sizes,
            max_nodes,
            ..
        } = self;
        match (&self.form, blueprint, bare) {
            (Form::Streamed(plan), Blueprint::Layers(layout), _) => {
                let options = LayerOracleOptions {
                    ctx_tokens,
                    threads,
                    max_nodes,
                    plan: plan.clone(),
                    read_sizes,
                    device: self.device.as_ref().map(|on| DeviceOptions {
                        device: on.device,
                        window: on.window.clone(),
                        kv: KvMemory::Paged,
                    }),
                };
                Ok(Box::new(LayerOracle::open(index, layout, options, hub)?))
            }
            (Form::Hooked { layers, experts }, Blueprint::Graph(outline), Some(bare)) => {
                let options = HookedOptions {
                    ctx_tokens,
                    threads,
                    max_nodes,
                    plan: layers.clone(),
                    experts: *experts,
                    read_sizes,
                };
                let oracle = LlamaOracle::hooked(bare, index, outline, options, hub)?;
                Ok(Box::new(match guide {
                    Some(guide) => oracle.guided_by(guide),
                    None => oracle,
                }))
            }
            (Form::Resident, ..) => {
                // Repacked weights give a token other bits by its place in a pass.
                let (arch, n_vocab) = (index.architecture()?, index.n_tokens()?);
                let model = llama::load_without_vocabulary(index, arch, n_vocab, Layout::AsStored)?;
                let oracle = LlamaOracle::new(&model, ctx_tokens, threads, max_nodes)?;
                Ok(Box::new(oracle.knowing(index)))
            }
            _ => unreachable!("the form of another model"),
        }
    }
}
