//! What ggml and llama.cpp fail at.

use super::InitError;
use crate::units::Bytes;
use std::path::PathBuf;

/// A computation that failed.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("no memory for the intermediate results of a graph")]
    OutOfMemory,
    #[error("computing failed with ggml's status {0}; the log may say why")]
    Status(i32),
    #[error("the compute backend cannot be started: {0}")]
    Start(&'static str),
    #[error("llama.cpp's graph has {0}")]
    Form(&'static str),
    #[error(
        "{device} has no {bytes} of memory left; give less with --vram, or none (--vram 0) to \
         compute without it"
    )]
    DeviceMemory { device: String, bytes: Bytes },
}

/// llama.cpp refused something.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("{}: llama.cpp cannot load it: {why}", path.display())]
    Load { path: PathBuf, why: String },
    #[error("llama.cpp cannot set up a context of {ctx_tokens} tokens: {why}")]
    Context { ctx_tokens: usize, why: String },
    #[error("llama.cpp cannot decode: {0}")]
    Decode(String),
    #[error("the text cannot be cut into tokens: {why}")]
    Tokenize { why: String },
    /// By whoever watches the computing.
    #[error("llama.cpp was told to stop computing")]
    Ended,
    #[error("the model computes no numbers: its file is damaged, or made wrongly")]
    NoNumbers,
}
