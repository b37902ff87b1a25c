//! Reads by expert id: what of a tensor a router has chosen, when it has.
//!
//! A tensor of routed experts holds one matrix an expert, side by side:
//!
//! ```text
//!  file:   ...| e0 | e1 | e2 | e3 |...        of any length: neighbours share blocks
//!  blocks:   |    |    |    |    |    |
//!  read for e1:   [         ]                 whole blocks around it
//!  memory:        [ s| e1 | ]                 it begins `skip` bytes after the blocks do
//! ```
//!
//! So a destination may hold a neighbour's bytes at its ends, the same that the file holds. In
//! memory laid out as the file, where every expert lies at its own distance, they fall on the
//! neighbour's own bytes; in memory of its own they are of no use.
//!
//! Measured on two small mixtures (slices of 48 and 83 kB, a virtual disk, other programs
//! running): reads one after the other take two to seven times as long as 32 at a time; a batch
//! for each tensor takes, for one token, up to twice as long as one for all tensors that the same
//! ids choose (for 32 tokens neither was clearly shorter); and next to eight reads of 4 MiB a batch
//! takes four times as long as alone. Hence batches, a deep queue, and a reader that begins nothing
//! new meanwhile.

use crate::io::{BLOCK, BlockFile, Queue, ReadRequest, Region, TransferFailure, open_reader};
use crate::model::TensorInfo;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Reads in flight at once. Slices are small: few of them are too little for a disk.
const DEPTH: usize = 32;

/// An expert that its tensor is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpertIdx(usize);

impl ExpertIdx {
    /// As the tensor counts them.
    pub fn number(self) -> usize {
        self.0
    }
}

/// A tensor that holds a matrix for each expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpertTable {
    tensor: String,
    /// Index of the file, as in [`Extent`](super::Extent).
    file: usize,
    /// Of the first expert, in bytes.
    offset: u64,
    expert_bytes: usize,
    experts: usize,
}

/// A router named an expert that there is not.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the model asks for expert {expert} of {tensor}, which has {experts}: its file is damaged, or made wrongly"
)]
pub struct NoSuchExpert {
    pub tensor: String,
    pub expert: i32,
    pub experts: usize,
}

/// Whole blocks of a file around one expert or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub offset: u64,
    /// Bytes that are read.
    pub len: usize,
    /// Of them those before the first that counts.
    pub skip: usize,
    /// Those that count.
    pub bytes: usize,
}

/// Experts of one tensor that lie side by side, read at once, and where they are to go.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    pub table: &'a ExpertTable,
    pub experts: RangeInclusive<ExpertIdx>,
    /// As long as their blocks ([`ExpertTable::slices`]), at a whole block. Nobody reads or
    /// writes it meanwhile.
    pub into: Region,
}

impl ExpertTable {
    /// `tensor` as a table of experts; none where it does not have the shape of one.
    pub fn of(tensor: &TensorInfo) -> Option<Self> {
        let size = |n: u64| usize::try_from(n).ok();
        let (experts, bytes) = (size(tensor.dims[2])?, size(tensor.bytes)?);
        let is_table = tensor.n_dims == 3 && experts > 0 && bytes.is_multiple_of(experts);
        is_table.then(|| Self {
            tensor: tensor.name.clone(),
            file: tensor.file,
            offset: tensor.offset,
            expert_bytes: bytes / experts,
            experts,
        })
    }

    /// The expert that a router calls `id`.
    ///
    /// # Errors
    /// When there is no such expert.
    pub fn expert(&self, id: i32) -> Result<ExpertIdx, NoSuchExpert> {
        let known = usize::try_from(id).ok().filter(|&i| i < self.experts);
        known.map(ExpertIdx).ok_or_else(|| NoSuchExpert {
            tensor: self.tensor.clone(),
            expert: id,
            experts: self.experts,
        })
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.tensor
    }

