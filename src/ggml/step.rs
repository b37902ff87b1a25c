//! A step of llama.cpp's graph while it is stopped there: what it reads, by which numbers, and
//! whether these are of use. Nothing is computed meanwhile.

use super::bare::{BareModel, WeightIdx};
use super::element::GgmlType;
use llama_cpp_sys_2 as sys;
use std::ffi::CStr;
use std::ptr::NonNull;

/// From so many cells on, attention of a single token is divided among threads.
const SPLIT_CELLS: i64 = 512;

/// From so many tokens on, attention is computed in tiles of them.
const TILED_QUERIES: i64 = 64;

/// One operation of a graph.
pub struct Step<'a> {
    pub(super) node: NonNull<sys::ggml_tensor>,
    pub(super) model: &'a BareModel,
}

/// A weight that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub weight: WeightIdx,
    pub reads: Reads,
}

/// What of a weight a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    All,
    /// Single rows, which are known before the graph is computed.
    Rows(Vec<usize>),
    /// Of a stack of matrices those with these numbers, one for each product; as a router gave
    /// them, so that there may be no such matrix.
    Matrices(Vec<i32>),
}

impl Step<'_> {
    /// llama.cpp's name for what the step computes.
    pub fn name(&self) -> String {
        // SAFETY: the node is alive, and a tensor's name ends with a zero byte.
        let name = unsafe { CStr::from_ptr(sys::ggml_get_name(self.node.as_ptr())) };
        name.to_string_lossy().into_owned()
    }

    /// The weights that it reads, whole or by views.
    pub fn uses(&self) -> Vec<Use> {
        self.sources()
            .filter_map(|source| {
                let weight = self.model.weight_of(source)?;
                let rows = self.rows(source).map(Reads::Rows);
                let reads = rows.or_else(|| self.matrices(source).map(Reads::Matrices));
                Some(Use {
                    weight,
                    reads: reads.unwrap_or(Reads::All),
                })
            })
            .collect()
    }

    fn sources(&self) -> impl Iterator<Item = NonNull<sys::ggml_tensor>> {
        // SAFETY: the node is alive during the callback.
        let sources = unsafe { self.node.as_ref() }.src;
        sources.into_iter().filter_map(NonNull::new)
    }

    /// The row numbers of a lookup in `table`, if they are an input of the graph: inputs are
    /// there before the first step.
    fn rows(&self, table: NonNull<sys::ggml_tensor>) -> Option<Vec<usize>> {
        // SAFETY: the node and its sources are alive during the callback.
        let (node, numbers) = unsafe {
            let node = self.node.as_ref();
            (node, NonNull::new(node.src[1])?.as_ref())
        };
        if node.op != sys::GGML_OP_GET_ROWS || node.src[0] != table.as_ptr() {
            return None;
        }
        let given = match NonNull::new(numbers.view_src) {
            // SAFETY: a view's tensor lives as long as it does.
            Some(whole) => unsafe { whole.as_ref() }.flags,
            None => numbers.flags,
        };
        if given & i32::try_from(sys::GGML_TENSOR_FLAG_INPUT).unwrap_or(0) == 0 {
            return None;
        }
        // SAFETY: llama.cpp has set the graph's inputs, and does not write them meanwhile.
        let numbers = unsafe { elements::<i32>(numbers) }?;
        numbers.iter().map(|&i| usize::try_from(i).ok()).collect()
    }

    /// Whether its result is whole numbers, which later steps may choose matrices by. Where all
    /// such steps are stopped at, the numbers are there when they are asked for
    /// ([`Reads::Matrices`]).
    pub fn makes_numbers(&self) -> bool {
        // SAFETY: the node is alive during the callback.
        let node = unsafe { self.node.as_ref() };
        let views = [
            sys::GGML_OP_NONE,
            sys::GGML_OP_VIEW,
            sys::GGML_OP_RESHAPE,
            sys::GGML_OP_PERMUTE,
            sys::GGML_OP_TRANSPOSE,
        ];
        node.type_ == sys::GGML_TYPE_I32 && !views.contains(&node.op)
    }

    /// Whether its sums have another order for a single token than for a few: products with matrices
    /// of some types, of which it is then those of a few, and attention of one token over many cells.
    pub fn differs_for_one(&self) -> bool {
        // SAFETY: the node and its sources are alive during the callback.
        let (node, sources) = unsafe {
            let node = self.node.as_ref();
            let source = |i: usize| NonNull::new(node.src[i]).map(|source| source.as_ref());
            (node, [source(0), source(1)])
        };
        let [Some(first), Some(second)] = sources else {
            return false;
        };
        match node.op {
            sys::GGML_OP_MUL_MAT => {
                let ty = GgmlType::from_id(first.type_);
                second.ne[1] > 1 && !ty.is_some_and(GgmlType::has_one_kernel)
            }
            // Keys are the second source; their length is given in whole runs of cells.
            sys::GGML_OP_FLASH_ATTN_EXT => first.ne[1] == 1 && second.ne[1] >= SPLIT_CELLS,
            _ => false,
        }
    }

    /// Whether its sums have another order for so many tokens than for a few: attention of many.
    pub fn differs_for_many(&self) -> bool {
        // SAFETY: the node and its sources are alive during the callback.
        let (node, queries) = unsafe {
            let node = self.node.as_ref();
            (
                node,
                NonNull::new(node.src[0]).map(|queries| queries.as_ref()),
            )
        };
        let many = queries.is_some_and(|queries| queries.ne[1] >= TILED_QUERIES);
        node.op == sys::GGML_OP_FLASH_ATTN_EXT && many
    }

    /// Whether it multiplies by matrices of which those with few rows have another kernel.
    pub fn differs_by_rows(&self) -> bool {
        // SAFETY: the node and its sources are alive during the callback.
        let (op, stack) = unsafe {
            let node = self.node.as_ref();
            (
                node.op,
                NonNull::new(node.src[0]).map(|stack| stack.as_ref()),
            )
        };
        let ty = stack.and_then(|stack| GgmlType::from_id(stack.type_));
        op == sys::GGML_OP_MUL_MAT_ID && ty.is_some_and(GgmlType::has_tiled_kernel)
    }

    /// The numbers of the matrices of `stack` that are multiplied by, if the step does that.
    fn matrices(&self, stack: NonNull<sys::ggml_tensor>) -> Option<Vec<i32>> {
        // SAFETY: the node and its sources are alive during the callback.
        let (node, numbers) = unsafe {
            let node = self.node.as_ref();
            (node, NonNull::new(node.src[2])?.as_ref())
        };
        // SAFETY: as above; a view's tensor lives as long as it does.
        let (used, whole) = unsafe {
            let used = stack.as_ref();
            let whole = NonNull::new(used.view_src);
            (used, whole.map_or(used, |whole| whole.as_ref()))
        };
        // A view may have a part of each matrix, but must count them as the whole does.
        let counts_alike = (used.nb[2], used.ne[2]) == (whole.nb[2], whole.ne[2]);
        let by_number = node.op == sys::GGML_OP_MUL_MAT_ID && node.src[0] == stack.as_ptr();
        if !by_number || !counts_alike {
            return None;
        }
        // SAFETY: they have been computed (see `makes_numbers`), and are not written meanwhile.
        unsafe { elements(numbers) }
    }

    /// Whether it has sorted, or chosen the largest of, something that is no number: its choice is
    /// of no use, and need not show in what is computed with it. To be asked in
    /// [`Hook::after`](super::hook::Hook::after).
    pub fn chose_among_no_numbers(&self) -> bool {
        // SAFETY: the node and its sources are alive during the callback.
        let (op, source) = unsafe {
            let node = self.node.as_ref();
            (node.op, NonNull::new(node.src[0]).map(|s| s.as_ref()))
        };
        let chooses = [sys::GGML_OP_ARGSORT, sys::GGML_OP_TOP_K].contains(&op);
        // SAFETY: it has been computed, and nothing after it that could have its memory.
        let among = source
            .filter(|_| chooses)
            .and_then(|source| unsafe { elements::<f32>(source) });
        among.is_some_and(|among| among.iter().any(|x| x.is_nan()))
    }

    /// A number by which it looks up a row or a matrix that there is not: ggml ends the process
    /// over such, or reads what lies there. To be asked where all steps that make numbers are
    /// stopped at.
    pub fn looks_past_the_end(&self) -> Option<i32> {
        // SAFETY: a node of llama.cpp's graph, whose numbers have been computed (see
        // `makes_numbers`) and are not written meanwhile.
        unsafe { looks_past_the_end(self.node.as_ref()) }
    }

    /// Makes views of weights follow where these have been placed.
    pub(super) fn move_views(&self) {
        for mut source in self.sources() {
            if self.model.weight_of(source).is_none() {
                continue;
            }
            // SAFETY: the graph's tensors are alive, and nothing is computed meanwhile.
            unsafe {
                let view = source.as_mut();
                if let Some(whole) = NonNull::new(view.view_src) {
                    view.data = whole.as_ref().data.byte_add(view.view_offs);
                }
            }
        }
    }
}

