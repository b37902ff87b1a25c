//! What a pass works on: the hidden state, positions, cells, mask and a step's inner
//! activations, at fixed addresses.

use crate::ggml::{Context, Device, Place, Tensor};
use crate::io::{Arena, Region};
use crate::kv::CellIdx;
use crate::model::{GgmlType, ModelShape};
use crate::oracle::OpenError;

/// Mask values, as bits of 16-bit floats: zero, and minus infinity.
pub(super) const OPEN: u16 = 0;
pub(super) const MASKED: u16 = 0xFC00;

/// Memory that one kind of tensor lies in.
struct Slab {
    /// Where it is written.
    host: Region,
    /// Where steps use it.
    place: Place,
}

impl Slab {
    fn put(&self, i: usize, size: usize, bytes: &[u8]) {
        self.host.part(i * size, size).write(bytes);
    }

    /// Copies the first `len` bytes to where steps use them.
    fn send(&self, len: usize) {
        if let Place::Device(span) = &self.place {
            span.fill(&self.host.part(0, len));
        }
    }
}

/// Memory for a pass of at most so many tokens.
pub(super) struct Activations {
    n_embd: usize,
    x: Slab,
    /// The input of a step's last product.
    inner: Slab,
    position: Slab,
    cell: Slab,
    mask: Slab,
    wanted: Slab,
}

impl Activations {
    /// On `device`, with a second copy of what the host writes, in host memory that the device
    /// copies from; or, without a device, in the host's memory alone.
    pub(super) fn new(
        shape: &ModelShape,
        ctx_tokens: usize,
        max_width: usize,
        device: Option<Device>,
    ) -> Result<Self, OpenError> {
        let sizes = Self::sizes(shape, ctx_tokens, max_width);
        let len = sizes.iter().sum();
        let arena = device.map_or_else(|| Arena::new(len), |device| device.pinned(len))?;
        let buffer = device.map(|device| device.buffer(len)).transpose()?;
        let mut at = 0;
        let mut slab = |kind: usize| {
            let (offset, bytes) = (at, sizes[kind]);
            at += bytes;
            let host = arena.region(offset, bytes);
            let place = match &buffer {
                Some(buffer) => Place::Device(buffer.span(offset, bytes)),
                None => Place::Host(host.clone()),
            };
            Slab { host, place }
        };
        Ok(Self {
            n_embd: shape.n_embd,
            x: slab(0),
            inner: slab(1),
            position: slab(2),
            cell: slab(3),
            mask: slab(4),
            wanted: slab(5),
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
        .map(|bytes| bytes.next_multiple_of(256))
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
        self.x.put(i, self.n_embd * 4, bytemuck::cast_slice(x));
        let position = i32::try_from(position).unwrap_or(i32::MAX);
        self.position.put(i, 4, &position.to_ne_bytes());
        self.cell.put(i, 8, &(cell.0 as i64).to_ne_bytes());
        self.mask.put(i, mask.len() * 2, bytemuck::cast_slice(mask));
    }

    /// Copies what has been set for `n` tokens over `n_kv` cells to where steps use it.
    pub(super) fn send(&self, n: usize, n_kv: usize) {
        self.x.send(n * self.n_embd * 4);
        self.position.send(n * 4);
        self.cell.send(n * 8);
        self.mask.send(n * n_kv * 2);
    }

    /// Names the tokens whose logits are wanted, padded to `rows` by repeating the first.
    pub(super) fn set_wanted(&self, wanted: &[usize], rows: usize) {
        for row in 0..rows {
            let token = wanted.get(row).or(wanted.first()).copied().unwrap_or(0);
            let token = i32::try_from(token).unwrap_or(i32::MAX);
            self.wanted.put(row, 4, &token.to_ne_bytes());
        }
        self.wanted.send(rows * 4);
    }

    /// The hidden state `[n_embd, n]`.
    pub(super) fn x(&self, ctx: &Context, n: usize) -> Tensor {
        Self::tensor(ctx, &self.x, GgmlType::F32, &[self.n_embd, n])
    }

    /// A copy of the hidden state of the first `n` tokens.
    pub(super) fn read_x(&self, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n * self.n_embd];
        if n > 0 {
            self.x(&Context::new(1, 0), n).read_f32(&mut values);
        }
        values
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

    fn tensor(ctx: &Context, slab: &Slab, ty: GgmlType, ne: &[usize]) -> Tensor {
        let tensor = ctx.tensor(ty, ne);
        tensor.put(&slab.place);
        tensor
    }
}
