//! What a pass needs from disk, cut into shards in order of use.
//!
//! ```text
//!  file:   ... | ffn_down | ffn_gate | ffn_up | norm | k q v o ... |   (any order)
//!  shards: layer 0: Attention {q k v o}, FeedForwardUp {gate up}, FeedForwardDown {down}
//!          layer 1: ...
//!          head:    blocks of rows of the output matrix
//! ```
//!
//! Where llama.cpp computes, a shard is a whole layer ([`catalogue_by_layer`]), and the head is
//! none.
//!
//! A shard is read in one or a few *extents* (tensors that lie together in the file), each
//! widened to whole blocks. Norms and biases belong to no shard: they stay in memory.

use crate::io::BLOCK;
use crate::model::{ModelLayout, Step, TensorInfo};
use crate::units::{Bytes, LayerIdx};
use crate::vocabulary::ShardPart;
use std::collections::BTreeMap;

/// Tensors closer together than this are read as one extent: a seek costs more than the gap.
const JOIN_GAP: u64 = 64 << 10;

/// Largest block of the head, in bytes: it sets how long compute waits for its first rows,
/// and how large a ring must be.
const HEAD_BLOCK_BYTES: u64 = 12 << 20;

/// A block of the head is whole multiples of this many rows, so that it begins at an address
/// that is aligned for ggml whatever a row's length.
const HEAD_ROWS: u64 = 32;

/// A shard's place in the order of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIdx(pub usize);

/// Bytes of a file that are read together: whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub file: usize,
    pub offset: u64,
    pub len: usize,
    /// Where they go in the shard's memory.
    pub at: usize,
}

/// Where one tensor (or a block of the head's rows) lies in its shard's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub name: String,
    pub at: usize,
    pub bytes: usize,
}

/// A part of the model that arrives and leaves as one.
#[derive(Clone, Debug)]
pub struct Shard {
    /// `None` for the head.
    pub layer: Option<LayerIdx>,
    pub part: ShardPart,
    /// Rows of the head's block, `[first, end)`; empty for the others.
    pub rows: std::ops::Range<usize>,
    pub extents: Vec<Extent>,
    pub tensors: Vec<Placed>,
    /// Memory that it takes, and bytes that are read for it.
    pub bytes: usize,
}

/// Cuts a model into shards in order of use.
pub fn catalogue(layout: &ModelLayout) -> Vec<Shard> {
    let steps = layout.shape.arch.steps();
    let mut shards = Vec::with_capacity(layout.layers.len() * steps.len() + 16);
    for (i, layer) in layout.layers.iter().enumerate() {
        let index = LayerIdx(u32::try_from(i).unwrap_or(u32::MAX));
        for &Step { part, .. } in steps {
            let pieces = layer.matrices(part).map(Piece::whole).collect();
            shards.push(shard(Some(index), part, 0..0, pieces));
        }
    }
    let head = &layout.output;
    let row_bytes = head.bytes / head.dims[1];
    let rows_per_block = (HEAD_BLOCK_BYTES / row_bytes / HEAD_ROWS * HEAD_ROWS).max(HEAD_ROWS);
    let mut first = 0;
    while first < head.dims[1] {
        let end = (first + rows_per_block).min(head.dims[1]);
        let piece = Piece {
            name: head.name.clone(),
            file: head.file,
            offset: head.offset + first * row_bytes,
            bytes: (end - first) * row_bytes,
        };
        let rows = index(first)..index(end);
        shards.push(shard(None, ShardPart::Head, rows, vec![piece]));
        first = end;
    }
    shards
}

/// Cuts the layers of a model of any architecture into shards: one a layer, since the order of
/// use within a layer is llama.cpp's business. Of `tensors` those that lie in no layer are left
/// out.
pub fn catalogue_by_layer<'a>(tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Vec<Shard> {
    let mut layers: BTreeMap<u32, Vec<Piece>> = BTreeMap::new();
    for t in tensors {
        if let Some(layer) = t.layer() {
            layers.entry(layer).or_default().push(Piece::whole(t));
        }
    }
    layers
        .into_iter()
        .map(|(layer, pieces)| shard(Some(LayerIdx(layer)), ShardPart::Whole, 0..0, pieces))
        .collect()
}

