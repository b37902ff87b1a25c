//! Graphs and the device that computes them.

use super::device::Device;
use super::stream::Stream;
use super::tensor::{Context, ContextInner, Tensor};
use crate::units::Bytes;
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
    #[error("computing failed with ggml's status {0}; the log may say why")]
    Status(i32),
    #[error("the compute backend cannot be started: {0}")]
    Start(&'static str),
    #[error(
        "{device} has no {bytes} of memory left; give less with --vram, or none (--vram 0) to \
         compute without it"
    )]
    DeviceMemory { device: String, bytes: Bytes },
}

pub(super) fn cpu_device() -> Option<NonNull<sys::ggml_backend_device>> {
    // SAFETY: a query of the registry of loaded backends.
    NonNull::new(unsafe { sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU) })
}

type SetThreads = unsafe extern "C" fn(sys::ggml_backend_t, i32);
type NewPool = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
type FreePool = unsafe extern "C" fn(*mut sys::ggml_threadpool);
type SetPool = unsafe extern "C" fn(sys::ggml_backend_t, *mut sys::ggml_threadpool);

/// Threads of the CPU backend that stay alive between graphs.
#[derive(Debug)]
struct Pool {
    raw: *mut sys::ggml_threadpool,
    free: FreePool,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: created in `Pool::start` and freed once, after the backend that uses it.
        unsafe { (self.free)(self.raw) };
    }
}

impl Pool {
    /// Gives `stream`, which is one of the CPU, `threads` threads.
    fn start(stream: &Stream, threads: usize) -> Result<Self, ComputeError> {
        // SAFETY: the device is registered for the life of the process.
        let registry = unsafe { sys::ggml_backend_dev_backend_reg(stream.device().raw()) };
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
        let (set_threads, new_pool, free, set_pool) = unsafe {
            (
                std::mem::transmute::<*mut std::ffi::c_void, SetThreads>(set_threads),
                std::mem::transmute::<*mut std::ffi::c_void, NewPool>(new_pool),
                std::mem::transmute::<*mut std::ffi::c_void, FreePool>(free_pool),
                std::mem::transmute::<*mut std::ffi::c_void, SetPool>(set_pool),
            )
        };
        let threads = i32::try_from(threads.max(1)).unwrap_or(1);
        // SAFETY: backend and functions are valid; `params` lives through the call; the threads
        // are freed in `drop`, after the backend (see `Compute`).
        unsafe {
            set_threads(stream.backend.as_ptr(), threads);
            let mut params = sys::ggml_threadpool_params_default(threads);
            // Idle threads sleep: by default they spin for about 100 ms after each graph, on
            // cores that the draft and the reader need meanwhile.
            params.poll = 0;
            let raw = new_pool(&raw mut params);
            if raw.is_null() {
                return Err(ComputeError::Start("no threads"));
            }
            set_pool(stream.backend.as_ptr(), raw);
            Ok(Self { raw, free })
        }
    }
}

/// What computes graphs: a stream of a device, the CPU's threads where it is the CPU, and
/// scratch memory for the intermediate results of one graph at a time.
#[derive(Debug)]
pub struct Compute {
    scratch: Scratch,
    /// Before the threads, so that it is freed first.
    stream: Stream,
    _pool: Option<Pool>,
}

impl Compute {
    /// The CPU with `threads` threads that stay alive between graphs.
    ///
    /// # Errors
    /// Where the backend lacks what is needed (an older or foreign build of it).
    pub fn new(threads: usize) -> Result<Self, ComputeError> {
        let cpu = Device::cpu().ok_or(ComputeError::Start("it is not loaded"))?;
        Self::on(cpu, threads)
    }

    /// Any device; `threads` counts for the CPU alone.
    ///
    /// # Errors
    /// As [`Compute::new`], and when the device does not start.
    pub fn on(device: Device, threads: usize) -> Result<Self, ComputeError> {
        let stream = Stream::new(device)?;
        let pool = if device.is_cpu() {
            Some(Pool::start(&stream, threads)?)
        } else {
            None
        };
        // SAFETY: the buffer type belongs to a device that is registered for good.
        let scratch = Scratch(unsafe { sys::ggml_gallocr_new(device.buffer_type()) });
        Ok(Self {
            scratch,
            stream,
            _pool: pool,
        })
    }

    /// The order of what it does.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Makes sure that scratch memory is enough for `graph`, so that [`Compute::start`] moves
    /// nothing that is in use. Waits for what is under way.
    ///
    /// # Errors
    /// When there is not as much.
    pub fn reserve(&mut self, graph: &Graph) -> Result<(), ComputeError> {
        self.stream.synchronize();
        // SAFETY: the graph's context is alive; nothing computes in the scratch memory.
        if unsafe { sys::ggml_gallocr_reserve(self.scratch.0, graph.raw.as_ptr()) } {
            Ok(())
        } else {
            Err(ComputeError::OutOfMemory)
        }
    }

    /// Scratch memory that is held.
    pub fn scratch_bytes(&self) -> usize {
        // SAFETY: the allocator is alive and has one buffer.
        unsafe { sys::ggml_gallocr_get_buffer_size(self.scratch.0, 0) }
    }

    /// Begins to compute a graph behind what the stream has been asked for. Its intermediate
    /// results are there for what the stream is asked for before the next graph.
    ///
    /// # Errors
    /// When scratch memory runs out or the backend reports a failure.
    pub fn start(&mut self, graph: &Graph) -> Result<(), ComputeError> {
        // SAFETY: the graph's context is alive; tensors with data of their own lie in memory
        // that it keeps, all others are given scratch memory here.
        unsafe {
            if !sys::ggml_gallocr_alloc_graph(self.scratch.0, graph.raw.as_ptr()) {
                return Err(ComputeError::OutOfMemory);
            }
            let backend = self.stream.backend.as_ptr();
            match sys::ggml_backend_graph_compute_async(backend, graph.raw.as_ptr()) {
                sys::GGML_STATUS_SUCCESS => Ok(()),
                sys::GGML_STATUS_ALLOC_FAILED => Err(ComputeError::OutOfMemory),
                other => Err(ComputeError::Status(other)),
            }
        }
    }

    /// Computes a graph. Its intermediate results are valid until the next call.
    ///
    /// # Errors
    /// As [`Compute::start`].
    pub fn run(&mut self, graph: &Graph) -> Result<(), ComputeError> {
        self.start(graph)?;
        self.stream.synchronize();
        Ok(())
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        // Before the scratch memory goes.
        self.stream.synchronize();
    }
}

/// ggml's allocator of intermediate results.
#[derive(Debug)]
struct Scratch(sys::ggml_gallocr_t);

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: created in `Compute::on` and freed once.
        unsafe { sys::ggml_gallocr_free(self.0) };
    }
}
