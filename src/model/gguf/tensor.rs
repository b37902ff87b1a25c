//! The tensor table: names, shapes, and where each tensor's bytes lie.

use super::cursor::Cursor;
use super::error::GgufFault;
use crate::ggml::GgmlType;

/// ggml keeps a name in 64 bytes with its terminating zero.
const MAX_NAME_BYTES: u64 = 63;
/// A name's length, an empty name, the dimension count, one dimension, a type, an offset.
pub(super) const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub ty: GgmlType,
    /// Elements along each dimension in ggml's order (`ne`: the first varies fastest), padded
    /// with 1. Their product fits an `i64`.
    pub dims: [u64; 4],
    pub n_dims: u32,
    /// Which of the model's files holds it.
    pub file: usize,
    /// Bytes from the start of that file; aligned to the file's alignment.
    pub offset: u64,
    /// Length in bytes; `offset + bytes` is within the file.
    pub bytes: u64,
}

impl TensorInfo {
    /// Bytes of one row (the first dimension).
    pub fn row_bytes(&self) -> u64 {
        self.bytes / (self.dims[1] * self.dims[2] * self.dims[3])
    }

    /// The layer that it belongs to, by its name: `blk.7.attn_q.weight` is of layer 7.
    pub fn layer(&self) -> Option<u32> {
        let (layer, _) = self.name.strip_prefix("blk.")?.split_once('.')?;
        layer.parse().ok()
    }
}

/// Reads one entry, as of file 0. `offset` is left relative to the data section, which starts only
/// after the last entry; `place` makes it absolute.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<TensorInfo, GgufFault> {
    let name = cursor.string(MAX_NAME_BYTES, "a tensor name")?.to_owned();
    let n_dims = cursor.u32("a tensor's dimension count")?;
    if !(1..=4).contains(&n_dims) {
        return Err(GgufFault::DimensionCount {
            tensor: name,
            n_dims,
        });
    }
    let mut dims = [1; 4];
    for dim in dims.iter_mut().take(n_dims as usize) {
        *dim = cursor.u64("a tensor's dimension")?;
    }
    let id = cursor.u32("a tensor's type")?;
    let offset = cursor.u64("a tensor's offset")?;
    let Some(ty) = GgmlType::from_id(id) else {
        return Err(GgufFault::UnsupportedType { tensor: name, id });
    };
    if !dims[0].is_multiple_of(ty.block_elems()) {
        return Err(GgufFault::PartialBlock {
            tensor: name,
            row: dims[0],
            ty: ty.name(),
            block: ty.block_elems(),
        });
    }
    let Some(bytes) = size(ty, dims) else {
        return Err(GgufFault::Dimensions {
            tensor: name,
            dims: dims[..n_dims as usize].to_vec(),
        });
    };
    Ok(TensorInfo {
        name,
        ty,
        dims,
        n_dims,
        file: 0,
        offset,
        bytes,
    })
}

/// Bytes of a tensor; `None` where a dimension is zero or a product leaves an `i64`.
fn size(ty: GgmlType, dims: [u64; 4]) -> Option<u64> {
    let elements = dims
        .into_iter()
        .try_fold(1u64, |product, dim| product.checked_mul(dim))
        .filter(|&n| n > 0 && i64::try_from(n).is_ok())?;
    let bytes = (elements / ty.block_elems()).checked_mul(ty.block_bytes())?;
    i64::try_from(bytes).is_ok().then_some(bytes)
}

/// Makes the tensors' offsets absolute and checks that each is aligned, inside a file of
/// `len` bytes, and apart from all others. `data` is where the data section starts.
pub(super) fn place(
    tensors: &mut [TensorInfo],
    data: u64,
    alignment: u64,
    len: u64,
) -> Result<(), GgufFault> {
    // The first tensor that does not end inside the file, and where the last one ends.
    let (mut cut, mut needed): (Option<String>, u64) = (None, 0);
    for tensor in tensors.iter_mut() {
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(GgufFault::Misaligned {
                tensor: tensor.name.clone(),
                offset: tensor.offset,
                alignment,
            });
        }
        let start = u128::from(data) + u128::from(tensor.offset);
        let end = start + u128::from(tensor.bytes);
        let (Ok(absolute), Ok(end)) = (u64::try_from(start), i64::try_from(end)) else {
            return Err(GgufFault::OutOfRange {
                tensor: tensor.name.clone(),
                start,
                end,
            });
        };
        tensor.offset = absolute;
        let end = end.unsigned_abs();
        if end > len {
            cut.get_or_insert_with(|| tensor.name.clone());
            needed = needed.max(end);
        }
    }
    if let Some(tensor) = cut {
        return Err(GgufFault::CutShort {
            tensor,
            needed,
            len,
        });
    }
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_unstable_by_key(|t| t.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            return Err(GgufFault::Overlap {
                first: pair[0].name.clone(),
                second: pair[1].name.clone(),
            });
        }
    }
    Ok(())
}
