//! What a pass works on: the hidden state, positions, cells, mask and a step's inner
//! activations, at fixed addresses.

use crate::ggml::{Context, Tensor};
use crate::io::{Arena, Region};
use crate::kv::CellIdx;
use crate::model::{GgmlType, ModelShape};

/// Mask values, as bits of 16-bit floats: zero, and minus infinity.
pub(super) const OPEN: u16 = 0;
pub(super) const MASKED: u16 = 0xFC00;

/// Memory for a pass of at most so many tokens.
pub(super) struct Activations {
    n_embd: usize,
    x: Region,
    /// What a step hands on to its last product.
    inner: Region,
    position: Region,
    cell: Region,
    mask: Region,
    wanted: Region,
}

impl Activations {
    pub(super) fn new(
        shape: &ModelShape,
        ctx_tokens: usize,
        max_width: usize,
    ) -> std::io::Result<Self> {
        let sizes = Self::sizes(shape, ctx_tokens, max_width);
        let arena = Arena::new(sizes.iter().sum())?;
        let mut at = 0;
        let mut next = sizes.iter().map(|&bytes| {
            at += bytes;
            arena.region(at - bytes, bytes)
        });
        // The closure yields one region for each size, in order.
        let mut region = || {
            next.next()
                .ok_or_else(|| std::io::Error::other("a region is missing"))
        };
        Ok(Self {
            n_embd: shape.n_embd,
            x: region()?,
            inner: region()?,
            position: region()?,
            cell: region()?,
            mask: region()?,
            wanted: region()?,
        })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(shape: &ModelShape, ctx_tokens: usize, max_width: usize) -> usize {
        Self::sizes(shape, ctx_tokens, max_width)
            .iter()
            .sum::<usize>()
            .next_multiple_of(2 << 20)
    }

    fn sizes(shape: &ModelShape, ctx_tokens: usize, max_width: usize) -> [usize; 6] {
        let cells = ctx_tokens.next_multiple_of(super::KV_STEP);
        let inner = shape.n_ff.max(shape.n_head * shape.head_dim);
        [
            max_width * shape.n_embd * 4,
            max_width * inner * 4,
            max_width * 4,
            max_width * 8,
            max_width * cells * 2,
            max_width * 4,
        ]
        .map(|bytes| bytes.next_multiple_of(64))
    }

    /// Sets token `i` of the pass: its embedding, position, cell and mask (`n_kv` values).
    pub(super) fn set_token(
        &self,
        i: usize,
        x: &[f32],
        position: usize,
        cell: CellIdx,
        mask: &[u16],
    ) {
        let put =
            |region: &Region, size: usize, bytes: &[u8]| region.part(i * size, size).write(bytes);
        put(&self.x, self.n_embd * 4, bytemuck::cast_slice(x));
        let position = i32::try_from(position).unwrap_or(i32::MAX);
        put(&self.position, 4, &position.to_ne_bytes());
        put(&self.cell, 8, &(cell.0 as i64).to_ne_bytes());
        put(&self.mask, mask.len() * 2, bytemuck::cast_slice(mask));
    }

    /// Names the tokens whose logits are wanted, padded to `rows` by repeating the first.
    pub(super) fn set_wanted(&self, wanted: &[usize], rows: usize) {
        for row in 0..rows {
            let token = wanted.get(row).or(wanted.first()).copied().unwrap_or(0);
            let token = i32::try_from(token).unwrap_or(i32::MAX);
            self.wanted.part(row * 4, 4).write(&token.to_ne_bytes());
        }
    }

    /// The hidden state `[n_embd, n]`.
    pub(super) fn x(&self, ctx: &Context, n: usize) -> Tensor {
        Self::tensor(ctx, &self.x, GgmlType::F32, &[self.n_embd, n])
    }

    /// A step's inner activations `[width, n]`: what the heads attended to, or what the
    /// feed-forward computed within.
    pub(super) fn inner(&self, ctx: &Context, width: usize, n: usize) -> Tensor {
        Self::tensor(ctx, &self.inner, GgmlType::F32, &[width, n])
    }

    /// Positions `[n]`.
    pub(super) fn position(&self, ctx: &Context, n: usize) -> Tensor {
        Self::tensor(ctx, &self.position, GgmlType::I32, &[n])
    }

    /// Cells `[n]`.
    pub(super) fn cell(&self, ctx: &Context, n: usize) -> Tensor {
        Self::tensor(ctx, &self.cell, GgmlType::I64, &[n])
    }

    /// The mask `[n_kv, n]`.
    pub(super) fn mask(&self, ctx: &Context, n_kv: usize, n: usize) -> Tensor {
        Self::tensor(ctx, &self.mask, GgmlType::F16, &[n_kv, n])
    }

    /// Tokens whose logits are wanted `[rows]`.
    pub(super) fn wanted(&self, ctx: &Context, rows: usize) -> Tensor {
        Self::tensor(ctx, &self.wanted, GgmlType::I32, &[rows])
    }

    fn tensor(ctx: &Context, region: &Region, ty: GgmlType, ne: &[usize]) -> Tensor {
        let tensor = ctx.tensor(ty, ne);
        tensor.place(region);
        tensor
    }
}