/// # Safety
/// The node and its sources are alive, and nobody writes to these meanwhile.
unsafe fn looks_past_the_end(node: &sys::ggml_tensor) -> Option<i32> {
    // Which source is looked into, along which of its dimensions, and by which source's numbers.
    let (table, along, by) = match node.op {
        sys::GGML_OP_GET_ROWS => (0, 1, 1),
        sys::GGML_OP_ADD_ID => (1, 1, 2),
        sys::GGML_OP_MUL_MAT_ID => (0, 2, 2),
        _ => return None,
    };
    // SAFETY: as the caller says.
    let (table, numbers) = unsafe {
        let source = |i: usize| NonNull::new(node.src[i]).map(|source| source.as_ref());
        (source(table)?, source(by)?)
    };
    let n = table.ne[along];
    // SAFETY: as the caller says.
    let mut numbers = unsafe { elements::<i32>(numbers) }?.into_iter();
    numbers.find(|&number| !(0..n).contains(&i64::from(number)))
}

/// A type of elements that can be looked at.
pub(super) trait Element: Copy {
    const TYPE: sys::ggml_type;
}

impl Element for i32 {
    const TYPE: sys::ggml_type = sys::GGML_TYPE_I32;
}

impl Element for f32 {
    const TYPE: sys::ggml_type = sys::GGML_TYPE_F32;
}