/// Bytes of all shards: what a pass reads where nothing is resident.
pub fn total_bytes(shards: &[Shard]) -> Bytes {
    Bytes(shards.iter().map(|s| s.bytes as u64).sum())
}

struct Piece {
    name: String,
    file: usize,
    offset: u64,
    bytes: u64,
}

impl Piece {
    fn whole(tensor: &TensorInfo) -> Self {
        Self {
            name: tensor.name.clone(),
            file: tensor.file,
            offset: tensor.offset,
            bytes: tensor.bytes,
        }
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn shard(
    layer: Option<LayerIdx>,
    part: ShardPart,
    rows: std::ops::Range<usize>,
    mut pieces: Vec<Piece>,
) -> Shard {
    const BLOCK_U64: u64 = BLOCK as u64;
    pieces.sort_by_key(|p| (p.file, p.offset));
    let mut extents: Vec<Extent> = Vec::new();
    let mut tensors = Vec::with_capacity(pieces.len());
    let mut at = 0;
    for piece in pieces {
        let start = piece.offset / BLOCK_U64 * BLOCK_U64;
        let end = (piece.offset + piece.bytes).next_multiple_of(BLOCK_U64);
        let joined = match extents.last_mut() {
            Some(last)
                if last.file == piece.file && start <= last.offset + last.len as u64 + JOIN_GAP =>
            {
                let len = index(end - last.offset).max(last.len);
                at += len - last.len;
                last.len = len;
                *last
            }
            _ => {
                let extent = Extent {
                    file: piece.file,
                    offset: start,
                    len: index(end - start),
                    at,
                };
                at += extent.len;
                extents.push(extent);
                extent
            }
        };
        tensors.push(Placed {
            name: piece.name,
            at: joined.at + index(piece.offset - joined.offset),
            bytes: index(piece.bytes),
        });
    }
    Shard {
        layer,
        part,
        rows,
        extents,
        tensors,
        bytes: at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, offset: u64, bytes: u64) -> Piece {
        Piece {
            name: name.into(),
            file: 0,
            offset,
            bytes,
        }
    }

    #[test]
    fn layers_are_ordered_by_number_and_hold_what_is_theirs() {
        let tensor = |name: &str, offset| TensorInfo {
            name: name.into(),
            ty: crate::ggml::GgmlType::F32,
            dims: [256, 1, 1, 1],
            n_dims: 1,
            file: 0,
            offset,
            bytes: 1024,
        };
        // As in a file: names in the order of the alphabet.
        let tensors = [
            tensor("blk.1.attn_q.weight", 0),
            tensor("blk.10.attn_q.weight", 1024),
            tensor("blk.2.attn_q.weight", 2048),
            tensor("blk.2.ffn_up.weight", 3072),
            tensor("token_embd.weight", 4096),
        ];
        let shards = catalogue_by_layer(&tensors);
        let layers: Vec<_> = shards.iter().map(|s| s.layer.map(|l| l.0)).collect();
        assert_eq!(layers, [Some(1), Some(2), Some(10)]);
        let names: Vec<_> = shards[1].tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["blk.2.attn_q.weight", "blk.2.ffn_up.weight"]);
        assert_eq!(tensor("blk.x.attn_q.weight", 0).layer(), None);
        assert_eq!(tensor("enc.blk.1.attn_q.weight", 0).layer(), None);
    }

    #[test]
    fn neighbours_are_read_together_and_strangers_apart() {
        let s = shard(
            None,
            ShardPart::Attention,
            0..0,
            vec![
                piece("far", 10 << 20, 5000),
                piece("a", 100, 5000),
                piece("b", 5100, 5000),
            ],
        );
        assert_eq!(
            s.extents,
            [
                Extent {
                    file: 0,
                    offset: 0,
                    len: 12288,
                    at: 0
                },
                Extent {
                    file: 0,
                    offset: 10 << 20,
                    len: 8192,
                    at: 12288
                },
            ]
        );
        assert_eq!(s.bytes, 12288 + 8192);
        let at: Vec<_> = s
            .tensors
            .iter()
            .map(|t| (t.name.as_str(), t.at, t.bytes))
            .collect();
        assert_eq!(
            at,
            [("a", 100, 5000), ("b", 5100, 5000), ("far", 12288, 5000)]
        );
    }
}
