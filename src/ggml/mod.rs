//! A safe layer over ggml: backends, tensors whose data we place, graphs, and the operations
//! that a transformer needs.
//!
//! Memory: every ggml object is kept alive by reference counting ([`Context`], [`Tensor`]),
//! and tensor data lies only in [`crate::io::Arena`]s that the tensor's context keeps alive,
//! or in a graph's own scratch buffer. A tensor therefore never points at memory that is
//! gone. Which bytes are *valid* at an address is the business of whoever placed it.
//!
//! ggml aborts the process on a shape mismatch. Shapes come from a model file's header, so
//! `model::arch` checks every one of them before a tensor is made.

pub mod bare;
mod compute;
mod element;
pub mod hook;
pub mod llama;
mod ops;
mod tensor;
mod types;

pub use compute::{Compute, ComputeError, Graph};
pub use element::GgmlType;
pub use ops::{RopeKind, RopeParams};
pub use tensor::{Context, Tensor};
pub use types::{dequantize_row, row_bytes};

use llama_cpp_2::llama_backend::LlamaBackend;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// llama.cpp could not be started.
#[derive(Debug, Clone, thiserror::Error)]
#[error("llama.cpp does not start: {0}")]
pub struct InitError(String);

/// Starts llama.cpp and loads its compute backends, once for the process. Its messages go
/// to `tracing`: on stderr they would wreck the screen.
///
/// # Errors
/// Where no CPU backend is found; names the folders that were searched.
pub fn init() -> Result<&'static LlamaBackend, InitError> {
    static STATE: OnceLock<Result<LlamaBackend, InitError>> = OnceLock::new();
    STATE
        .get_or_init(|| {
            llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default());
            let folders = backend_folders();
            for folder in folders.iter().filter(|f| f.is_dir()) {
                load_backends(folder);
                if compute::cpu_device().is_some() {
                    break;
                }
            }
            if compute::cpu_device().is_none() {
                let searched: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
                return Err(InitError(format!(
                    "no CPU backend (libggml-cpu-*.so) in {}; set NMOS_BACKENDS to its folder",
                    searched.join(", ")
                )));
            }
            LlamaBackend::init().map_err(|e| InitError(e.to_string()))
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// Where ggml's backends may be: told by the user, beside the executable, or where they
/// were built.
fn backend_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = std::env::var_os("NMOS_BACKENDS") {
        folders.push(PathBuf::from(folder));
    }
    if let Some(beside) = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned))
    {
        folders.push(beside.join("backends"));
    }
    if let Some(built) = option_env!("NMOS_BACKENDS_DIR") {
        folders.push(PathBuf::from(built));
    }
    folders
}

fn load_backends(folder: &Path) {
    let Ok(path) = CString::new(folder.as_os_str().as_encoded_bytes()) else {
        return;
    };
    // SAFETY: a NUL-terminated path; the call registers the libraries it finds and is made
    // once, before any other use of ggml (see `init`).
    unsafe { llama_cpp_sys_2::ggml_backend_load_all_from_path(path.as_ptr()) };
}
