//! A model that llama.cpp has opened without its weights.
//!
//! llama.cpp allocates a model's tensors in a buffer type, which its API lets a caller choose by
//! tensor name, and then reads each tensor that the file has under its name. The buffer type
//! here hands out no memory and notes the tensors:
//!
//! ```text
//!  opening:  every tensor --> the blank (zeros that take no memory), its name hidden,
//!                             so that llama.cpp finds nothing to read for it
//!  then:     names are back;  place(weight, region)   its data is the region's
//!                             withdraw(weight)        its data is the blank again
//! ```
//!
//! Nothing of the file but its header is read or mapped. Invariant: a weight's data is the
//! blank or lies in a region that this value keeps mapped.

use super::error::LlamaError;
use super::files::ModelFiles;
use super::init;
use super::load::load_with;
use super::model::Model;
use super::overrides::Overrides;
use crate::io::{Arena, Region};
use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;

/// Alignment of the buffer that llama.cpp is told of, in bytes: what ggml's own for the CPU has.
const ALIGNMENT: usize = 32;

/// A weight of a [`BareModel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightIdx(pub usize);

/// See the module's text.
pub struct BareModel {
    model: Arc<Model>,
    weights: Vec<Weight>,
    by_name: HashMap<String, WeightIdx>,
    by_tensor: HashMap<NonNull<sys::ggml_tensor>, WeightIdx>,
    /// Where each weight has been placed; kept mapped for as long as it points there.
    places: RefCell<Vec<Option<Region>>>,
}

struct Weight {
    raw: NonNull<sys::ggml_tensor>,
    name: CString,
    bytes: usize,
    blank: Region,
}

impl BareModel {
    /// Opens the model in these files for the CPU.
    ///
    /// # Errors
    /// Names the file and llama.cpp's reason.
    pub fn open(files: impl Into<ModelFiles>) -> Result<Self, LlamaError> {
        Self::open_with(&files.into(), null())
    }

    /// The same without its vocabulary, of `n_vocab` tokens.
    ///
    /// # Errors
    /// As [`BareModel::open`].
    pub(super) fn open_without_vocabulary(
        files: &ModelFiles,
        arch: &str,
        n_vocab: usize,
    ) -> Result<Self, LlamaError> {
        let overrides = Overrides::no_vocabulary(files.first(), arch, n_vocab)?;
        Self::open_with(files, overrides.as_ptr())
    }

    /// `metadata` is null, or a list that outlives the call.
    fn open_with(
        files: &ModelFiles,
        metadata: *const sys::llama_model_kv_override,
    ) -> Result<Self, LlamaError> {
        init()?;
        let mut weights: Vec<Weight> = Vec::new();
        let mut no_memory = BufferType {
            get_name: Some(buffer_name),
            alloc_buffer: None,
            alloc_buffer_n: Some(note_tensors),
            get_alignment: Some(alignment),
            get_max_size: None,
            get_alloc_size: None,
            get_alloc_size_n: None,
            is_host: Some(is_host),
            device: null_mut(),
            context: (&raw mut weights).cast(),
        };
        let overrides = [
            sys::llama_model_tensor_buft_override {
                pattern: c".".as_ptr(),
                buft: (&raw mut no_memory).cast(),
            },
            sys::llama_model_tensor_buft_override {
                pattern: null(),
                buft: null_mut(),
            },
        ];
        let mut no_devices = [null_mut()];
        // SAFETY: returns plain data.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.devices = no_devices.as_mut_ptr();
        params.tensor_buft_overrides = overrides.as_ptr();
        params.kv_overrides = metadata;
        params.n_gpu_layers = 0;
        params.use_extra_bufts = false;
        params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
        params.lazy_mode = sys::LLAMA_LAZY_MODE_OFF;
        // SAFETY: llama.cpp has been started; all that the parameters point to outlives the
        // call, after which llama.cpp only asks whether there were overrides. `BufferType` has
        // the layout of ggml's own (the crate's version is pinned) and the functions that it
        // calls on this path.
        let model = Arc::new(unsafe { load_with(files, &params) }?);
        for weight in &weights {
            // SAFETY: the tensor belongs to the model, which has been loaded and is alive.
            unsafe { sys::ggml_set_name(weight.raw.as_ptr(), weight.name.as_ptr()) };
        }
        let names = weights
            .iter()
            .map(|w| w.name.to_string_lossy().into_owned());
        let by_name = names.zip((0..).map(WeightIdx)).collect();
        let tensors = weights.iter().map(|w| w.raw);
        let by_tensor = tensors.zip((0..).map(WeightIdx)).collect();
        Ok(Self {
            model,
            by_name,
            by_tensor,
            places: RefCell::new(vec![None; weights.len()]),
            weights,
        })
    }

