//! Single steps of llama.cpp's graph, computed by kernels whose result for a token does not depend on
//! the others.
//!
//! llama.cpp's context has a backend of its own and no way to choose its kernels. A step whose
//! sources have been computed can as well be computed by another backend of the CPU: it reads and
//! writes the same memory. Both have the same threads, one at a time.
//!
//! - Kernels that know no width ([`Kernels::Plain`]) compute any step as it is.
//! - ggml's tiled kernels multiply an expert's matrix by eight rows or more. Rows are added where
//!   fewer tokens chose it:
//!
//! ```text
//!  tokens choose   3 7 | 3 5 | 7 9      3 and 7 have two rows, 5 and 9 one
//!  added           3 3 | 3 3 | 3 3 | 5 5 | ...   further tokens: each chosen expert has eight rows
//! ```
//!
//! [`Kernels::Plain`]: super::Kernels::Plain

use super::compute::Graph;
use super::cpu::CpuFunctions;
use super::crew::Crew;
use super::device::Device;
use super::element::GgmlType;
use super::error::ComputeError;
use super::step::elements;
use super::stream::Stream;
use super::tensor::Context;
use crate::io::{Arena, Region};
use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::ptr::NonNull;

/// From so many rows on a matrix is multiplied by ggml's tiled kernels, also one expert's.
pub const TILED_ROWS: usize = 8;

/// See the module's text.
pub(super) struct StepsApart {
    stream: Stream,
    /// For one step at a time.
    graph: Graph,
    functions: CpuFunctions,
    /// For the rows of a product with experts, those that are added among them.
    rows: RefCell<Option<Region>>,
}

impl StepsApart {
    /// Steps that the threads of `crew` compute.
    ///
    /// # Errors
    /// Where the backend lacks what is needed.
    pub(super) fn start(crew: &Crew) -> Result<Self, ComputeError> {
        let cpu = Device::cpu().ok_or(ComputeError::Start("it is not loaded"))?;
        let (stream, functions) = (Stream::new(cpu)?, *crew.functions());
        // SAFETY: a backend of the CPU that computes nothing; it does not touch its threads when
        // it is freed, so that these may go before it.
        unsafe { (functions.set_pool)(stream.backend.as_ptr(), crew.pool()) };
        Ok(Self {
            stream,
            graph: Context::new(0, 1).graph(1),
            functions,
            rows: RefCell::default(),
        })
    }

    /// Threads that compute from now on.
    pub(super) fn set_threads(&self, threads: i32) {
        // SAFETY: a backend of the CPU that computes nothing now.
        unsafe { (self.functions.set_threads)(self.stream.backend.as_ptr(), threads) };
    }

    /// Computes one node of another graph with kernels that know no width.
    ///
    /// # Errors
    /// When scratch memory runs out or the backend reports a failure.
    ///
    /// # Safety
    /// The node and its sources are alive and have memory of the host, the sources have been
    /// computed, and nobody else computes with the same threads now.
    pub(super) unsafe fn compute_plain(
        &self,
        node: NonNull<sys::ggml_tensor>,
    ) -> Result<(), ComputeError> {
        // SAFETY: as the caller says.
        unsafe { self.compute(node, true) }
    }

