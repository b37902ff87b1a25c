//! Where the weights of a hooked model lie that do not come and go with their layer.

use super::super::{OpenError, OracleError};
use super::Feed;
use crate::experts::{ExpertGroup, ExpertStore, Lru, Mixture, TableIdx};
use crate::ggml::bare::{BareModel, WeightIdx};
use crate::io::{Arena, Region, RowFile};
use crate::model::{Outline, TensorInfo};
use crate::units::Bytes;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of what stays that are read at a time.
const CHUNK: usize = 1 << 20;

/// Places of tensors that stay are whole multiples of this, in bytes.
const ALIGNMENT: usize = 64;

/// A matrix of which only rows are read.
pub(super) struct RowTable {
    file: RowFile,
    offset: u64,
    row_bytes: usize,
    rows: usize,
    /// Address space for all of it; pages hold the rows of the present pass.
    pub region: Region,
}

impl RowTable {
    pub fn open(info: &TensorInfo, path: &Path) -> std::io::Result<Self> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(Self {
            file: RowFile::open(path)?,
            offset: info.offset,
            row_bytes: size(info.row_bytes()),
            rows: size(info.dims[1]),
            region: Arena::sparse(size(info.bytes))?.region(0, size(info.bytes)),
        })
    }

    pub fn fetch(&self, row: usize) -> Result<(), OracleError> {
        let token = i32::try_from(row).unwrap_or(i32::MAX);
        if row >= self.rows {
            return Err(OracleError::Token {
                token,
                n_vocab: self.rows,
            });
        }
        let mut bytes = vec![0; self.row_bytes];
        let at = row * self.row_bytes;
        self.file
            .read(self.offset + at as u64, &mut bytes)
            .map_err(|source| OracleError::Embedding { token, source })?;
        self.region.part(at, self.row_bytes).write(&bytes);
        Ok(())
    }
}

pub(super) fn padded(info: &TensorInfo) -> usize {
    let bytes = usize::try_from(info.bytes).unwrap_or(usize::MAX);
    bytes.next_multiple_of(ALIGNMENT)
}

/// Reads the tensors that stay into memory of their own.
pub(super) fn place_resident(
    model: &BareModel,
    outline: &Outline,
    files: &[PathBuf],
    mut weight: impl FnMut(&str) -> Result<WeightIdx, OracleError>,
) -> Result<(), OpenError> {
    let bytes = usize::try_from(Feed::resident_bytes(outline).0)?;
    let arena = Arena::new(bytes)?;
    let opened = files
        .iter()
        .map(File::open)
        .collect::<Result<Vec<_>, _>>()?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    for info in &outline.resident {
        let region = arena.region(at, padded(info));
        at += region.len();
        let bytes = usize::try_from(info.bytes)?;
        for start in (0..bytes).step_by(CHUNK) {
            let part = &mut chunk[..CHUNK.min(bytes - start)];
            let offset = info.offset + start as u64;
            opened[info.file]
                .read_exact_at(part, offset)
                .map_err(|why| OpenError::Tensor {
                    path: files[info.file].clone(),
                    tensor: info.name.clone(),
                    why,
                })?;
            region.part(start, part.len()).write(part);
        }
        model.place(weight(&info.name)?, &region);
    }
    Ok(())
}

/// Gives experts address space, of which they may take `budget` of memory.
pub(super) fn place_experts(
    model: &BareModel,
    mixture: Mixture,
    budget: Bytes,
    mut weight: impl FnMut(&str, TableIdx) -> Result<WeightIdx, OracleError>,
) -> Result<ExpertStore, OpenError> {
    let lru = Lru::new(mixture.groups.iter().map(ExpertGroup::experts));
    let groups = mixture.groups.clone();
    let store = ExpertStore::new(mixture.groups, budget, Box::new(lru))?;
    for (index, group) in groups.iter().enumerate() {
        for (place, table) in group.tables.iter().enumerate() {
            let at = TableIdx {
                group: index,
                table: place,
            };
            model.place(weight(table.name(), at)?, &store.memory(at));
        }
    }
    Ok(store)
}
