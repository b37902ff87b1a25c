//! What tells the experts of one model from those of others.

use super::pages::ExpertGroup;
use crate::io::BLOCK;
use crate::model::Gguf;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A hash of a model's experts: their shape, and some of each layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelKey(pub [u8; 32]);

impl ModelKey {
    pub fn of(identity: &[u8]) -> Self {
        Self(Sha256::digest(identity).into())
    }

    /// Of the experts in `index`: the first block of each layer's is hashed, which is enough to
    /// tell models of one shape apart and takes a read a layer. What cannot be read counts as
    /// nothing: computing will say so.
    pub fn of_mixture(index: &Gguf, groups: &[ExpertGroup]) -> Self {
        let mut hash = Sha256::new();
        for group in groups {
            let count = |n: usize| (n as u64).to_le_bytes();
            hash.update(u64::from(group.layer).to_le_bytes());
            for table in &group.tables {
                hash.update(table.name());
                hash.update(count(table.experts()));
                hash.update(count(table.span().bytes));
            }
            let first = group.tables.first();
            if let Some(tensor) = first.and_then(|table| index.tensor(table.name())) {
                let bytes = usize::try_from(tensor.bytes).unwrap_or(BLOCK).min(BLOCK);
                let mut block = vec![0; bytes];
                let read = File::open(&index.files[tensor.file].path)
                    .and_then(|file| file.read_exact_at(&mut block, tensor.offset));
                if read.is_ok() {
                    hash.update(&block);
                }
            }
        }
        Self(hash.finalize().into())
    }
}
