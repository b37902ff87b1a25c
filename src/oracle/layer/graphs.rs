//! The graphs of a pass, one for each kind of shard.

use super::super::WidthClass;
use super::activations::Activations;
use super::weights::LayerWeights;
use crate::ggml::{Context, Graph, RopeParams, Tensor};
use crate::model::{Arch, ModelShape, Slot};
use std::rc::Rc;

/// Tensors that the graphs require in a layer of any architecture; others are used where they are
/// present.
const ALWAYS: [Slot; 9] = [
    Slot::AttentionNorm,
    Slot::Query,
    Slot::Key,
    Slot::Value,
    Slot::AttentionOutput,
    Slot::FeedForwardNorm,
    Slot::Gate,
    Slot::Up,
    Slot::Down,
];

// A table without one of them does not compile.
const _: () = {
    let mut arch = 0;
    while arch < Arch::ALL.len() {
        let mut i = 0;
        while i < ALWAYS.len() {
            let is_there = Arch::ALL[arch].always_has(ALWAYS[i]);
            assert!(is_there, "a layer without a tensor that all graphs use");
            i += 1;
        }
        arch += 1;
    }
};

/// Tensors and nodes of the largest of these graphs, and some to spare.
const TENSORS: usize = 64;
const NODES: usize = 48;

/// The same for each further run of queries.
const TENSORS_A_RUN: usize = 8;

/// Most and fewest queries of one attention. ggml's CPU kernel sums over cells in another order
/// for 64 and more queries, and for a single one over 512 and more cells; both orders depend on
/// where the cells lie. Between, a query's result has the same bits wherever its cells are.
const MOST_QUERIES: usize = 63;
pub(super) const FEWEST_QUERIES: usize = 2;

/// `n` queries in as few runs as can be, of almost equal length: where each begins, and its
/// length.
fn query_runs(n: usize, most: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    let runs = n.div_ceil(most).max(1);
    (0..runs).map(move |i| {
        let (from, to) = (i * n / runs, (i + 1) * n / runs);
        (from, to - from)
    })
}

/// Builds graphs for a pass of `n` tokens over `n_kv` cells.
pub(super) struct Graphs {
    shape: Rc<ModelShape>,
    /// Tokens, with the padding.
    pub n: usize,
    n_kv: usize,
    pub width: WidthClass,
    /// Of one attention.
    most_queries: usize,
}

/// Scratch memory that the largest graph takes for a pass of `n` tokens: bytes, an upper bound.
pub(super) fn scratch_bytes(shape: &ModelShape, n: usize) -> usize {
    let q = shape.n_head * shape.head_dim;
    let attention = 4 * shape.n_embd + 4 * q + 4 * shape.kv_width();
    let feed_forward = 2 * shape.n_embd + 3 * shape.n_ff;
    attention.max(feed_forward) * n * 4 + (8 << 20)
}

