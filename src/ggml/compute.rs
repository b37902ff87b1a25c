//! Graphs and the device that computes them.

use super::crew::{Crew, ThreadsUsed};
use super::device::Device;
use super::error::ComputeError;
use super::stream::Stream;
use super::tensor::{Context, ContextInner, Tensor};
use llama_cpp_sys_2 as sys;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

/// A list of operations in order.
#[derive(Debug)]
pub struct Graph {
    pub(super) raw: NonNull<sys::ggml_cgraph>,
    ctx: Rc<ContextInner>,
}

impl Context {
    /// An empty graph for at most `nodes` nodes.
    ///
    /// # Panics
    /// If the context has not the memory for it.
    pub fn graph(&self, nodes: usize) -> Graph {
        // SAFETY: the context is alive.
        let raw = unsafe { sys::ggml_new_graph_custom(self.0.raw.as_ptr(), nodes, false) };
        let Some(raw) = NonNull::new(raw) else {
            panic!("a ggml context has no space for a graph of {nodes} nodes");
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

/// Which of the CPU's kernels multiply matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Those that ggml picks for the width: from some widths on they unpack weights for many
    /// tokens at a time, and their sums have another order.
    Fastest,
    /// One dot product at a time: a token's result has the same bits at any width (*batch
    /// invariance*).
    Plain,
}

/// What computes graphs: a stream of a device, the CPU's threads where it is the CPU, and
/// scratch memory for the intermediate results of one graph at a time.
#[derive(Debug)]
pub struct Compute {
    scratch: Scratch,
    /// Before the threads, so that it is freed first.
    stream: Stream,
    /// The CPU's threads, where that is what computes.
    crew: Option<Crew>,
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
        let crew = match device.is_cpu() {
            true => Some(Crew::start(threads)?),
            false => None,
        };
        if let Some(crew) = &crew {
            let backend = stream.backend.as_ptr();
            // SAFETY: both are alive, and the backend is freed before the pool.
            unsafe { (crew.functions().set_pool)(backend, crew.pool()) };
        }
        // SAFETY: the buffer type belongs to a device that is registered for good.
        let scratch = Scratch(unsafe { sys::ggml_gallocr_new(device.buffer_type()) });
        Ok(Self {
            scratch,
            stream,
            crew,
        })
    }

    /// Chooses the kernels of all graphs from now on. A device other than the CPU has its own.
    pub fn set_kernels(&mut self, kernels: Kernels) {
        if let Some(crew) = &self.crew {
            let backend = self.stream.backend.as_ptr();
            // SAFETY: the backend is alive, one of the CPU, and computes nothing now.
            unsafe { (crew.functions().set_reference)(backend, kernels == Kernels::Plain) };
        }
    }

    /// Fewest and most threads of the CPU that computed since the last call of this.
    pub fn take_threads_used(&mut self) -> ThreadsUsed {
        let crew = self.crew.as_mut();
        crew.map_or_else(ThreadsUsed::default, Crew::take_used)
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

    /// Begins to compute a graph after what the stream has been asked for. Its intermediate
    /// results are there for what the stream is asked for before the next graph.
    ///
    /// # Errors
    /// When scratch memory runs out or the backend reports a failure.
    pub fn start(&mut self, graph: &Graph) -> Result<(), ComputeError> {
        // SAFETY: the graph's context is alive; tensors with data of their own lie in memory
        // that it keeps, all others are given scratch memory here.
        let placed = unsafe { sys::ggml_gallocr_alloc_graph(self.scratch.0, graph.raw.as_ptr()) };
        if !placed {
            return Err(ComputeError::OutOfMemory);
        }
        let backend = self.stream.backend.as_ptr();
        // SAFETY: the backend and the graph, with memory for all of its tensors, are alive.
        let compute =
            || unsafe { sys::ggml_backend_graph_compute_async(backend, graph.raw.as_ptr()) };
        let status = match &mut self.crew {
            Some(crew) => {
                let threads = i32::try_from(crew.threads()).unwrap_or(1);
                // SAFETY: as above; the backend is one of the CPU, and computes nothing now.
                unsafe { (crew.functions().set_threads)(backend, threads) };
                crew.watch(compute, || Duration::ZERO)
            }
            None => compute(),
        };
        match status {
            sys::GGML_STATUS_SUCCESS => Ok(()),
            sys::GGML_STATUS_ALLOC_FAILED => Err(ComputeError::OutOfMemory),
            other => Err(ComputeError::Status(other)),
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
