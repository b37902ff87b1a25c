//! llama.cpp's own models and contexts, owned together.

use super::bare::BareModel;
use super::device::Device;
use super::hook::{Hook, Hooked};
use super::overrides::{Overrides, Value};
use super::{InitError, init};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::rc::Rc;
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
}

/// Loads a model for the CPU.
///
/// # Errors
/// Names the file and llama.cpp's reason.
pub fn load(path: &Path, what: Load) -> Result<Arc<LlamaModel>, LlamaError> {
    let backend = init()?;
    if what == Load::WeightsAsStored {
        return load_raw(path, |params| params.use_extra_bufts = false);
    }
    let params = LlamaModelParams::default()
        // No device at all: with one, llama.cpp takes memory there for wide batches even of a
        // model that has no layer on it.
        .with_devices(&[])
        .map_err(|error| LlamaError::Load {
            path: path.to_owned(),
            why: error.to_string(),
        })?
        .with_n_gpu_layers(0)
        .with_use_mmap(false)
        .with_vocab_only(what == Load::Vocabulary);
    LlamaModel::load_from_file(backend, path, &params)
        .map(Arc::new)
        .map_err(|error| LlamaError::Load {
            path: path.to_owned(),
            why: error.to_string(),
        })
}

/// The names of the chat templates that llama.cpp has built in, in order.
pub fn built_in_chat_templates() -> Vec<String> {
    // SAFETY: a null pointer of length 0 is not written to; the call returns how many there are.
    let count = unsafe { llama_cpp_sys_2::llama_chat_builtin_templates(std::ptr::null_mut(), 0) };
    let mut names = vec![std::ptr::null(); usize::try_from(count).unwrap_or(0)];
    // SAFETY: the list has as many places as the call is told.
    unsafe { llama_cpp_sys_2::llama_chat_builtin_templates(names.as_mut_ptr(), names.len()) };
    let named = names.into_iter().filter(|name| !name.is_null());
    let mut names: Vec<_> = named
        // SAFETY: each that was written points to a C string that lives as long as the library.
        .map(|name| {
            unsafe { CStr::from_ptr(name) }
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
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
    path: &Path,
    arch: &str,
    n_vocab: usize,
    layout: Layout,
) -> Result<Arc<LlamaModel>, LlamaError> {
    init()?;
    let n_vocab = i64::try_from(n_vocab).unwrap_or(i64::MAX);
    let overrides = Overrides::new(&[
        ("tokenizer.ggml.model", Value::Text("no_vocab")),
        (&format!("{arch}.vocab_size"), Value::Number(n_vocab)),
    ]);
    let overrides = overrides.ok_or_else(|| LlamaError::Load {
        path: path.to_owned(),
        why: format!("the name of its architecture is too long: {arch}"),
    })?;
    let mut devices = layout.devices();
    load_raw(path, |params| {
        layout.set(params, &mut devices);
        params.kv_overrides = overrides.as_ptr();
    })
}

/// Loads a model onto `device`: see [`Layout::OnDevice`].
///
/// # Errors
/// As [`load`]; the device's memory may be too small.
pub fn load_on(path: &Path, device: Device) -> Result<Arc<LlamaModel>, LlamaError> {
    init()?;
    let layout = Layout::OnDevice(device);
    let mut devices = layout.devices();
    load_raw(path, |params| layout.set(params, &mut devices))
}

impl Layout {
    /// The devices that layers may be on, with an end mark; none for the CPU.
    fn devices(self) -> [llama_cpp_sys_2::ggml_backend_dev_t; 2] {
        let none = std::ptr::null_mut();
        match self {
            Self::OnDevice(device) if !device.is_cpu() => [device.raw(), none],
            _ => [none, none],
        }
    }

    /// Asks for it. `devices` are its own and must outlive the call that `params` is for.
    fn set(
        self,
        params: &mut llama_cpp_sys_2::llama_model_params,
        devices: &mut [llama_cpp_sys_2::ggml_backend_dev_t; 2],
    ) {
        params.use_extra_bufts = self == Self::Fastest;
        params.devices = devices.as_mut_ptr();
        if !devices[0].is_null() {
            // More than any model has: the head counts as one.
            params.n_gpu_layers = i32::MAX;
        }
    }
}

/// Loads weights with parameters for which `llama-cpp-2` has no switch: without repacking (even
/// its override of a tensor's buffer type lets llama.cpp choose a repacking one), or with other
/// metadata. What `set` points them to must outlive the call.
fn load_raw(
    path: &Path,
    set: impl FnOnce(&mut llama_cpp_sys_2::llama_model_params),
) -> Result<Arc<LlamaModel>, LlamaError> {
    let fail = |why: &str| LlamaError::Load {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let name = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| fail("its name holds a zero byte"))?;
    let mut no_devices = [std::ptr::null_mut()];
    // SAFETY: llama.cpp has been started (by the callers); `name`, the list of no devices and
    // what the callers' `set` points to outlive the call, and the default parameters hold no
    // pointers that could dangle.
    let model = unsafe {
        let mut params = llama_cpp_sys_2::llama_model_default_params();
        params.devices = no_devices.as_mut_ptr();
        params.n_gpu_layers = 0;
        params.load_mode = llama_cpp_sys_2::LLAMA_LOAD_MODE_NONE;
        set(&mut params);
        llama_cpp_sys_2::llama_model_load_from_file(name.as_ptr(), params)
    };
    let model = NonNull::new(model)
        .ok_or_else(|| fail(&format!("it was refused{}", crate::telemetry::see_log())))?;
    // SAFETY: just loaded, and owned by nobody else.
    Ok(Arc::new(unsafe { own(model) }))
}

/// Takes a model over, to be freed when the result is dropped.
///
/// # Safety
/// Nobody else may own it.
pub(super) unsafe fn own(model: NonNull<llama_cpp_sys_2::llama_model>) -> LlamaModel {
    // SAFETY: `LlamaModel` is `repr(transparent)` over a non-null pointer to llama.cpp's model
    // (the crate's version is pinned), which it frees when dropped.
    unsafe { std::mem::transmute::<NonNull<llama_cpp_sys_2::llama_model>, LlamaModel>(model) }
}

/// How a [`LlamaRun`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    pub ctx_tokens: usize,
    /// Most tokens of a decode.
    pub batch: usize,
    /// Most sequences that a token can belong to.
    pub sequences: usize,
    pub threads: usize,
}

impl RunOptions {
    fn params(&self) -> LlamaContextParams {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let threads = i32::try_from(self.threads).unwrap_or(1);
        LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(number(self.ctx_tokens)))
            // llama.cpp reserves an output for every sequence and aborts the process where a
            // batch has not as many seats.
            .with_n_batch(number(self.batch.max(self.sequences)))
            .with_n_ubatch(number(self.batch))
            .with_n_seq_max(number(self.sequences))
            .with_kv_unified(true)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_flash_attention_policy(llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_ENABLED)
    }
}

