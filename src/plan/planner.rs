//! From a request to a placement.

use super::division::{Division, Sizes};
use super::draft_policy::{self, Speeds};
use super::footprint::{DraftPlace, Footprint, tensor_bytes};
use super::oracle_file::{OracleFile, read_headers};
use super::{
    DraftChoice, DraftRequest, Form, Machine, Placement, PlacementError, PlanRequest, TreeSize,
    pairing,
};
use crate::experts::EarlierUse;
use crate::model::Gguf;
use crate::system;
use crate::units::Bytes;
use crate::vocabulary::ExpertPolicy;

/// Everything that a placement is computed from: what is asked for, what the oracle's headers say,
/// and what the machine has.
pub struct Planner<'a> {
    request: PlanRequest<'a>,
    pub oracle: OracleFile,
    pub machine: Machine,
    /// What is known of the experts of a mixture, where these come and go one by one.
    pub experts: Option<EarlierUse>,
}

impl<'a> Planner<'a> {
    /// Reads the oracle's headers and measures the machine. Nothing is loaded but llama.cpp, and
    /// what this process holds from now on counts against the plan.
    ///
    /// # Errors
    /// A model that is absent or unsupported, and memory that cannot be had.
    pub fn open(request: PlanRequest<'a>) -> Result<Self, PlacementError> {
        let (index, mut blueprint) = read_headers(request.oracle)?;
        if request.experts == ExpertPolicy::WholeLayers {
            blueprint.keep_layers_whole();
        }
        let machine = Machine::measure(&request)?;
        let oracle = OracleFile::admit(index, blueprint, machine.ram)?;
        let mixture = oracle.mixture();
        Ok(Self {
            experts: mixture.map(|mixture| EarlierUse::find(&mixture, &oracle.index)),
            request,
            oracle,
            machine,
        })
    }

    /// Decides everything.
    ///
    /// # Errors
    /// A draft that was asked for and cannot be used, and memory that is too little.
    pub fn place(&self) -> Result<Placement, PlacementError> {
        let request = &self.request;
        let draft = pairing::pair(request, &self.oracle.index)?;
        let experts = self.oracle.mixture().map(|mixture| mixture.token_bytes().0);
        let speeds = Speeds {
            model: Bytes(self.oracle.shard_bytes().0 + experts.unwrap_or(0)),
            disk_bytes_per_s: self.machine.disk_bytes_per_s(),
            threads: request.threads,
        };
        // A draft or a tree that was asked for is never left out.
        let asked_for =
            matches!(request.draft, DraftRequest::Required(_)) || request.tree != TreeSize::Auto;
        let (division, left_out) = match draft.model() {
            Some(model) if !asked_for => {
                draft_policy::choose(speeds, self.divide(Some(model)), || self.divide(None))?
            }
            model => (self.divide(model)?, None),
        };
        let draft = left_out.map_or(draft, DraftChoice::LeftOut);
        let predicted_tokens_per_s = speeds.tokens_per_s(&division, draft.model().is_some());
        let Division {
            max_nodes,
            form,
            ledger,
            device,
        } = division;
        Ok(Placement {
            ctx_tokens: self.ctx_tokens(),
            threads: system::usable_threads(request.threads),
            read_sizes: self.machine.read_sizes(),
            exact: request.exact,
            max_nodes,
            form,
            device,
            ledger,
            draft,
            predicted_tokens_per_s,
        })
    }

    /// Divides the memory, with the draft on the device where passes stay wide enough with it.
    fn divide(&self, draft: Option<&Gguf>) -> Result<Division, PlacementError> {
        let with = |place| self.divide_with(draft, place);
        if draft.is_some()
            && self.machine.gpu().is_some()
            && let Ok(on_device) = with(DraftPlace::Device)
            && on_device.holds_draft_and_window()
        {
            let on_host = with(DraftPlace::Host);
            return if on_device.is_as_wide_as(on_host.as_ref().ok()) {
                Ok(on_device)
            } else {
                on_host
            };
        }
        with(DraftPlace::Host)
    }

    fn divide_with(
        &self,
        draft: Option<&Gguf>,
        place: DraftPlace,
    ) -> Result<Division, PlacementError> {
        let (index, ctx_tokens) = (&self.oracle.index, self.ctx_tokens());
        let (program, drafters) = (self.machine.program, self.request.drafters);
        let sizes = Sizes {
            ram: self.machine.ram,
            footprint: Footprint::predict(program, index, draft, drafters, ctx_tokens, place)?,
            tensors: tensor_bytes(index),
            ctx_tokens,
            tree: self.request.tree,
            device: self.machine.device,
        };
        let OracleFile {
            blueprint, shards, ..
        } = &self.oracle;
        let mut division = Division::new(&sizes, blueprint, shards)?;
        let known = self
            .experts
            .as_ref()
            .and_then(|known| known.profile.as_ref());
        if let Form::Hooked { experts, .. } = &mut division.form
            && let (Some(plan), Some(profile)) = (experts, known)
            && let Some(mixture) = self.oracle.mixture()
        {
            mixture.predict_by(profile, plan);
        }
        Ok(division)
    }

    fn ctx_tokens(&self) -> usize {
        (self.request.ctx_tokens).min(self.oracle.blueprint.ctx_train())
    }
}