    /// How many experts there are.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// All of them, in order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = ExpertIdx> + ExactSizeIterator + use<> {
        (0..self.experts).map(ExpertIdx)
    }

    /// Whole blocks around all of it.
    pub fn span(&self) -> Slice {
        self.blocks(0, self.experts * self.expert_bytes)
    }

    /// What is read for `expert`.
    pub fn slice(&self, expert: ExpertIdx) -> Slice {
        self.blocks(expert.0 * self.expert_bytes, self.expert_bytes)
    }

    /// What is read for the experts from one to another.
    pub fn slices(&self, experts: &RangeInclusive<ExpertIdx>) -> Slice {
        let (first, last) = (experts.start().0, experts.end().0);
        let n = (last + 1).saturating_sub(first);
        self.blocks(first * self.expert_bytes, n * self.expert_bytes)
    }

    /// Whole blocks around `bytes` bytes from `at` on.
    fn blocks(&self, at: usize, bytes: usize) -> Slice {
        let block = BLOCK as u64;
        let start = self.offset + at as u64;
        let end = (start + bytes as u64).next_multiple_of(block);
        let offset = start / block * block;
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Slice {
            offset,
            len: size(end - offset),
            skip: size(start - offset),
            bytes,
        }
    }
}

impl Demand<'_> {
    /// # Panics
    /// If the destination is not as long as the slice, or not at a whole block.
    fn request(&self, files: &[Arc<BlockFile>]) -> ReadRequest {
        let slice = self.table.slices(&self.experts);
        assert_eq!(
            self.into.len(),
            slice.len,
            "a destination of another length"
        );
        assert!(
            self.into.addr().addr().is_multiple_of(BLOCK),
            "a destination between blocks"
        );
        ReadRequest {
            file: Arc::clone(&files[self.table.file]),
            offset: slice.offset,
            into: self.into.clone(),
            tag: 0,
        }
    }
}

/// Reads on demand, with a queue of its own: what the thread that reads ahead has in flight does
/// not come before it.
pub(super) struct DemandReader(Queue<ReadRequest>);

impl DemandReader {
    /// Over a model's `files`.
    pub(super) fn open(files: &[Arc<BlockFile>]) -> Self {
        let mut queue = Queue::new(open_reader(DEPTH));
        queue.register(files, None);
        Self(queue)
    }

    /// Has all of `demands` read, and waits for them; says how many bytes came.
    ///
    /// # Errors
    /// The first read that failed, after a second try; told when no read is in flight any more.
    pub(super) fn read(
        &mut self,
        files: &[Arc<BlockFile>],
        demands: &[Demand<'_>],
    ) -> Result<u64, TransferFailure> {
        let requests = demands.iter().map(|demand| demand.request(files));
        self.0.run(requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ggml::GgmlType;
    use proptest::prelude::*;

    fn tensor(experts: u64, bytes: u64, offset: u64) -> TensorInfo {
        TensorInfo {
            name: "blk.0.ffn_up_exps.weight".into(),
            ty: GgmlType::F32,
            dims: [64, 16, experts, 1],
            n_dims: 3,
            file: 0,
            offset,
            bytes,
        }
    }

    proptest! {
        #[test]
        fn a_slice_is_the_fewest_blocks_around_its_expert(
            offset in 0u64..1_000_000, expert_bytes in 1u64..100_000, experts in 1u64..100,
            chosen in 0i32..100,
        ) {
            let table = ExpertTable::of(&tensor(experts, expert_bytes * experts, offset));
            let table = table.expect("a table");
            let Ok(expert) = table.expert(chosen) else {
                prop_assert!(chosen as u64 >= experts);
                return Ok(());
            };
            let slice = table.slice(expert);
            prop_assert!(slice.offset.is_multiple_of(4096) && slice.len.is_multiple_of(4096));
            let start = slice.offset + slice.skip as u64;
            prop_assert_eq!(start, offset + chosen as u64 * expert_bytes);
            prop_assert_eq!(slice.bytes as u64, expert_bytes);
            prop_assert!(slice.skip < BLOCK && slice.skip + slice.bytes <= slice.len);
            prop_assert!(slice.len - slice.skip - slice.bytes < BLOCK);
        }
    }

    #[test]
    fn only_a_stack_of_matrices_is_a_table() {
        let mut flat = tensor(8, 8 * 4096, 0);
        assert_eq!(ExpertTable::of(&flat).map(|t| t.experts()), Some(8));
        flat.n_dims = 2;
        assert_eq!(ExpertTable::of(&flat), None);
        assert_eq!(ExpertTable::of(&tensor(3, 1000, 0)), None);
    }

    #[test]
    fn an_expert_that_there_is_not_is_named_with_its_tensor() {
        let table = ExpertTable::of(&tensor(8, 8 * 4096, 0)).expect("a table");
        for id in [-1, 8, i32::MAX] {
            let text = table.expert(id).expect_err("refused").to_string();
            assert!(
                text.contains(&format!("expert {id} of blk.0.ffn_up_exps")),
                "{text}"
            );
        }
        assert!(table.expert(7).is_ok());
    }
}
