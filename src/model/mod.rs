//! Model files: what is in them, what shape they describe, which are known by name, and how
//! they get here.
//!
//! ```text
//!   catalog    names -> what the file must be and where it can be had (configs/models.toml)
//!   hub        OWNER/REPO:QUANT -> a model's files, of a repository's or of those in the cache
//!   locate     a name or a path -> the file
//!   pull       a source -> staging -> checked -> in place
//!   store      the cache directory and what has been checked in it
//!   gguf       a file -> metadata and where each tensor lies
//!   kind       metadata -> a model, or what else the file is for
//!   arch       metadata -> the transformer's shape, every tensor checked; one table each
//!   trial      a file that is new -> whether llama.cpp can open it, found by a child process
//!   outline    metadata of any architecture -> which tensors come and go
//!   blueprint  a file -> a layout for our own graphs, or an outline for llama.cpp's
//!   inspect    a header -> what a file says of itself, for people and scripts
//!   tokenizer  text <-> tokens
//!   chat       turns of a conversation -> the prompt's tokens, by the model's own template
//! ```
mod arch;
mod blueprint;
pub mod catalog;
mod chat;
pub mod gguf;
pub mod hash;
pub mod hub;
pub mod inspect;
mod kind;
pub mod locate;
mod outline;
pub mod progress;
pub mod pull;
pub mod store;
mod tokenizer;
pub mod trial;

pub use crate::ggml::{GgmlType, RopeKind};
pub use arch::{
    Arch, ArchError, Axis, Experts, Kind, LayerTensor, LayerTensors, ModelLayout, ModelShape, Slot,
    Step, TensorSpec,
};
pub use blueprint::Blueprint;
#[cfg(test)]
pub(crate) use chat::Pieces;
pub(crate) use chat::Reply;
pub use chat::{
    AnswerForm, ChatError, ChatTemplate, Conversation, NO_TEMPLATE, TemplateError, TemplateSource,
    Think, ThinkOff, Turn, stored_template,
};
pub use gguf::{Gguf, GgufError, TensorInfo};
pub use kind::FileKind;
pub use outline::Outline;
pub use tokenizer::{TextError, TextStream, Tokenizer, VocabularyMismatch};
