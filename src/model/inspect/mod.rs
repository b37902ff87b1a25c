//! What a model's file says of itself, as plain data.
//!
//! ```text
//!  header ------------------> weights      parameters, types, where the bytes are
//!        '------------------> context      its length, and how positions are stretched
//!        '------------------> vocabulary   kind, size, special tokens
//!  llama.cpp's vocabulary --> prompts      template, ends of answers, thinking
//! ```
//!
//! No tensor data is read, and no process is started: a header alone is enough, such as a file of
//! a hub of which nothing else is here. What needs llama.cpp's vocabulary is absent where that is
//! not given, as for a file that llama.cpp refuses.
//!
//! Names of fields are those of `nmos models inspect --json`: scripts depend on them. What cannot
//! be known is null. Texts are as the file has them: whoever prints them cleans them.

mod context;
mod file_type;
mod prompts;
mod vocabulary;
mod weights;

pub use context::{Context, RopeScaling};
pub use prompts::{Prompts, ThinkingMarks, Token};
pub use vocabulary::{SpecialToken, Vocabulary};
pub use weights::{Experts, Group, GroupBytes, TensorLine, TypeBytes, Weights};

use super::gguf::{Gguf, GgufError};
use super::kind::FileKind;
use super::tokenizer::Tokenizer;
use serde::Serialize;

/// What a file says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct ModelFacts {
    /// `general.name`, else the file's.
    pub name: String,
    /// `general.architecture`.
    pub architecture: String,
    /// What the file is, where it is no model.
    pub not_a_model: Option<String>,
    pub layers: Option<u64>,
    pub files: usize,
    pub file_bytes: u64,
    /// As in `Q4_K_M`: what the file says that most of it is.
    pub file_type: Option<String>,
    pub weights: Weights,
    pub context: Context,
    /// Null where the file has none.
    pub vocabulary: Option<Vocabulary>,
    /// Null where llama.cpp's vocabulary was not given.
    pub prompts: Option<Prompts>,
}

impl ModelFacts {
    /// Reads them from a header, and from llama.cpp's `tokenizer` of the same file.
    ///
    /// # Errors
    /// Metadata of another type than the format has.
    pub fn read(gguf: &Gguf, tokenizer: Option<&Tokenizer>) -> Result<Self, GgufError> {
        let kind = FileKind::of(gguf)?;
        let arch = gguf.architecture()?;
        Ok(Self {
            name: gguf.name(),
            architecture: arch.to_owned(),
            not_a_model: (kind != FileKind::Model).then(|| kind.to_string()),
            layers: scalar(gguf.u64(&format!("{arch}.block_count"))),
            files: gguf.files.len(),
            file_bytes: gguf.file_bytes(),
            file_type: scalar(gguf.u32("general.file_type")).and_then(file_type::name),
            weights: Weights::read(gguf, arch),
            context: Context::read(gguf, arch),
            vocabulary: Vocabulary::read(gguf)?,
            prompts: tokenizer.map(|tokenizer| Prompts::read(gguf, tokenizer)),
        })
    }
}

/// A value that a file may have as another type, or as one for each layer.
fn scalar<T>(value: Result<Option<T>, GgufError>) -> Option<T> {
    value.ok().flatten()
}
