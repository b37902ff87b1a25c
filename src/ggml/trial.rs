//! Opening a model for the first time, to see whether llama.cpp survives it.
//!
//! Without weights: they are zeros that take no memory ([`super::bare`]). A graph is built, and
//! one token is computed by it. Whoever calls this is a process of its own, since ggml ends the
//! process where something does not hold.

use super::bare::BareModel;
use super::files::ModelFiles;
use super::llama::{BatchToken, LlamaError, LlamaRun, RunOptions};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long is computed. A large model has seen most of its graph by then, and its layers are
/// alike.
const COMPUTE: Duration = Duration::from_secs(2);

/// Opens the model in these files, as sessions do, and computes a token.
///
/// # Errors
/// llama.cpp's reason. Where it cannot go on it ends the process instead.
pub fn open_and_compute(files: &ModelFiles, threads: usize) -> Result<(), LlamaError> {
    let bare = BareModel::open(files.clone())?;
    if bare.model().obstacle().is_some() {
        // It is refused in any case, in words of its own.
        return Ok(());
    }
    let until = Instant::now() + COMPUTE;
    let options = RunOptions {
        ctx_tokens: 256,
        batch: 8,
        sequences: 4,
        threads,
    };
    let mut run: LlamaRun = LlamaRun::watched(Arc::clone(bare.model()), options, |params| {
        params.abort_callback = Some(is_over);
        params.abort_callback_data = (&raw const until).cast_mut().cast();
    })?;
    let tokens = [BatchToken {
        token: 0,
        position: 0,
        sequences: vec![0],
        logits: true,
    }];
    match run.decode(&tokens) {
        Ok(()) | Err(LlamaError::Ended) => {}
        Err(other) => return Err(other),
    }
    drop(run);
    // A draft is opened so, and an oracle that fits in memory.
    let (arch, n_vocab) = (bare.model().architecture(), bare.model().n_tokens());
    drop(bare);
    match arch {
        Some(arch) => BareModel::open_without_vocabulary(files, &arch, n_vocab).map(drop),
        None => Ok(()),
    }
}

unsafe extern "C" fn is_over(until: *mut c_void) -> bool {
    // SAFETY: `open_and_compute` passes an `Instant` that outlives the context.
    Instant::now() >= unsafe { *until.cast::<Instant>() }
}