impl Graphs {
    pub(super) fn new(
        shape: &Rc<ModelShape>,
        n: usize,
        n_kv: usize,
        width: WidthClass,
        on_cpu: bool,
    ) -> Self {
        Self {
            most_queries: if on_cpu { MOST_QUERIES } else { usize::MAX },
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
        let more = TENSORS_A_RUN * query_runs(n, self.most_queries).len();
        let ctx = Context::new(TENSORS + more, NODES + more);
        let graph = ctx.graph(NODES + more);
        let x = act.x(&ctx, n);
        let position = act.position(&ctx, n);
        let cell = act.cell(&ctx, n);
        let normed = ctx.mul(&ctx.rms_norm(&x, s.rms_eps), &w[Slot::AttentionNorm]);
        let project = |weight: Slot, bias: Slot| {
            let y = ctx.mul_mat(&w[weight], &normed);
            w.get(bias).map_or_else(|| y.clone(), |b| ctx.add(&y, b))
        };
        let rope = RopeParams {
            kind: s.rope_kind,
            dims: s.rope_dims,
            ctx_train: s.ctx_train,
            freq_base: s.rope_freq_base,
            freq_scale: s.rope_freq_scale,
        };
        let rotate = |t: &Tensor, heads: usize, norm: Slot| {
            let mut t = ctx.reshape_3d(t, [d, heads, n]);
            if let Some(norm) = w.get(norm) {
                t = ctx.mul(&ctx.rms_norm(&t, s.rms_eps), norm);
            }
            ctx.rope(&t, &position, factors, &rope)
        };
        let q = project(Slot::Query, Slot::QueryBias);
        let q = rotate(&q, q_heads, Slot::QueryNorm);
        let k = project(Slot::Key, Slot::KeyBias);
        let k = rotate(&k, kv_heads, Slot::KeyNorm);
        let v = project(Slot::Value, Slot::ValueBias);
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
        let (keys, values) = (heads(0), heads(width * 2));
        let attend = |q: &Tensor, mask: &Tensor| {
            let q = ctx.swap_middle(q);
            ctx.flash_attention(&q, &keys, &values, mask, 1.0 / (d as f32).sqrt())
        };
        let (q_width, q_bytes) = (d * q_heads, d * q_heads * 4);
        let attended = if n < FEWEST_QUERIES {
            // The padding's result is dropped.
            let padded = ctx.repeat(&q, [d, q_heads, FEWEST_QUERIES]);
            let both = attend(&padded, &act.mask(&ctx, n_kv, FEWEST_QUERIES));
            ctx.view_2d(&both, [q_width, n], q_bytes, 0)
        } else if n <= self.most_queries {
            let attended = attend(&q, &act.mask(&ctx, n_kv, n));
            ctx.reshape_2d(&attended, q_width, n)
        } else {
            let all = act.inner(&ctx, q_width, n);
            let mask = act.mask(&ctx, n_kv, n);
            for (from, len) in query_runs(n, self.most_queries) {
                let q = ctx.view_3d(&q, [d, q_heads, len], [d * 4, q_bytes], from * q_bytes);
                let mask = ctx.view_2d(&mask, [n_kv, len], n_kv * 2, from * n_kv * 2);
                let run = ctx.reshape_2d(&attend(&q, &mask), q_width, len);
                let place = ctx.view_2d(&all, [q_width, len], q_bytes, from * q_bytes);
                graph.expand(&ctx.copy(&run, &place));
            }
            all
        };
        let out = ctx.mul_mat(&w[Slot::AttentionOutput], &attended);
        graph.expand(&ctx.copy(&ctx.add(&out, &x), &x));
        graph
    }

    /// `ff = swiglu(gate(norm(x)), up(norm(x)))`.
    pub(super) fn feed_forward_up(&self, act: &Activations, w: &LayerWeights) -> Graph {
        let ctx = Context::new(TENSORS, NODES);
        let graph = ctx.graph(NODES);
        let x = act.x(&ctx, self.n);
        let normed = ctx.rms_norm(&x, self.shape.rms_eps);
        let normed = ctx.mul(&normed, &w[Slot::FeedForwardNorm]);
        let gate = ctx.mul_mat(&w[Slot::Gate], &normed);
        let inner = ctx.swiglu(&gate, &ctx.mul_mat(&w[Slot::Up], &normed));
        graph.expand(&ctx.copy(&inner, &act.inner(&ctx, self.shape.n_ff, self.n)));
        graph
    }

    /// `x += down(ff)`.
    pub(super) fn feed_forward_down(&self, act: &Activations, w: &LayerWeights) -> Graph {
        let ctx = Context::new(TENSORS, NODES);
        let graph = ctx.graph(NODES);
        let x = act.x(&ctx, self.n);
        let out = ctx.mul_mat(&w[Slot::Down], &act.inner(&ctx, self.shape.n_ff, self.n));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_queries_are_neither_too_long_nor_too_short() {
        for n in 2..=1024 {
            let mut next = 0;
            for (from, len) in query_runs(n, MOST_QUERIES) {
                assert!((FEWEST_QUERIES..=MOST_QUERIES).contains(&len), "{n}: {len}");
                assert_eq!(from, next);
                next += len;
            }
            assert_eq!(next, n);
        }
        assert_eq!(query_runs(63, MOST_QUERIES).len(), 1);
        assert_eq!(
            query_runs(64, MOST_QUERIES).collect::<Vec<_>>(),
            [(0, 32), (32, 32)]
        );
    }
}