    /// Computes a product with experts of another graph with tiled kernels alone.
    ///
    /// # Errors
    /// As [`StepsApart::compute_plain`], and for a node of another form.
    ///
    /// # Safety
    /// As [`StepsApart::compute_plain`].
    pub(super) unsafe fn compute_tiled(
        &self,
        node: NonNull<sys::ggml_tensor>,
    ) -> Result<(), ComputeError> {
        const OTHER: ComputeError = ComputeError::Form("a product with experts of another form");
        // SAFETY: the node and its sources are alive.
        let (product, [stack, input, ids]) = unsafe {
            let product = node.as_ref();
            let source = |i: usize| NonNull::new(product.src[i]).ok_or(OTHER);
            (product, [source(0)?, source(1)?, source(2)?])
        };
        // SAFETY: as above; they have been computed, and nobody writes them.
        let (input, given) =
            unsafe { (input.as_ref(), elements::<i32>(ids.as_ref()).ok_or(OTHER)?) };
        let size = |n: i64| usize::try_from(n).unwrap_or(0);
        let [cols, inputs, tokens] = [input.ne[0], input.ne[1], input.ne[2]].map(size);
        let [rows, used] = [product.ne[0], product.ne[1]].map(size);
        let floats = input.type_ == sys::GGML_TYPE_F32 && input.nb[0] == 4 && product.nb[0] == 4;
        if !floats || tokens == 0 || used == 0 {
            return Err(OTHER);
        }
        let all = padded(given, used);
        let all_tokens = all.len() / used.max(1);
        let context = Context::new(3, 0);
        let padded_input = context.tensor(GgmlType::F32, &[cols, inputs, all_tokens]);
        let padded_ids = context.tensor(GgmlType::I32, &[used, all_tokens]);
        // SAFETY: all are alive, and of one shape with the node's own sources but for the number of
        // tokens.
        let output = context.wrap(unsafe {
            let (input, ids) = (padded_input.raw.as_ptr(), padded_ids.raw.as_ptr());
            sys::ggml_mul_mat_id(context.0.raw.as_ptr(), stack.as_ptr(), input, ids)
        });
        let tensors = [&padded_input, &padded_ids, &output];
        let places = self.places(tensors.map(|tensor| tensor.bytes()))?;
        for (tensor, place) in tensors.into_iter().zip(&places) {
            tensor.place(place);
        }
        let [input_at, ids_at, output_at] = &places;
        let ids: Vec<u8> = all.iter().flat_map(|id| id.to_ne_bytes()).collect();
        ids_at.write(&ids);
        // SAFETY: rows of as many floats, in memory of the node's sources and in our own. What is
        // added repeats the first token.
        unsafe {
            for token in 0..all_tokens {
                let from = if token < tokens { token } else { 0 };
                for row in 0..inputs {
                    let from = input.data.byte_add(from * input.nb[2] + row * input.nb[1]);
                    let to = input_at.addr().add((token * inputs + row) * cols * 4);
                    std::ptr::copy_nonoverlapping(from.cast::<u8>(), to, cols * 4);
                }
            }
            // As a graph marks what is put into it.
            (*output.raw.as_ptr()).flags |= super::hook::compute_flag();
            self.compute(output.raw, false)?;
            for token in 0..tokens {
                for slot in 0..used {
                    let from = output_at.addr().add((token * used + slot) * rows * 4);
                    let to = product
                        .data
                        .byte_add(token * product.nb[2] + slot * product.nb[1]);
                    std::ptr::copy_nonoverlapping(from, to.cast::<u8>(), rows * 4);
                }
            }
        }
        Ok(())
    }

    /// Memory of these lengths, which is used again for the next step.
    fn places<const N: usize>(&self, bytes: [usize; N]) -> Result<[Region; N], ComputeError> {
        let padded = bytes.map(|bytes| bytes.next_multiple_of(64));
        let needed = padded.iter().sum();
        let mut rows = self.rows.borrow_mut();
        let region = match rows.take().filter(|rows| rows.len() >= needed) {
            Some(region) => region,
            None => {
                let arena = Arena::sparse(needed).map_err(|_| ComputeError::OutOfMemory)?;
                arena.region(0, needed)
            }
        };
        let mut at = 0;
        let places = std::array::from_fn(|i| {
            at += padded[i];
            region.part(at - padded[i], bytes[i])
        });
        *rows = Some(region);
        Ok(places)
    }

    /// # Safety
    /// As [`StepsApart::compute_plain`].
    unsafe fn compute(
        &self,
        node: NonNull<sys::ggml_tensor>,
        plain: bool,
    ) -> Result<(), ComputeError> {
        let (graph, backend) = (self.graph.raw.as_ptr(), self.stream.backend.as_ptr());
        // SAFETY: the graph has a place for one node, which the caller vouches for.
        let status = unsafe {
            (self.functions.set_reference)(backend, plain);
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

/// `ids` of tokens that choose `used` experts each, and of so many more tokens that each expert which
/// is chosen has [`TILED_ROWS`].
fn padded(mut ids: Vec<i32>, used: usize) -> Vec<i32> {
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    for run in sorted.chunk_by(|a, b| a == b) {
        let missing = TILED_ROWS.saturating_sub(run.len());
        ids.extend(std::iter::repeat_n(run[0], missing));
    }
    let whole = ids.len().next_multiple_of(used.max(1));
    let last = sorted.last().copied().unwrap_or(0);
    ids.resize(whole, last);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_expert_that_is_chosen_has_enough_rows(
            used in 1usize..5, chosen in prop::collection::vec(0i32..9, 1..40),
        ) {
            let tokens = chosen.len() / used;
            let given = chosen[..tokens * used].to_vec();
            let all = padded(given.clone(), used);
            prop_assert!(all.starts_with(&given));
            prop_assert!(all.len().is_multiple_of(used));
            for expert in 0..9 {
                let rows = |ids: &[i32]| ids.iter().filter(|&&id| id == expert).count();
                prop_assert_eq!(rows(&all) > 0, rows(&given) > 0);
                prop_assert!(rows(&given) == 0 || rows(&all) >= TILED_ROWS);
                prop_assert!(rows(&all) < rows(&given).max(TILED_ROWS) + used);
            }
        }
    }
}
