//! How a model can be computed: by graphs of our own, or by llama.cpp's.

use super::arch::{ArchError, ModelLayout};
use super::gguf::Gguf;
use super::outline::Outline;

/// How a model can be computed when not all of it fits in memory.
#[derive(Clone, Debug)]
pub enum Blueprint {
    /// By graphs of our own, layer by layer.
    Layers(Box<ModelLayout>),
    /// By llama.cpp's graph.
    Graph(Outline),
}

impl Blueprint {
    /// Reads how `gguf` can be computed. Whether llama.cpp knows an architecture that is left
    /// to it shows only when it opens the model.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ArchError> {
        match ModelLayout::from_gguf(gguf) {
            Ok(layout) => Ok(Self::Layers(Box::new(layout))),
            Err(ArchError::Unsupported { .. }) => Ok(Self::Graph(Outline::from_gguf(gguf)?)),
            Err(ArchError::Variant { what, .. }) => Ok(Self::Graph(Outline {
                variant: Some(what),
                ..Outline::from_gguf(gguf)?
            })),
            Err(other) => Err(other),
        }
    }

    /// Why llama.cpp's graph computes it; `None` where ours can.
    pub fn left_to_llama(&self) -> Option<String> {
        match self {
            Self::Layers(_) => None,
            Self::Graph(outline) => Some(outline.why()),
        }
    }

    /// Whether it has routed experts, whichever way these come and go.
    pub fn is_mixture(&self) -> bool {
        match self {
            Self::Layers(_) => false,
            Self::Graph(outline) => outline.is_mixture(),
        }
    }

    /// Has experts come and go with their layer, all of them, whatever tokens choose.
    pub fn keep_layers_whole(&mut self) {
        if let Self::Graph(outline) = self {
            outline.layers.append(&mut outline.experts);
        }
    }

    pub fn arch(&self) -> &str {
        match self {
            Self::Layers(layout) => layout.shape.arch.name(),
            Self::Graph(outline) => &outline.arch,
        }
    }

    pub fn n_layer(&self) -> usize {
        match self {
            Self::Layers(layout) => layout.shape.n_layer,
            Self::Graph(outline) => outline.n_layer,
        }
    }

    pub fn n_vocab(&self) -> usize {
        match self {
            Self::Layers(layout) => layout.shape.n_vocab,
            Self::Graph(outline) => outline.n_vocab,
        }
    }

    /// Tokens of context that the model was trained for.
    pub fn ctx_train(&self) -> usize {
        match self {
            Self::Layers(layout) => layout.shape.ctx_train,
            Self::Graph(outline) => outline.ctx_train,
        }
    }
}