/// A token to decode.
#[derive(Clone, Debug)]
pub struct BatchToken {
    pub token: i32,
    pub position: usize,
    pub sequences: Vec<i32>,
    pub logits: bool,
}

/// A context, and the model that it runs. A context is bound to no thread: one that nothing
/// hangs on can move to another, one with [`Hooks`] stays where its hook is.
pub struct LlamaRun<H = ()> {
    // Declared, and so dropped, before the model and the hook that it points to.
    context: LlamaContext<'static>,
    batch: LlamaBatch<'static>,
    model: Arc<LlamaModel>,
    _hooks: H,
}

/// What a context calls while it computes, if anything.
#[derive(Default)]
pub struct Hooks {
    _hooked: Option<Box<Hooked>>,
}

impl<H: Default> LlamaRun<H> {
    /// Sets up a context over a loaded model.
    ///
    /// # Errors
    /// llama.cpp's reason, as a rule that memory is short.
    pub fn new(model: Arc<LlamaModel>, options: RunOptions) -> Result<Self, LlamaError> {
        Self::with_params(model, options, options.params(), H::default())
    }
}

impl LlamaRun<Hooks> {
    /// Sets up a context over a model whose weights `hook` places while it computes.
    ///
    /// # Errors
    /// As [`LlamaRun::new`].
    pub fn hooked(
        model: &Rc<BareModel>,
        options: RunOptions,
        hook: Rc<RefCell<dyn Hook>>,
    ) -> Result<Self, LlamaError> {
        let hooked = Box::new(Hooked {
            model: Rc::clone(model),
            hook,
        });
        // Nothing may be copied to another device: weights are not there when that is done.
        let mut params = options
            .params()
            .with_op_offload(false)
            .with_offload_kqv(false);
        // SAFETY: the box is kept beside the context, and dropped after it.
        unsafe { hooked.install(&mut params) };
        let hooks = Hooks {
            _hooked: Some(hooked),
        };
        Self::with_params(Arc::clone(model.model()), options, params, hooks)
    }
}

