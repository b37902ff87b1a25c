//! Single steps of llama.cpp's graph, computed with kernels that know no width
//! ([`Kernels::Plain`](super::Kernels::Plain)).
//!
//! llama.cpp's context has a backend of its own and no way to choose its kernels. A step whose
//! sources have been computed can as well be computed by another backend of the CPU: it reads and
//! writes the same memory. Both have the same threads, one at a time.

use super::compute::Graph;
use super::cpu::CpuFunctions;
use super::crew::Crew;
use super::device::Device;
use super::error::ComputeError;
use super::stream::Stream;
use super::tensor::Context;
use llama_cpp_sys_2 as sys;
use std::ptr::NonNull;

/// See the module's text.
pub(super) struct PlainSteps {
    stream: Stream,
    /// For one step at a time.
    graph: Graph,
    functions: CpuFunctions,
}

impl PlainSteps {
    /// Steps that the threads of `crew` compute.
    ///
    /// # Errors
    /// Where the backend lacks what is needed.
    pub(super) fn start(crew: &Crew) -> Result<Self, ComputeError> {
        let cpu = Device::cpu().ok_or(ComputeError::Start("it is not loaded"))?;
        let (stream, functions) = (Stream::new(cpu)?, *crew.functions());
        let backend = stream.backend.as_ptr();
        // SAFETY: a backend of the CPU that computes nothing; it does not touch its threads when
        // it is freed, so that these may go before it.
        unsafe {
            (functions.set_pool)(backend, crew.pool());
            (functions.set_reference)(backend, true);
        }
        Ok(Self {
            stream,
            graph: Context::new(0, 1).graph(1),
            functions,
        })
    }

    /// Threads that compute from now on.
    pub(super) fn set_threads(&self, threads: i32) {
        // SAFETY: a backend of the CPU that computes nothing now.
        unsafe { (self.functions.set_threads)(self.stream.backend.as_ptr(), threads) };
    }

    /// Computes one node of another graph.
    ///
    /// # Errors
    /// When scratch memory runs out or the backend reports a failure.
    ///
    /// # Safety
    /// The node and its sources are alive and have memory of the host, the sources have been
    /// computed, and nobody else computes with the same threads now.
    pub(super) unsafe fn compute(
        &self,
        node: NonNull<sys::ggml_tensor>,
    ) -> Result<(), ComputeError> {
        let (graph, backend) = (self.graph.raw.as_ptr(), self.stream.backend.as_ptr());
        // SAFETY: the graph has a place for one node, which the caller vouches for.
        let status = unsafe {
            sys::ggml_graph_clear(graph);
            sys::ggml_graph_add_node(graph, node.as_ptr());
            sys::ggml_backend_graph_compute(backend, graph)
        };
        match status {
            sys::GGML_STATUS_SUCCESS => Ok(()),
            sys::GGML_STATUS_ALLOC_FAILED => Err(ComputeError::OutOfMemory),
            other => Err(ComputeError::Status(other)),
        }
    }
}
