//! The graphs of a pass, one for each kind of shard.

use super::super::WidthClass;
use super::activations::Activations;
use super::weights::LayerWeights;
use crate::ggml::{Context, Graph, RopeParams, Tensor};
use crate::model::ModelShape;
use std::rc::Rc;

/// Tensors and nodes of the largest of these graphs, with room to spare.
const TENSORS: usize = 64;
const NODES: usize = 48;

/// Builds graphs for a pass of `n` tokens over `n_kv` cells.
pub(super) struct Graphs {
    shape: Rc<ModelShape>,
    n: usize,
    n_kv: usize,
    pub width: WidthClass,
}

/// Scratch memory that the largest graph takes for a full pass: bytes, an upper bound.
pub(super) fn scratch_bytes(shape: &ModelShape) -> usize {
    let n = WidthClass::BATCH.max;
    let q = shape.n_head * shape.head_dim;
    let attention = 4 * shape.n_embd + 4 * q + 4 * shape.kv_width();
    let feed_forward = 2 * shape.n_embd + 3 * shape.n_ff;
    attention.max(feed_forward) * n * 4 + (8 << 20)
}

impl Graphs {
    pub(super) fn new(shape: &Rc<ModelShape>, n: usize, n_kv: usize, width: WidthClass) -> Self {
        Self {
            shape: Rc::clone(shape),
            n,
            n_kv,
            width,
        }
    }

    /// `x += attention(norm(x))`, storing the tokens' keys and values in `kv`.
    pub(super) fn attention(
        &self,
        act: &Activations,
        w: &LayerWeights,
        factors: Option<&Tensor>,
        kv: &Tensor,
    ) -> Graph {
        let (s, n, n_kv) = (&self.shape, self.n, self.n_kv);
        let (d, q_heads, kv_heads) = (s.head_dim, s.n_head, s.n_head_kv);
        let ctx = Context::new(TENSORS, NODES);
        let graph = ctx.graph(NODES);
        let x = act.x(&ctx, n);
        let position = act.position(&ctx, n);
        let cell = act.cell(&ctx, n);
        let mask = act.mask(&ctx, n_kv, n);
        let normed = ctx.mul(&ctx.rms_norm(&x, s.rms_eps), &w.attn_norm);
        let project = |weight: &Tensor, bias: Option<&Tensor>| {
            let y = ctx.mul_mat(weight, &normed);
            bias.map_or_else(|| y.clone(), |b| ctx.add(&y, b))
        };
        let bias = |i: usize| w.qkv_bias.as_ref().map(|b| &b[i]);
        let rope = RopeParams {
            kind: s.rope_kind,
            dims: s.rope_dims,
            ctx_train: s.ctx_train,
            freq_base: s.rope_freq_base,
            freq_scale: s.rope_freq_scale,
        };
        let rotate = |t: &Tensor, heads: usize| {
            ctx.rope(&ctx.reshape_3d(t, [d, heads, n]), &position, factors, &rope)
        };
        let q = rotate(&project(&w.q, bias(0)), q_heads);
        let k = rotate(&project(&w.k, bias(1)), kv_heads);
        let v = project(&w.v, bias(2));
        // A cell's row is its keys, then its values.
        let (width, row_bytes) = (s.kv_width(), 2 * s.kv_width() * 2);
        let rows = usize::try_from(kv.shape()[1]).unwrap_or(0);
        let keys = ctx.view_2d(kv, [width, rows], row_bytes, 0);
        let values = ctx.view_2d(kv, [width, rows], row_bytes, width * 2);
        graph.expand(&ctx.set_rows(&keys, &ctx.reshape_2d(&k, width, n), &cell));
        graph.expand(&ctx.set_rows(&values, &v, &cell));
        let heads = |offset: usize| {
            let view = ctx.view_3d(kv, [d, kv_heads, n_kv], [d * 2, row_bytes], offset);
            ctx.swap_middle(&view)
        };
        let attended = ctx.flash_attention(
            &ctx.swap_middle(&q),
            &heads(0),
            &heads(width * 2),
            &mask,
            1.0 / (d as f32).sqrt(),
        );
        let out = ctx.mul_mat(&w.o, &ctx.reshape_2d(&attended, d * q_heads, n));
        graph.expand(&ctx.copy(&ctx.add(&out, &x), &x));
        graph
    }

    /// `ff = swiglu(gate(norm(x)), up(norm(x)))`.
    pub(super) fn feed_forward_up(&self, act: &Activations, w: &LayerWeights) -> Graph {
        let ctx = Context::new(TENSORS, NODES);
        let graph = ctx.graph(NODES);
        let x = act.x(&ctx, self.n);
        let normed = ctx.mul(&ctx.rms_norm(&x, self.shape.rms_eps), &w.ffn_norm);
        let inner = ctx.swiglu(&ctx.mul_mat(&w.gate, &normed), &ctx.mul_mat(&w.up, &normed));
        graph.expand(&ctx.copy(&inner, &act.ff(&ctx, self.shape.n_ff, self.n)));
        graph
    }

    /// `x += down(ff)`.
    pub(super) fn feed_forward_down(&self, act: &Activations, w: &LayerWeights) -> Graph {
        let ctx = Context::new(TENSORS, NODES);
        let graph = ctx.graph(NODES);
        let x = act.x(&ctx, self.n);
        let out = ctx.mul_mat(&w.down, &act.ff(&ctx, self.shape.n_ff, self.n));
        graph.expand(&ctx.copy(&ctx.add(&out, &x), &x));
        graph
    }

    /// Logits `[rows of the block, wanted]` of a block of the head.
    pub(super) fn head(
        &self,
        act: &Activations,
        block: &Tensor,
        norm: &Tensor,
        wanted: usize,
    ) -> (Graph, Tensor) {
        let ctx = Context::new(TENSORS, NODES);
        let graph = ctx.graph(NODES);
        let x = ctx.get_rows(&act.x(&ctx, self.n), &act.wanted(&ctx, wanted));
        let normed = ctx.mul(&ctx.rms_norm(&x, self.shape.rms_eps), norm);
        let logits = ctx.mul_mat(block, &normed);
        graph.expand_output(&logits);
        (graph, logits)
    }
}
