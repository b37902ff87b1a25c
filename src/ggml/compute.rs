//! Graphs and the device that computes them.

use super::tensor::{Context, ContextInner, Tensor};
use llama_cpp_sys_2 as sys;
use std::ffi::CStr;
use std::ptr::NonNull;
use std::rc::Rc;

/// A list of operations in order.
#[derive(Debug)]
pub struct Graph {
    raw: NonNull<sys::ggml_cgraph>,
    ctx: Rc<ContextInner>,
}

impl Context {
    /// An empty graph for at most `nodes` nodes.
    pub fn graph(&self, nodes: usize) -> Graph {
        // SAFETY: the context is alive.
        let raw = unsafe { sys::ggml_new_graph_custom(self.0.raw.as_ptr(), nodes, false) };
        let Some(raw) = NonNull::new(raw) else {
            panic!("a ggml context has no room for a graph of {nodes} nodes");
        };
        Graph {
            raw,
            ctx: Rc::clone(&self.0),
        }
    }
}

impl Graph {
    /// Adds `tensor` and whatever it needs that is not yet in the graph.
    ///
    /// # Panics
    /// If the tensor belongs to another context than the graph.
    pub fn expand(&self, tensor: &Tensor) {
        assert!(Rc::ptr_eq(&self.ctx, &tensor.ctx), "a graph of one context");
        // SAFETY: both belong to a context that is alive.
        unsafe { sys::ggml_build_forward_expand(self.raw.as_ptr(), tensor.raw.as_ptr()) };
    }

    /// Like [`Graph::expand`], for a result whose memory must not be reused by later nodes.
    pub fn expand_output(&self, tensor: &Tensor) {
        // SAFETY: as in `expand`.
        unsafe { sys::ggml_set_output(tensor.raw.as_ptr()) };
        self.expand(tensor);
    }
}

/// A computation that failed.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("no memory for the intermediate results of a graph")]
    OutOfMemory,
    #[error("the CPU backend reports status {0}")]
    Status(i32),
    #[error("the CPU backend cannot be started: {0}")]
    Start(&'static str),
}

pub(super) fn cpu_device() -> Option<NonNull<sys::ggml_backend_device>> {
    // SAFETY: a query of the registry of loaded backends.
    NonNull::new(unsafe { sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU) })
}

type SetThreads = unsafe extern "C" fn(sys::ggml_backend_t, i32);
type NewPool = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
type FreePool = unsafe extern "C" fn(*mut sys::ggml_threadpool);
type SetPool = unsafe extern "C" fn(sys::ggml_backend_t, *mut sys::ggml_threadpool);

/// The CPU as a compute device: ggml's backend, its threads, and scratch memory for the
/// intermediate results of one graph at a time.
#[derive(Debug)]
pub struct Compute {
    backend: sys::ggml_backend_t,
    pool: *mut sys::ggml_threadpool,
    free_pool: FreePool,
    scratch: sys::ggml_gallocr_t,
}

impl Compute {
    /// Starts the CPU backend with `threads` threads that stay alive between graphs.
    ///
    /// # Errors
    /// Where the backend lacks what is needed (an older or foreign build of it).
    pub fn new(threads: usize) -> Result<Self, ComputeError> {
        let device = cpu_device().ok_or(ComputeError::Start("it is not loaded"))?;
        // SAFETY: the device is registered for the life of the process.
        let registry = unsafe { sys::ggml_backend_dev_backend_reg(device.as_ptr()) };
        let find = |name: &CStr| {
            // SAFETY: a query by a NUL-terminated name.
            NonNull::new(unsafe { sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr()) })
                .map(NonNull::as_ptr)
        };
        let missing = |what| ComputeError::Start(what);
        let set_threads =
            find(c"ggml_backend_set_n_threads").ok_or(missing("no ggml_backend_set_n_threads"))?;
        let new_pool = find(c"ggml_threadpool_new").ok_or(missing("no ggml_threadpool_new"))?;
        let free_pool = find(c"ggml_threadpool_free").ok_or(missing("no ggml_threadpool_free"))?;
        let set_pool = find(c"ggml_backend_cpu_set_threadpool")
            .ok_or(missing("no ggml_backend_cpu_set_threadpool"))?;
        // SAFETY: the four functions have these signatures in ggml's headers, and the library
        // that holds them is never unloaded.
        let (set_threads, new_pool, free_pool, set_pool) = unsafe {
            (
                std::mem::transmute::<*mut std::ffi::c_void, SetThreads>(set_threads),
                std::mem::transmute::<*mut std::ffi::c_void, NewPool>(new_pool),
                std::mem::transmute::<*mut std::ffi::c_void, FreePool>(free_pool),
                std::mem::transmute::<*mut std::ffi::c_void, SetPool>(set_pool),
            )
        };
        let threads = i32::try_from(threads.max(1)).unwrap_or(1);
        // SAFETY: the device and functions are valid; `params` lives through the call; what
        // is created is freed in `drop`.
        unsafe {
            let backend = sys::ggml_backend_dev_init(device.as_ptr(), std::ptr::null());
            if backend.is_null() {
                return Err(ComputeError::Start("ggml_backend_dev_init fails"));
            }
            set_threads(backend, threads);
            let mut params = sys::ggml_threadpool_params_default(threads);
            // Idle threads sleep: by default they spin for about 100 ms after each graph, on
            // cores that the draft and the reader need meanwhile.
            params.poll = 0;
            let pool = new_pool(&raw mut params);
            if pool.is_null() {
                sys::ggml_backend_free(backend);
                return Err(ComputeError::Start("no threads"));
            }
            set_pool(backend, pool);
            let scratch = sys::ggml_gallocr_new(sys::ggml_backend_cpu_buffer_type());
            Ok(Self {
                backend,
                pool,
                free_pool,
                scratch,
            })
        }
    }

    /// Computes a graph. Its intermediate results are valid until the next call.
    ///
    /// # Errors
    /// When scratch memory runs out or the backend reports a failure.
    pub fn run(&mut self, graph: &Graph) -> Result<(), ComputeError> {
        // SAFETY: the graph's context is alive; tensors with data of their own lie in arenas
        // that it keeps, all others are given scratch memory here.
        unsafe {
            if !sys::ggml_gallocr_alloc_graph(self.scratch, graph.raw.as_ptr()) {
                return Err(ComputeError::OutOfMemory);
            }
            match sys::ggml_backend_graph_compute(self.backend, graph.raw.as_ptr()) {
                sys::GGML_STATUS_SUCCESS => Ok(()),
                sys::GGML_STATUS_ALLOC_FAILED => Err(ComputeError::OutOfMemory),
                other => Err(ComputeError::Status(other)),
            }
        }
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        // SAFETY: each was created in `new` and is freed once; the backend is told to let go
        // of the threads by being freed first.
        unsafe {
            sys::ggml_gallocr_free(self.scratch);
            sys::ggml_backend_free(self.backend);
            (self.free_pool)(self.pool);
        }
    }
}
