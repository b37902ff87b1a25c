//! What a GGUF file is for: not all of them are models that write text.

use super::gguf::{Gguf, GgufError};
use std::fmt;

/// What a file holds, as its metadata says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    Model,
    /// Changes to a model (LoRA), whose name is told where the file has it.
    Adapter {
        of: Option<String>,
    },
    /// What turns pictures or sound into a model's input.
    Projector,
    ControlVector,
    ImportanceMatrix,
    /// A tokenizer without weights.
    Vocabulary,
}

impl FileKind {
    /// Reads it from the metadata.
    ///
    /// # Errors
    /// Metadata of another type than the format has.
    pub fn of(gguf: &Gguf) -> Result<Self, GgufError> {
        let kind = gguf.str("general.type")?.unwrap_or("model");
        Ok(match (kind, gguf.architecture()?) {
            ("adapter", _) => Self::Adapter {
                of: base_model(gguf),
            },
            ("mmproj", _) | (_, "clip") => Self::Projector,
            ("imatrix", _) => Self::ImportanceMatrix,
            (_, "controlvector") => Self::ControlVector,
            _ if gguf.tensors().len() == 0 => Self::Vocabulary,
            // Whatever else may come: llama.cpp does not look at it either.
            _ => Self::Model,
        })
    }
}

fn base_model(gguf: &Gguf) -> Option<String> {
    let name = gguf.str("general.base_model.0.name").ok()??;
    Some(name.to_owned())
}

impl fmt::Display for FileKind {
    /// What it is, and what is to be done instead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model => f.write_str("a model"),
            Self::Adapter { of: Some(name) } => write!(
                f,
                "a LoRA adapter for {name}: name that model, or a file that the two were merged into"
            ),
            Self::Adapter { of: None } => f.write_str(
                "a LoRA adapter: name the model that it is for, or a file that the two were merged \
                 into",
            ),
            Self::Projector => f.write_str(
                "the part of a model that reads pictures or sound (mmproj): name the model that it \
                 goes with",
            ),
            Self::ControlVector => f.write_str("a control vector: name the model that it is for"),
            Self::ImportanceMatrix => {
                f.write_str("an importance matrix, by which models are quantised")
            }
            Self::Vocabulary => f.write_str("a vocabulary without weights"),
        }
    }
}
