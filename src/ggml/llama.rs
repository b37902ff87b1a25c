//! llama.cpp's own contexts, each owned together with the model that it runs.

pub use super::error::LlamaError;
pub use super::load::{Layout, Load, load, load_on, load_without_vocabulary};

use super::bare::BareModel;
use super::crew::{Crew, ThreadsUsed};
use super::error::ComputeError;
use super::hook::{Hook, Hooked};
use super::model::Model;
use super::{guard, words};
use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The names of the chat templates that llama.cpp has built in, in order.
pub fn built_in_chat_templates() -> Vec<String> {
    // SAFETY: a null pointer of length 0 is not written to; the call returns how many there are.
    let count = unsafe { sys::llama_chat_builtin_templates(null_mut(), 0) };
    let mut names = vec![std::ptr::null(); usize::try_from(count).unwrap_or(0)];
    // SAFETY: the list has as many places as the call is told.
    unsafe { sys::llama_chat_builtin_templates(names.as_mut_ptr(), names.len()) };
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
    fn params(&self) -> sys::llama_context_params {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let threads = i32::try_from(self.threads).unwrap_or(1);
        // SAFETY: returns plain data.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = number(self.ctx_tokens);
        // llama.cpp reserves an output for every sequence and aborts the process where a batch
        // has not as many seats.
        params.n_batch = number(self.batch.max(self.sequences));
        params.n_ubatch = number(self.batch);
        params.n_seq_max = number(self.sequences);
        params.kv_unified = true;
        params.n_threads = threads;
        params.n_threads_batch = threads;
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_ENABLED;
        params
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

/// A context of llama.cpp's. Whoever has one has its model as well, and drops that later.
struct Context(NonNull<sys::llama_context>);

// SAFETY: llama.cpp's contexts are not bound to a thread; one at a time uses this one.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `self` owns it, and frees it once; its model is alive.
        let words = unsafe { guard::nmos_guard_free_context(self.0.as_ptr()) };
        if let Err(why) = words.check() {
            tracing::warn!(why, "a context was not freed whole");
        }
    }
}

/// A context, and the model that it runs. A context is bound to no thread: one that nothing
/// hangs on can move to another, one with [`Hooks`] stays where its hook is.
pub struct LlamaRun<H = ()> {
    // Declared, and so dropped, before the threads, the model and the hook that it points to.
    context: Context,
    /// Without them llama.cpp starts and ends threads at every stop of a graph.
    crew: Crew,
    options: RunOptions,
    model: Arc<Model>,
    hooks: H,
}

/// What a context calls while it computes, if anything.
#[derive(Default)]
pub struct Hooks {
    hooked: Option<Box<Hooked>>,
    /// Asked after every step whether to end there. Boxed twice, so that it has an address.
    ends: Option<Box<Box<dyn Fn() -> bool>>>,
}

unsafe extern "C" fn is_ended(ends: *mut c_void) -> bool {
    // SAFETY: `end_when` put the address of such a box there, and takes it back before that goes.
    let ends = unsafe { &*ends.cast::<Box<dyn Fn() -> bool>>() };
    ends()
}

/// What happens in a decode besides computing.
pub trait Interrupts {
    /// Time that it has taken so far.
    fn taken(&self) -> Duration {
        Duration::ZERO
    }

    /// Called before a decode by `threads` threads.
    fn begin(&self, _threads: i32) {}

    /// Called after it.
    ///
    /// # Errors
    /// What makes its result useless.
    fn end(&self) -> Result<(), ComputeError> {
        Ok(())
    }
}

impl Interrupts for () {}

impl Interrupts for Hooks {
    fn taken(&self) -> Duration {
        let hooked = self.hooked.as_ref();
        hooked.map_or(Duration::ZERO, |hooked| hooked.taken())
    }

    fn begin(&self, threads: i32) {
        if let Some(hooked) = &self.hooked {
            hooked.begin(threads);
        }
    }

    fn end(&self) -> Result<(), ComputeError> {
        let hooked = self.hooked.as_ref();
        hooked.map_or(Ok(()), |hooked| hooked.end())
    }
}

impl<H: Default + Interrupts> LlamaRun<H> {
    /// Sets up a context over a loaded model.
    ///
    /// # Errors
    /// llama.cpp's reason, as a rule that memory is short.
    pub fn new(model: Arc<Model>, options: RunOptions) -> Result<Self, LlamaError> {
        Self::watched(model, options, |_| {})
    }

