//! Running models that are forged from or have been forged.

use crate::model::Blueprint;
use crate::oracle::{LayerOracle, LayerOracleOptions, Oracle};
use crate::plan::{
    DraftRequest, Form, OracleFile, Placement, PlacementError, PlanRequest, Planner, TreeSize, Vram,
};
use crate::telemetry::Hub;
use crate::units::Bytes;
use crate::vocabulary::ExpertPolicy;
use std::path::{Path, PathBuf};

/// What models may use while they run.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// The most memory that the process may hold.
    pub ram: Bytes,
    pub threads: usize,
}

/// A model that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(
        "{}: running it takes {least} of memory, and {ram} may be used; give more with --ram",
        path.display()
    )]
    TooSmall {
        path: PathBuf,
        least: Bytes,
        ram: Bytes,
    },
    #[error("{}: cannot be run: {why:#}", path.display())]
    Refused { path: PathBuf, why: anyhow::Error },
}

/// How a model is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    pub path: &'a Path,
    pub means: Means,
    /// Memory that is left to whoever runs it.
    pub held: Bytes,
    pub ctx_tokens: usize,
    /// Most nodes of a pass whose logits are wanted.
    pub max_nodes: usize,
}

impl Runner<'_> {
    /// Opens the model, of whatever kind, as it would be for answers.
    ///
    /// # Errors
    /// Memory that is too little, and a model that llama.cpp refuses.
    pub fn open(self) -> Result<Box<dyn Oracle>, RunError> {
        let (file, placement) = self.plan().map_err(|why| self.refused(why))?;
        let OracleFile {
            index,
            blueprint,
            bare,
            ..
        } = file;
        placement
            .open_oracle(&index, &blueprint, bare, None, &Hub::new())
            .map_err(|why| self.refused(why.into()))
    }

    /// Opens a model that our graphs compute, which say what happens in its layers.
    ///
    /// # Errors
    /// As [`Runner::open`].
    pub fn open_layers(self) -> Result<LayerOracle, RunError> {
        let open = || {
            let (file, placement) = self.plan()?;
            let (Blueprint::Layers(layout), Form::Streamed(plan)) =
                (&file.blueprint, &placement.form)
            else {
                anyhow::bail!("NMOS has no graph for its layers");
            };
            let options = LayerOracleOptions {
                ctx_tokens: placement.ctx_tokens,
                threads: placement.threads,
                max_nodes: placement.max_nodes,
                plan: plan.clone(),
                read_sizes: placement.read_sizes,
                device: None,
            };
            Ok(LayerOracle::open(
                &file.index,
                layout,
                options,
                &Hub::new(),
            )?)
        };
        open().map_err(|why| self.refused(why))
    }

    fn plan(self) -> anyhow::Result<(OracleFile, Placement)> {
        let planner = Planner::open(PlanRequest {
            oracle: self.path,
            draft: &DraftRequest::None,
            drafters: Bytes(0),
            ram: Some(self.means.ram.saturating_sub(self.held)),
            vram: Vram::None,
            ctx_tokens: self.ctx_tokens,
            threads: self.means.threads,
            tree: TreeSize::Fixed(self.max_nodes),
            exact: false,
            experts: ExpertPolicy::default(),
        })?;
        let placement = planner.place()?;
        Ok((planner.oracle, placement))
    }

    fn refused(self, why: anyhow::Error) -> RunError {
        let path = self.path.to_owned();
        match why.downcast_ref() {
            Some(PlacementError::TooSmall(small)) => RunError::TooSmall {
                path,
                least: Bytes(small.least.0 + self.held.0),
                ram: self.means.ram,
            },
            _ => RunError::Refused { path, why },
        }
    }
}