impl<H> LlamaRun<H> {
    fn with_params(
        model: Arc<LlamaModel>,
        options: RunOptions,
        params: LlamaContextParams,
        hooks: H,
    ) -> Result<Self, LlamaError> {
        let backend = init()?;
        // SAFETY: the context borrows the model, which the same value owns behind an `Arc`
        // (so that it does not move) and drops after the context.
        let borrowed: &'static LlamaModel = unsafe { &*Arc::as_ptr(&model) };
        let context =
            borrowed
                .new_context(backend, params)
                .map_err(|error| LlamaError::Context {
                    ctx_tokens: options.ctx_tokens,
                    why: error.to_string(),
                })?;
        let sequences = i32::try_from(options.sequences).unwrap_or(1);
        Ok(Self {
            context,
            batch: LlamaBatch::new(options.batch, sequences),
            model,
            _hooks: hooks,
        })
    }

    pub fn model(&self) -> &Arc<LlamaModel> {
        &self.model
    }

    /// Computes `tokens` in one batch.
    ///
    /// # Errors
    /// llama.cpp's, and more tokens than the batch holds.
    pub fn decode(&mut self, tokens: &[BatchToken]) -> Result<(), LlamaError> {
        self.batch.clear();
        for t in tokens {
            let position = i32::try_from(t.position).unwrap_or(i32::MAX);
            self.batch
                .add(LlamaToken(t.token), position, &t.sequences, t.logits)
                .map_err(|e| LlamaError::Decode(e.to_string()))?;
        }
        self.context
            .decode(&mut self.batch)
            .map_err(|e| LlamaError::Decode(e.to_string()))
    }

    /// The logits of token `i` of the last batch, which asked for them.
    pub fn logits(&self, i: usize) -> &[f32] {
        self.context
            .get_logits_ith(i32::try_from(i).unwrap_or(i32::MAX))
    }

    /// Forgets positions from `from` on of a sequence.
    pub fn forget(&mut self, sequence: i32, from: usize) {
        let from = u32::try_from(from).ok();
        // It fails only for ids that do not fit, and these come from `RunOptions`.
        let _ = self
            .context
            .clear_kv_cache_seq(u32::try_from(sequence).ok(), from, None);
    }

    /// Makes positions `[from, to)` of one sequence those of another as well.
    pub fn share(&mut self, source: i32, target: i32, from: usize, to: usize) {
        let end = |n: usize| u32::try_from(n).ok();
        // It fails only for positions that do not fit 31 bits, far past any context.
        let _ = self
            .context
            .kv_cache_seq_cp(source, target, end(from), end(to));
    }
}