    /// The same with what `set` changes of the parameters; what it points them to must outlive
    /// the context.
    pub(super) fn watched(
        model: Arc<Model>,
        options: RunOptions,
        set: impl FnOnce(&mut sys::llama_context_params),
    ) -> Result<Self, LlamaError> {
        let mut params = options.params();
        set(&mut params);
        Self::with_params(model, options, params, H::default())
    }
}

impl LlamaRun<Hooks> {
    /// Lets decodes from now on be ended: with [`LlamaError::Ended`], where `ends` says so.
    pub fn end_when(&mut self, ends: Option<Box<dyn Fn() -> bool>>) {
        let context = self.context.0.as_ptr();
        // SAFETY: the context is alive and computes nothing; what it asked until now is dropped
        // after it has let go of that.
        unsafe { sys::llama_set_abort_callback(context, None, null_mut()) };
        self.hooks.ends = ends.map(Box::new);
        if let Some(ends) = &self.hooks.ends {
            let address = (&raw const **ends).cast_mut().cast();
            // SAFETY: `is_ended` is called with this address while `self.hooks.ends` keeps it.
            unsafe { sys::llama_set_abort_callback(context, Some(is_ended), address) };
        }
    }

    /// Sets up a context over a model whose weights `hook` places while it computes.
    ///
    /// # Errors
    /// As [`LlamaRun::new`].
    pub fn hooked(
        model: &Rc<BareModel>,
        options: RunOptions,
        hook: Rc<RefCell<dyn Hook>>,
    ) -> Result<Self, LlamaError> {
        let hooked = Box::new(Hooked::new(Rc::clone(model), hook));
        // Nothing may be copied to another device: weights are not there when that is done.
        let mut params = options.params();
        params.op_offload = false;
        params.offload_kqv = false;
        // SAFETY: the box is kept with the context, and dropped after it.
        unsafe { hooked.install(&mut params) };
        let hooks = Hooks {
            hooked: Some(hooked),
            ends: None,
        };
        let run = Self::with_params(Arc::clone(model.model()), options, params, hooks)?;
        if let Some(hooked) = &run.hooks.hooked {
            let started = hooked.compute_by(&run.crew);
            started.map_err(|error| LlamaError::Context {
                ctx_tokens: options.ctx_tokens,
                why: error.to_string(),
            })?;
        }
        Ok(run)
    }
}