    /// The model: its vocabulary is whole. Computing with it yields nonsense unless weights
    /// are placed when their step comes ([`super::hook`]).
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether the model has no weights.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The weight that the file has under `name`, if llama.cpp uses it.
    pub fn find(&self, name: &str) -> Option<WeightIdx> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, weight: WeightIdx) -> &str {
        self.weights[weight.0].name.to_str().unwrap_or("?")
    }

    /// Bytes of its data.
    pub fn bytes(&self, weight: WeightIdx) -> usize {
        self.weights[weight.0].bytes
    }

    /// Makes the start of `region` the weight's data, at whatever address: see
    /// [`Tensor::place`](super::Tensor::place).
    ///
    /// # Panics
    /// If the region is too short.
    pub fn place(&self, weight: WeightIdx, region: &Region) {
        let bytes = self.bytes(weight);
        assert!(
            region.len() >= bytes,
            "{} of {bytes} bytes in a region of {}",
            self.name(weight),
            region.len()
        );
        self.point(weight, region);
        self.places.borrow_mut()[weight.0] = Some(region.clone());
    }

    /// Makes the weight blank again.
    pub fn withdraw(&self, weight: WeightIdx) {
        self.point(weight, &self.weights[weight.0].blank);
        self.places.borrow_mut()[weight.0] = None;
    }

    fn point(&self, weight: WeightIdx, region: &Region) {
        let tensor = self.weights[weight.0].raw.as_ptr();
        // SAFETY: the tensor lives as long as the model. Contexts over this model compute on
        // the thread that calls this (neither this value nor a hook can leave it), and within
        // a pass it is called only between steps.
        unsafe { (*tensor).data = region.addr().cast() };
    }

    /// The weight that `tensor` is, or that it is a view of.
    pub(super) fn weight_of(&self, tensor: NonNull<sys::ggml_tensor>) -> Option<WeightIdx> {
        if let Some(&weight) = self.by_tensor.get(&tensor) {
            return Some(weight);
        }
        // SAFETY: callers pass tensors of a graph that is alive.
        let whole = NonNull::new(unsafe { tensor.as_ref() }.view_src)?;
        self.by_tensor.get(&whole).copied()
    }
}

impl Drop for BareModel {
    fn drop(&mut self) {
        // The model may be shared, as a vocabulary: it must not point at what goes now.
        (0..self.len())
            .map(WeightIdx)
            .for_each(|w| self.withdraw(w));
    }
}

/// ggml's `ggml_backend_buffer_type`, which its public headers keep opaque.
#[repr(C)]
struct BufferType {
    get_name: Option<unsafe extern "C" fn(*mut Self) -> *const c_char>,
    alloc_buffer: Option<unsafe extern "C" fn(*mut Self, usize) -> sys::ggml_backend_buffer_t>,
    alloc_buffer_n: Option<
        unsafe extern "C" fn(
            *mut Self,
            *mut *mut sys::ggml_tensor,
            c_int,
        ) -> sys::ggml_backend_buffer_t,
    >,
    get_alignment: Option<unsafe extern "C" fn(*mut Self) -> usize>,
    get_max_size: Option<unsafe extern "C" fn(*mut Self) -> usize>,
    get_alloc_size: Option<unsafe extern "C" fn(*mut Self, *const sys::ggml_tensor) -> usize>,
    get_alloc_size_n:
        Option<unsafe extern "C" fn(*mut Self, *mut *mut sys::ggml_tensor, c_int) -> usize>,
    is_host: Option<unsafe extern "C" fn(*mut Self) -> bool>,
    device: sys::ggml_backend_dev_t,
    context: *mut c_void,
}

unsafe extern "C" fn buffer_name(_: *mut BufferType) -> *const c_char {
    c"placed later".as_ptr()
}

unsafe extern "C" fn alignment(_: *mut BufferType) -> usize {
    ALIGNMENT
}

unsafe extern "C" fn is_host(_: *mut BufferType) -> bool {
    true
}

/// Takes note of all tensors, makes them blank and hides their names. A null buffer makes
/// llama.cpp refuse the model.
unsafe extern "C" fn note_tensors(
    kind: *mut BufferType,
    tensors: *mut *mut sys::ggml_tensor,
    n: c_int,
) -> sys::ggml_backend_buffer_t {
    // SAFETY: llama.cpp passes `n` tensors of its own, and `open` put its list into `context`.
    let (weights, tensors) = unsafe {
        (
            &mut *(*kind).context.cast::<Vec<Weight>>(),
            std::slice::from_raw_parts(tensors, usize::try_from(n).unwrap_or(0)),
        )
    };
    let tensors: Vec<_> = tensors.iter().copied().filter_map(NonNull::new).collect();
    // SAFETY: as above.
    let bytes = |t: NonNull<sys::ggml_tensor>| unsafe { sys::ggml_nbytes(t.as_ptr()) };
    let largest = tensors.iter().map(|&t| bytes(t)).max().unwrap_or(0);
    let Ok(blank) = Arena::sparse(largest) else {
        return null_mut();
    };
    // Address space alone: it is kept for good, since nobody knows how long the model lives.
    std::mem::forget(Arc::clone(&blank));
    let blank = blank.region(0, blank.len());
    // SAFETY: the blank is mapped for good, the buffer does not own it, and every tensor is a
    // fresh one that fits it.
    unsafe {
        let buffer = sys::ggml_backend_cpu_buffer_from_ptr(blank.addr().cast(), blank.len());
        for raw in tensors {
            let tensor = raw.as_ptr();
            let status = sys::ggml_backend_tensor_alloc(buffer, tensor, blank.addr().cast());
            if status != sys::GGML_STATUS_SUCCESS {
                sys::ggml_backend_buffer_free(buffer);
                return null_mut();
            }
            weights.push(Weight {
                raw,
                name: CStr::from_ptr(sys::ggml_get_name(tensor)).to_owned(),
                bytes: bytes(raw),
                blank: blank.clone(),
            });
            sys::ggml_set_name(tensor, c"".as_ptr());
        }
        buffer
    }
}
