//! The CPU's device, and its backend's own functions, which ggml's common interface does not have.

use super::error::ComputeError;
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

pub(super) fn cpu_device() -> Option<NonNull<sys::ggml_backend_device>> {
    // SAFETY: a query of the registry of loaded backends.
    NonNull::new(unsafe { sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU) })
}

type SetThreads = unsafe extern "C" fn(sys::ggml_backend_t, i32);
type NewPool = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
type FreePool = unsafe extern "C" fn(*mut sys::ggml_threadpool);
type SetPool = unsafe extern "C" fn(sys::ggml_backend_t, *mut sys::ggml_threadpool);
type SetReference = unsafe extern "C" fn(sys::ggml_backend_t, bool);

/// See the module's text. All take a backend of the CPU or a pool of its threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuFunctions {
    pub set_threads: SetThreads,
    pub new_pool: NewPool,
    pub free_pool: FreePool,
    pub set_pool: SetPool,
    /// Whether graphs are computed by one dot product at a time, the same at any width.
    pub set_reference: SetReference,
}

impl CpuFunctions {
    /// Those of the library that is loaded.
    ///
    /// # Errors
    /// Where it lacks one (an older or foreign build of it).
    pub(super) fn get() -> Result<Self, ComputeError> {
        static FOUND: OnceLock<Result<CpuFunctions, &'static str>> = OnceLock::new();
        FOUND.get_or_init(Self::find).map_err(ComputeError::Start)
    }

    fn find() -> Result<Self, &'static str> {
        let device = cpu_device().ok_or("it is not loaded")?;
        // SAFETY: the device is registered for the life of the process.
        let registry = unsafe { sys::ggml_backend_dev_backend_reg(device.as_ptr()) };
        let find = |name: &'static CStr| -> Result<*mut c_void, &'static str> {
            // SAFETY: a query by a NUL-terminated name.
            let found = unsafe { sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr()) };
            let found = NonNull::new(found).map(NonNull::as_ptr);
            found.ok_or_else(|| name.to_str().unwrap_or("a function is missing"))
        };
        // SAFETY: the functions have these signatures in ggml's headers, and the library that
        // holds them is never unloaded once `init` has returned.
        let found = unsafe {
            Self {
                set_threads: std::mem::transmute::<*mut c_void, SetThreads>(find(
                    c"ggml_backend_set_n_threads",
                )?),
                new_pool: std::mem::transmute::<*mut c_void, NewPool>(find(
                    c"ggml_threadpool_new",
                )?),
                free_pool: std::mem::transmute::<*mut c_void, FreePool>(find(
                    c"ggml_threadpool_free",
                )?),
                set_pool: std::mem::transmute::<*mut c_void, SetPool>(find(
                    c"ggml_backend_cpu_set_threadpool",
                )?),
                set_reference: std::mem::transmute::<*mut c_void, SetReference>(find(
                    c"ggml_backend_cpu_set_use_ref",
                )?),
            }
        };
        Ok(found)
    }
}
