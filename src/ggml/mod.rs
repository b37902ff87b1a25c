//! A safe layer over ggml: backends, tensors whose data we place, graphs, and the operations
//! that a transformer needs.
//!
//! Memory: every ggml object is kept alive by reference counting ([`Context`], [`Tensor`]),
//! and tensor data lies only in [`crate::io::Arena`]s that the tensor's context keeps alive,
//! or in a graph's own scratch buffer. A tensor therefore never points at memory that is
//! gone. Which bytes are *valid* at an address is the business of whoever placed it.
//! `device`, `place` and `tensor` therefore know each other: a device's memory is copied to and
//! from through a tensor over all of it, and a tensor keeps the memory that it lies in.
//!
//! ggml aborts the process on a shape mismatch. Shapes come from a model file's header, so
//! `model::arch` checks every one of them before a tensor is made. Should it abort all the same,
//! whoever asked for it ([`on_abort`]) is told first, so that the terminal is not left as it is.
//! llama.cpp throws: every call of it that can is made through `guard.cpp`.

pub mod abort;
mod amx;
mod apart;
pub mod bare;
mod barrier;
mod compute;
mod cpu;
mod crew;
mod device;
mod element;
mod error;
mod files;
mod gguf;
mod guard;
pub mod hook;
mod link;
pub mod llama;
mod load;
pub mod model;
mod ops;
mod overrides;
mod place;
mod share;
mod step;
mod stream;
mod tensor;
pub mod trial;
mod types;
pub mod wanted;
mod words;

pub use abort::on_abort;
pub use apart::TILED_ROWS;
pub use barrier::is_in_use as threads_yield;
pub use compute::{Compute, Graph, Kernels};
pub use crew::ThreadsUsed;
pub use device::{Device, DeviceBuffer, DeviceCaps, MOST_PADDING, ReserveError, Span};
pub use element::GgmlType;
pub use error::ComputeError;
pub use files::ModelFiles;
pub use gguf::{GgufHeader, GgufHeaderError};
pub use link::link_gb_s;
pub use ops::{RopeKind, RopeParams};
pub use place::Place;
pub use stream::{Event, Stream};
pub use tensor::{Context, Tensor};
pub use types::{dequantize_row, quantize_rows, row_bytes};

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
            abort::watch();
            llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default());
            words::listen();
            let folders = backend_folders();
            for folder in folders.iter().filter(|f| f.is_dir()) {
                load_backends(folder);
                amx::avoid(folder);
                if cpu::cpu_device().is_some() {
                    break;
                }
            }
            if cpu::cpu_device().is_none() {
                let searched: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
                return Err(InitError(format!(
                    "no CPU backend (libggml-cpu-*.so) in {}; set NMOS_BACKENDS to its folder, or \
                     put that beside nmos under the name `backends`",
                    searched.join(", ")
                )));
            }
            barrier::install();
            load_gpu(&folders);
            LlamaBackend::init().map_err(|e| InitError(e.to_string()))
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// Where ggml's backends may be, in the order of search: told by the user (`NMOS_BACKENDS`), in
/// `backends` next to the executable, or where they were built. The first that holds one for the
/// CPU is used, and no other.
pub fn backend_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = std::env::var_os("NMOS_BACKENDS").filter(|v| !v.is_empty()) {
        folders.push(PathBuf::from(folder));
    }
    if let Some(folder) = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned))
    {
        folders.push(folder.join("backends"));
    }
    if let Some(built) = option_env!("NMOS_BACKENDS_DIR") {
        folders.push(PathBuf::from(built));
    }
    folders
}

/// Why there is no GPU although one was asked for.
static NO_GPU: OnceLock<String> = OnceLock::new();

/// Why the GPU's library that `NMOS_GGML_CUDA` names is not in use, if so.
pub fn no_gpu() -> Option<&'static str> {
    NO_GPU.get().map(String::as_str)
}

/// Loads the GPU's library that `NMOS_GGML_CUDA` names: a file, or a folder that holds
/// `libggml-cuda*.so`. One that lies next to the CPU's is loaded with them.
fn load_gpu(cpu_folders: &[PathBuf]) {
    let Some(told) = std::env::var_os("NMOS_GGML_CUDA").filter(|v| !v.is_empty()) else {
        return;
    };
    let told = PathBuf::from(told);
    let why = if told.is_dir() {
        match gpu_library(&told) {
            Some(_) if cpu_folders.contains(&told) && Device::gpu().is_some() => return,
            Some(library) => load_library(&library),
            None => Err(format!("{} holds no libggml-cuda*.so", told.display())),
        }
    } else {
        load_library(&told)
    };
    let why = why.err().or_else(|| {
        let none = "no GPU answers it (is its driver installed, and new enough?)";
        Device::gpu()
            .is_none()
            .then(|| format!("{}: {none}", told.display()))
    });
    if let Some(why) = why {
        tracing::warn!(why, "the GPU is not used");
        let _ = NO_GPU.set(why);
    }
}

fn gpu_library(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_library(path, "libggml-cuda"))
        .collect();
    found.sort();
    found.into_iter().next()
}

fn is_library(path: &Path, begins: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(begins) && name.ends_with(".so")
}

fn load_library(library: &Path) -> Result<(), String> {
    let refused = || {
        format!(
            "{} cannot be loaded (not a backend of ggml, of another version, or the driver's \
             library is missing; the log may say more)",
            library.display()
        )
    };
    let path = CString::new(library.as_os_str().as_encoded_bytes()).map_err(|_| refused())?;
    // SAFETY: a NUL-terminated path; the call registers the library, and is made within
    // `init`, before any other use of ggml.
    let registry = unsafe { llama_cpp_sys_2::ggml_backend_load(path.as_ptr()) };
    if registry.is_null() {
        Err(refused())
    } else {
        Ok(())
    }
}

fn load_backends(folder: &Path) {
    // One after the other is asked how well it suits this processor: with cold files each of them
    // would wait for the disk again. A GPU's library is many times as large, and of one kind.
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .map(|file| file.path())
        .filter(|path| is_library(path, "libggml-cpu-"))
        .for_each(|library| crate::io::read_ahead(&library));
    let Ok(path) = CString::new(folder.as_os_str().as_encoded_bytes()) else {
        return;
    };
    // SAFETY: a NUL-terminated path; the call registers the libraries it finds and is made
    // once, before any other use of ggml (see `init`).
    unsafe { llama_cpp_sys_2::ggml_backend_load_all_from_path(path.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_apart_by_name() {
        let is_cpu = |name: &str| is_library(Path::new(name), "libggml-cpu-");
        assert!(is_cpu("backends/libggml-cpu-haswell.so"));
        assert!(!is_cpu("backends/libggml-cuda.so"));
        assert!(!is_cpu("libggml-cpu-haswell.so.txt"));
    }
}
