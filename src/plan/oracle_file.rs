//! The oracle's headers, and the check that it can be computed at all.

use super::PlacementError;
use crate::experts::Mixture;
use crate::ggml::bare::BareModel;
use crate::model::{ArchError, Blueprint, Gguf, trial};
use crate::river::{Shard, catalogue, catalogue_by_layer, total_bytes};
use crate::units::Bytes;
use std::panic::resume_unwind;
use std::path::Path;

/// What is known of an oracle whose weights are not loaded.
pub struct OracleFile {
    pub index: Gguf,
    pub blueprint: Blueprint,
    /// The parts that come and go where not all of it fits, in order of use.
    pub shards: Vec<Shard>,
    /// llama.cpp has it open, without its weights, where it is left to llama.cpp's graph. To be
    /// taken by whoever opens the oracle.
    pub bare: Option<BareModel>,
}

/// Reads an oracle's headers and starts llama.cpp: both wait for the disk when files are cold.
///
/// # Errors
/// A file that is absent, is no model that writes text, or is damaged.
pub(super) fn read_headers(path: &Path) -> Result<(Gguf, Blueprint), PlacementError> {
    std::thread::scope(|scope| {
        let kernels = scope.spawn(crate::ggml::init);
        let index = Gguf::open(path)?;
        trial::writes_text(&index)?;
        let blueprint = Blueprint::from_gguf(&index)?;
        kernels
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok((index, blueprint))
    })
}

impl OracleFile {
    /// Makes sure that llama.cpp can open the model ([`trial::admit`]), and opens one that is left
    /// to its graph: only llama.cpp can say whether it knows the architecture, and which tensors
    /// it uses.
    ///
    /// # Errors
    /// Why it cannot be used, and why llama.cpp's graph was to compute it, if so.
    pub(super) fn admit(
        index: Gguf,
        mut blueprint: Blueprint,
        ram: Bytes,
    ) -> Result<Self, PlacementError> {
        if let Err(refused) = trial::admit(&index, Some(ram)) {
            return Err(match blueprint.left_to_llama() {
                None => refused.into(),
                Some(why) => PlacementError::LeftToLlama {
                    refused: Box::new(refused),
                    why,
                },
            });
        }
        let bare = open_bare(&index, &mut blueprint)?;
        Ok(Self {
            shards: shards(&blueprint),
            index,
            blueprint,
            bare,
        })
    }

    /// Weights of the parts that every pass uses.
    pub fn shard_bytes(&self) -> Bytes {
        total_bytes(&self.shards)
    }

    /// Its routed experts, in a mixture that llama.cpp's graph computes.
    pub fn mixture(&self) -> Option<Mixture> {
        match &self.blueprint {
            Blueprint::Graph(outline) => Mixture::of(outline),
            Blueprint::Layers(_) => None,
        }
    }
}

/// The parts of a model that come and go where not all of it fits, in order of use.
pub fn shards(model: &Blueprint) -> Vec<Shard> {
    match model {
        Blueprint::Layers(layout) => catalogue(layout),
        Blueprint::Graph(outline) => catalogue_by_layer(&outline.layers),
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
    let bare = BareModel::open(gguf).map_err(|error| fail(error.to_string()))?;
    if let Some(why) = bare.model().obstacle() {
        return Err(fail(why.to_owned()));
    }
    outline.retain(|name| bare.find(name).is_some());
    Ok(Some(bare))
}
