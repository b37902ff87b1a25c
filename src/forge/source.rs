//! The model that is forged from, every tensor of it understood.

use super::ForgeError;
use super::quant::{self, Quant};
use super::role::Known;
use crate::model::{ArchError, GgmlType, Gguf, ModelLayout, ModelShape};
use std::path::Path;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Source {
    gguf: Gguf,
    shape: ModelShape,
    /// By tensor: the file's, or those that it is to be quantised to.
    types: Vec<GgmlType>,
}

impl Source {
    /// Opens the model at `path`.
    ///
    /// # Errors
    /// A model that is unsupported, as one with a tensor whose part in it is not known.
    pub fn open(path: &Path) -> Result<Self, ForgeError> {
        let gguf = Gguf::open(path)?;
        let count = gguf.u32(&format!("{}.expert_count", gguf.architecture()?))?;
        let shape = match count {
            None | Some(0) => ModelLayout::from_gguf(&gguf)?,
            Some(_) => ModelLayout::of_mixture(&gguf).map_err(|error| match error {
                ArchError::Variant { path, what } => ForgeError::Unknown { path, what },
                other => other.into(),
            })?,
        }
        .shape;
        let types = gguf.tensors().map(|t| t.ty).collect();
        Ok(Self { gguf, shape, types })
    }

    /// The same model as it is once it has been quantised to `quant`.
    pub fn with_types_of(&self, quant: Quant) -> Self {
        let model = quant::Model::of(&self.gguf, &self.shape);
        let types = self
            .tensors()
            .map(|(known, _)| quant.type_of(&known, model));
        Self {
            types: types.collect(),
            ..self.clone()
        }
    }

    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// All tensors in the order of the file, with their types.
    pub fn tensors(&self) -> impl Iterator<Item = (Known<'_>, GgmlType)> {
        let types = self.types.iter().copied();
        let tensors = self.gguf.tensors().zip(types);
        // None is left out: a layout has no tensors that its architecture does not.
        tensors.filter_map(|(tensor, ty)| Some((Known::new(self.shape.arch, tensor)?, ty)))
    }

    /// The tensors of one layer.
    pub fn layer(&self, layer: usize) -> impl Iterator<Item = (Known<'_>, GgmlType)> {
        self.tensors()
            .filter(move |(known, _)| known.layer == Some(layer))
    }
}
