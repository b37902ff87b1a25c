//! Which tensors llama.cpp wants of a model, where nothing but its metadata is there.
//!
//! ```text
//!  metadata --> llama.cpp makes the model's tensors --> name and size of each
//! ```
//!
//! A file with these tensors is one that llama.cpp opens: so tests have models of every
//! architecture, whose tensors nobody has to list.

use super::error::LlamaError;
use super::model::Model;
use super::{guard, init, words};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_void};
use std::path::PathBuf;
use std::ptr::{NonNull, null_mut};

/// A tensor that llama.cpp wants, as floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// The fastest first, without those of one element at the end.
    pub dims: Vec<u64>,
}

/// The tensors that llama.cpp makes for a model of this metadata, a GGUF file without tensors.
///
/// # Errors
/// llama.cpp's reason for refusing it. Where it asserts something, it ends the process.
pub fn tensors(metadata: &[u8]) -> Result<Vec<Wanted>, LlamaError> {
    init()?;
    let fail = |why: String| LlamaError::Load {
        path: PathBuf::from("metadata without a file"),
        why,
    };
    let mut raw = null_mut();
    // SAFETY: the bytes outlive the call, which does not keep them.
    let thrown = unsafe {
        guard::nmos_guard_header_of(metadata.as_ptr().cast(), metadata.len(), &raw mut raw)
    };
    thrown.check().map_err(fail)?;
    let header = Header(NonNull::new(raw).ok_or_else(|| fail("it is no GGUF file".to_owned()))?);
    let mut no_devices = [null_mut()];
    // SAFETY: returns plain data.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.devices = no_devices.as_mut_ptr();
    params.n_gpu_layers = 0;
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut model = null_mut();
    // SAFETY: the header, the list of no devices and the list that `note` fills outlive the
    // call, and so does what it yields.
    let call = || unsafe {
        guard::nmos_guard_make(
            header.0.as_ptr(),
            Some(note),
            (&raw mut wanted).cast(),
            &params,
            &raw mut model,
        )
    };
    let (thrown, said) = words::of(call);
    thrown.check().map_err(fail)?;
    let Some(model) = NonNull::new(model) else {
        return Err(fail(said.unwrap_or_else(|| "it was refused".to_owned())));
    };
    // SAFETY: just made, and owned by nobody else.
    drop(unsafe { Model::own(model) });
    Ok(wanted)
}

/// A header of ggml's.
struct Header(NonNull<sys::gguf_context>);

impl Drop for Header {
    fn drop(&mut self) {
        // SAFETY: `self` owns it, and frees it once.
        unsafe { sys::gguf_free(self.0.as_ptr()) };
    }
}

/// Takes note of a tensor, and gives it zeros.
unsafe extern "C" fn note(tensor: *mut sys::ggml_tensor, to: *mut c_void) {
    // SAFETY: llama.cpp passes a tensor of its own, whose name ends with a zero byte, and the
    // list that `tensors` put there; the tensor's buffer has been allocated.
    unsafe {
        let name = CStr::from_ptr(sys::ggml_get_name(tensor));
        let dims = (*tensor).ne.map(i64::unsigned_abs);
        let n_dims = usize::try_from(sys::ggml_n_dims(tensor)).unwrap_or(dims.len());
        (*to.cast::<Vec<Wanted>>()).push(Wanted {
            name: name.to_string_lossy().into_owned(),
            dims: dims[..n_dims].to_vec(),
        });
        sys::ggml_backend_tensor_memset(tensor, 0, 0, sys::ggml_nbytes(tensor));
    }
}