/// The elements of a tensor, the first dimension the fastest; `None` for one of another type, and
/// where it has no memory.
///
/// # Safety
/// Its memory is the host's, and nobody writes it meanwhile.
pub(super) unsafe fn elements<T: Element>(tensor: &sys::ggml_tensor) -> Option<Vec<T>> {
    // A view may not have followed yet where its whole was placed.
    let (data, offset) = match NonNull::new(tensor.view_src) {
        // SAFETY: a view's tensor lives as long as it does.
        Some(whole) => (unsafe { whole.as_ref() }.data, tensor.view_offs),
        None => (tensor.data, 0),
    };
    if tensor.type_ != T::TYPE || data.is_null() {
        return None;
    }
    let [n0, n1, n2, n3] = tensor.ne.map(|n| usize::try_from(n).unwrap_or(0));
    let mut found = Vec::with_capacity(n0 * n1 * n2 * n3);
    for row in 0..n1 * n2 * n3 {
        let (i1, i2, i3) = (row % n1, row / n1 % n2, row / n1 / n2);
        let start = offset + i1 * tensor.nb[1] + i2 * tensor.nb[2] + i3 * tensor.nb[3];
        for i0 in 0..n0 {
            // SAFETY: an element, by the tensor's own strides.
            let element = unsafe { data.byte_add(start + i0 * tensor.nb[0]) };
            // SAFETY: as above; strides may be any number of bytes.
            found.push(unsafe { element.cast::<T>().read_unaligned() });
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::tensor::{Context, Tensor};
    use super::*;
    use crate::io::Arena;

    /// A tensor over memory of its own, which holds `numbers`.
    fn placed(context: &Context, ty: GgmlType, ne: &[usize], numbers: &[i32]) -> Tensor {
        let tensor = context.tensor(ty, ne);
        let region = Arena::new(4096).unwrap().region(0, tensor.bytes());
        let bytes: Vec<_> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        region.part(0, bytes.len()).write(&bytes);
        tensor.place(&region);
        tensor
    }

    fn elements_of(tensor: &Tensor) -> Option<Vec<i32>> {
        // SAFETY: it is alive, and nothing computes.
        unsafe { elements::<i32>(tensor.raw.as_ref()) }
    }

    #[test]
    fn the_best_of_sorted_numbers_are_read_row_by_row() {
        super::super::init().unwrap();
        let context = Context::new(8, 0);
        let sorted = placed(
            &context,
            GgmlType::I32,
            &[4, 3],
            &[3, 1, 0, 2, 7, 5, 4, 6, 11, 9, 8, 10],
        );
        let best = context.view_2d(&sorted, [2, 3], 16, 0);
        assert_eq!(elements_of(&best), Some(vec![3, 1, 7, 5, 11, 9]));
        assert_eq!(elements_of(&context.tensor(GgmlType::I32, &[4])), None);
        let floats = placed(&context, GgmlType::F32, &[4], &[]);
        assert_eq!(elements_of(&floats), None);
    }

    #[test]
    fn a_row_that_there_is_not_is_found_before_it_is_looked_up() {
        super::super::init().unwrap();
        for (numbers, wrong) in [([0, 4], None), ([5, 0], Some(5)), ([4, -1], Some(-1))] {
            let context = Context::new(8, 0);
            let table = placed(&context, GgmlType::F32, &[2, 5], &[]);
            let numbers = placed(&context, GgmlType::I32, &[2], &numbers);
            let rows = context.get_rows(&table, &numbers);
            // SAFETY: all are alive, and nothing computes.
            let found = unsafe { looks_past_the_end(rows.raw.as_ref()) };
            assert_eq!(found, wrong);
        }
    }
}
