//! Why an oracle cannot be opened.

use super::OracleError;
use crate::ggml::llama::LlamaError;
use crate::ggml::{ComputeError, InitError};
use crate::model::GgufError;
use crate::river::RiverError;
use std::io;
use std::num::TryFromIntError;
use std::path::PathBuf;

/// Files that cannot be read, and memory or a device that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Kernels(#[from] InitError),
    #[error(transparent)]
    Header(#[from] GgufError),
    #[error(transparent)]
    Llama(#[from] LlamaError),
    /// A device, or what computes.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    #[error(transparent)]
    Weights(#[from] RiverError),
    /// Weights that llama.cpp's graph and the file do not agree about.
    #[error(transparent)]
    Graph(#[from] OracleError),
    /// Memory of the host, or a file.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    TooLarge(#[from] TryFromIntError),
    /// A tensor that stays; `why` is the system's.
    #[error("{}: reading {tensor} failed: {why}", path.display())]
    Tensor {
        path: PathBuf,
        tensor: String,
        why: io::Error,
    },
}
