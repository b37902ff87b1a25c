//! How llama.cpp loads a model: what of it, and where to.

use super::device::Device;
use super::error::LlamaError;
use super::files::ModelFiles;
use super::model::Model;
use super::overrides::Overrides;
use super::{guard, init, words};
use llama_cpp_sys_2 as sys;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// What of a model is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Vocabulary and metadata.
    Vocabulary,
    /// All of it, into memory of its own (no file pages stay mapped), in whatever layout
    /// llama.cpp finds fastest.
    Weights,
    /// All of it, laid out as in the file. Repacked weights are faster for a few tokens, but
    /// the bits of a token's result then depend on its place in the batch.
    WeightsAsStored,
}

/// Loads a model for the CPU.
///
/// # Errors
/// Names the file and llama.cpp's reason.
pub fn load(files: impl Into<ModelFiles>, what: Load) -> Result<Arc<Model>, LlamaError> {
    init()?;
    load_raw(&files.into(), |params| match what {
        Load::Vocabulary => params.vocab_only = true,
        Load::Weights => {}
        Load::WeightsAsStored => params.use_extra_bufts = false,
    })
}

/// Where weights are, and how they are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// For the CPU, in whatever layout llama.cpp finds fastest.
    Fastest,
    /// For the CPU, as in the file ([`Load::WeightsAsStored`]).
    AsStored,
    /// All layers on a device, as in the file. The embedding stays with the CPU, as llama.cpp
    /// has it.
    OnDevice(Device),
}

/// Loads a model's weights, but without its vocabulary of `n_vocab` tokens: it computes with
/// token numbers and knows no text. That takes less time, and 50 MB less for 152,000 tokens.
/// `arch` is the architecture that the file names.
///
/// # Errors
/// As [`load`]; a device's memory may be too small.
pub fn load_without_vocabulary(
    files: impl Into<ModelFiles>,
    arch: &str,
    n_vocab: usize,
    layout: Layout,
) -> Result<Arc<Model>, LlamaError> {
    init()?;
    let files = files.into();
    let overrides = Overrides::no_vocabulary(files.first(), arch, n_vocab)?;
    let mut devices = layout.devices();
    load_raw(&files, |params| {
        layout.set(params, &mut devices);
        params.kv_overrides = overrides.as_ptr();
    })
}

/// Loads a model onto `device`: see [`Layout::OnDevice`].
///
/// # Errors
/// As [`load`]; the device's memory may be too small.
pub fn load_on(files: impl Into<ModelFiles>, device: Device) -> Result<Arc<Model>, LlamaError> {
    init()?;
    let layout = Layout::OnDevice(device);
    let mut devices = layout.devices();
    load_raw(&files.into(), |params| layout.set(params, &mut devices))
}

impl Layout {
    /// The devices that layers may be on, with an end mark; none for the CPU.
    fn devices(self) -> [sys::ggml_backend_dev_t; 2] {
        let none = std::ptr::null_mut();
        match self {
            Self::OnDevice(device) if !device.is_cpu() => [device.raw(), none],
            _ => [none, none],
        }
    }

    /// Asks for it. `devices` are its own and must outlive the call that `params` is for.
    fn set(self, params: &mut sys::llama_model_params, devices: &mut [sys::ggml_backend_dev_t; 2]) {
        params.use_extra_bufts = self == Self::Fastest;
        params.devices = devices.as_mut_ptr();
        if !devices[0].is_null() {
            // More than any model has: the head counts as one.
            params.n_gpu_layers = i32::MAX;
        }
    }
}

/// Loads a model for the CPU, into memory of its own, with what `set` changes of the parameters.
/// What it points them to must outlive the call.
fn load_raw(
    files: &ModelFiles,
    set: impl FnOnce(&mut sys::llama_model_params),
) -> Result<Arc<Model>, LlamaError> {
    // No device at all: with one, llama.cpp takes memory there for wide batches even of a model
    // that has no layer on it.
    let mut no_devices = [null_mut()];
    // SAFETY: returns plain data.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.devices = no_devices.as_mut_ptr();
    params.n_gpu_layers = 0;
    params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
    set(&mut params);
    // SAFETY: the list of no devices and what the callers' `set` points to outlive the call.
    unsafe { load_with(files, &params) }.map(Arc::new)
}

/// Loads a model with these parameters.
///
/// # Errors
/// Names the file and llama.cpp's reason.
///
/// # Safety
/// llama.cpp has been started, and what `params` points to is alive.
pub(super) unsafe fn load_with(
    files: &ModelFiles,
    params: &sys::llama_model_params,
) -> Result<Model, LlamaError> {
    let fail = |why: String| LlamaError::Load {
        path: files.first().to_owned(),
        why,
    };
    let names = files.names()?;
    let mut paths = names.pointers();
    let (start, n, mut raw) = (paths.as_mut_ptr(), paths.len(), null_mut());
    // SAFETY: see above; `start` points to `n` names, and they and `raw` outlive the call.
    let call = || unsafe { guard::nmos_guard_load(start, n, params, &raw mut raw) };
    let (thrown, said) = words::of(call);
    thrown.check().map_err(fail)?;
    let Some(raw) = NonNull::new(raw) else {
        return Err(fail(said.unwrap_or_else(|| {
            format!("it was refused{}", crate::telemetry::see_log())
        })));
    };
    // SAFETY: just loaded, and owned by nobody else.
    Ok(unsafe { Model::own(raw) })
}