impl<H: Interrupts> LlamaRun<H> {
    fn with_params(
        model: Arc<Model>,
        options: RunOptions,
        params: sys::llama_context_params,
        hooks: H,
    ) -> Result<Self, LlamaError> {
        let fail = |why: String| LlamaError::Context {
            ctx_tokens: options.ctx_tokens,
            why,
        };
        let mut raw = null_mut();
        // SAFETY: the model is alive, and the same value owns a share of it and drops it after
        // the context. What the parameters point to outlives the context (see `Hooked`).
        let call = || unsafe { guard::nmos_guard_context(model.raw(), &params, &raw mut raw) };
        let (thrown, said) = words::of(call);
        thrown.check().map_err(fail)?;
        let Some(raw) = NonNull::new(raw) else {
            return Err(fail(said.unwrap_or_else(|| {
                format!("it was refused{}", crate::telemetry::see_log())
            })));
        };
        let context = Context(raw);
        let crew = Crew::start(options.threads).map_err(|error| fail(error.to_string()))?;
        // SAFETY: the context is alive, and is dropped before the threads.
        unsafe { sys::llama_attach_threadpool(raw.as_ptr(), crew.pool(), crew.pool()) };
        Ok(Self {
            context,
            crew,
            options,
            model,
            hooks,
        })
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Fewest and most threads that computed since the last call of this.
    pub fn take_threads_used(&mut self) -> ThreadsUsed {
        self.crew.take_used()
    }

    /// Computes `tokens` in one batch.
    ///
    /// # Errors
    /// llama.cpp's, and more tokens than the batch holds.
    pub fn decode(&mut self, tokens: &[BatchToken]) -> Result<(), LlamaError> {
        let fail = |why: String| LlamaError::Decode(why);
        let most = self.options.batch;
        if tokens.is_empty() || tokens.len() > most {
            let n = tokens.len();
            return Err(fail(format!("{n} tokens in a batch of 1 to {most}")));
        }
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let mut ids: Vec<i32> = tokens.iter().map(|t| t.token).collect();
        let mut positions: Vec<i32> = tokens.iter().map(|t| number(t.position)).collect();
        let mut counts: Vec<i32> = tokens.iter().map(|t| number(t.sequences.len())).collect();
        let mut wanted: Vec<i8> = tokens.iter().map(|t| i8::from(t.logits)).collect();
        let sequences = tokens.iter().map(|t| t.sequences.as_ptr().cast_mut());
        let mut sequences: Vec<*mut i32> = sequences.collect();
        let batch = sys::llama_batch {
            n_tokens: number(tokens.len()),
            token: ids.as_mut_ptr(),
            embd: null_mut(),
            pos: positions.as_mut_ptr(),
            n_seq_id: counts.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: wanted.as_mut_ptr(),
        };
        let mut status = 0;
        let context = self.context.0.as_ptr();
        let threads = number(self.crew.threads());
        // SAFETY: the context is alive.
        unsafe { sys::llama_set_n_threads(context, threads, threads) };
        // SAFETY: the context is alive; all that the batch points to has as many entries as it
        // says, outlives the call, and is only read.
        let call = || unsafe { guard::nmos_guard_decode(context, &batch, &raw mut status) };
        let before = self.hooks.taken();
        let hooks = &self.hooks;
        hooks.begin(threads);
        let (thrown, said) = self
            .crew
            .watch(|| words::of(call), || hooks.taken().saturating_sub(before));
        let hooked = hooks.end();
        thrown.check().map_err(fail)?;
        match (status, said) {
            (0, _) => hooked.map_err(|error| fail(error.to_string())),
            (1, _) => Err(fail("its cells are used up".to_owned())),
            (2, _) => Err(LlamaError::Ended),
            (_, Some(said)) => Err(fail(said)),
            (status, None) => Err(fail(format!("error {status}"))),
        }
    }

    /// The logits of token `i` of the last batch, which asked for them.
    ///
    /// # Errors
    /// Where llama.cpp has none, or no number is among them.
    pub fn logits(&self, i: usize) -> Result<&[f32], LlamaError> {
        let row = i32::try_from(i).unwrap_or(i32::MAX);
        let mut logits = null_mut();
        let context = self.context.0.as_ptr();
        // SAFETY: the context is alive; any number of a row is checked by llama.cpp.
        let words = unsafe { guard::nmos_guard_logits(context, row, &raw mut logits) };
        words.check().map_err(LlamaError::Decode)?;
        if logits.is_null() {
            return Err(LlamaError::Decode(format!("no logits of token {i}")));
        }
        // SAFETY: llama.cpp keeps a row of logits, one a token of the vocabulary, until the next
        // decode, for which `self` is needed mutably.
        let logits = unsafe { std::slice::from_raw_parts(logits, self.model.n_tokens()) };
        // Nearly always the first one ends the search.
        if logits.iter().any(|x| x.is_finite()) {
            Ok(logits)
        } else {
            Err(LlamaError::NoNumbers)
        }
    }

    /// Forgets positions from `from` on of a sequence.
    pub fn forget(&mut self, sequence: i32, from: usize) {
        let from = i32::try_from(from).unwrap_or(i32::MAX);
        let mut done = false;
        let context = self.context.0.as_ptr();
        // SAFETY: the context is alive, and the sequence is one of its own (see `RunOptions`).
        let words = unsafe { guard::nmos_guard_forget(context, sequence, from, &raw mut done) };
        if let Err(why) = words.check() {
            tracing::error!(why, sequence, from, "cells were not given up");
        }
    }

    /// Makes positions `[from, to)` of one sequence those of another as well.
    ///
    /// # Errors
    /// llama.cpp's reason; what the other holds is unknown then.
    pub fn share(
        &mut self,
        source: i32,
        target: i32,
        from: usize,
        to: usize,
    ) -> Result<(), LlamaError> {
        let end = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let context = self.context.0.as_ptr();
        // SAFETY: the context is alive, and both sequences are its own (see `RunOptions`).
        let words = unsafe { guard::nmos_guard_share(context, source, target, end(from), end(to)) };
        words.check().map_err(LlamaError::Decode)
    }
}
