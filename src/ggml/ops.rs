//! Operations: each adds one node to the context that it is called on. Shapes are written
//! fastest dimension first, as ggml has them.

use super::tensor::{Context, Tensor};
use llama_cpp_sys_2 as sys;
use std::ptr::null_mut;

/// Which dimensions of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeKind {
    /// Neighbours: (0, 1), (2, 3), ...
    Norm,
    /// Halves: (0, d/2), (1, d/2 + 1), ...
    Neox,
}

/// Rotary position embedding as a model file gives it.
#[derive(Clone, Copy, Debug)]
pub struct RopeParams {
    pub kind: RopeKind,
    /// Rotated dimensions of a head.
    pub dims: usize,
    pub ctx_train: usize,
    pub freq_base: f32,
    pub freq_scale: f32,
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

// SAFETY, for every `unsafe` here: the context and the sources are alive (`uses` keeps the
// latter), and ggml only records the operation; it checks shapes itself.
impl Context {
    /// `a * b` where `a` is `[k, m]` (weights) and `b` is `[k, n]`: `[m, n]`.
    pub fn mul_mat(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let (a, b) = (self.uses(a), self.uses(b));
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_mul_mat(self.0.raw.as_ptr(), a, b) })
    }

    pub fn add(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let (a, b) = (self.uses(a), self.uses(b));
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_add(self.0.raw.as_ptr(), a, b) })
    }

    /// Element by element, `b` repeated over `a`.
    pub fn mul(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let (a, b) = (self.uses(a), self.uses(b));
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_mul(self.0.raw.as_ptr(), a, b) })
    }

    pub fn rms_norm(&self, a: &Tensor, eps: f32) -> Tensor {
        let a = self.uses(a);
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_rms_norm(self.0.raw.as_ptr(), a, eps) })
    }

    /// `silu(gate) * up`.
    pub fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        let (gate, up) = (self.uses(gate), self.uses(up));
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_swiglu_split(self.0.raw.as_ptr(), gate, up) })
    }

    /// Rotates heads `[head_dim, n_head, n]` by their positions `[n]` (I32).
    pub fn rope(
        &self,
        a: &Tensor,
        pos: &Tensor,
        factors: Option<&Tensor>,
        p: &RopeParams,
    ) -> Tensor {
        let (a, pos) = (self.uses(a), self.uses(pos));
        let factors = factors.map_or(null_mut(), |f| self.uses(f));
        let mode = match p.kind {
            RopeKind::Norm => 0,
            RopeKind::Neox => 2,
        };
        // SAFETY: see above. The last five are YaRN's parameters at rest, as llama.cpp
        // passes them for models without it.
        self.wrap(unsafe {
            sys::ggml_rope_ext(
                self.0.raw.as_ptr(),
                a,
                pos,
                factors,
                i32::try_from(p.dims).unwrap_or(i32::MAX),
                mode,
                i32::try_from(p.ctx_train).unwrap_or(i32::MAX),
                p.freq_base,
                p.freq_scale,
                0.0,
                1.0,
                32.0,
                1.0,
            )
        })
    }

    pub fn reshape_2d(&self, a: &Tensor, ne0: usize, ne1: usize) -> Tensor {
        let a = self.uses(a);
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_reshape_2d(self.0.raw.as_ptr(), a, int(ne0), int(ne1)) })
    }

    pub fn reshape_3d(&self, a: &Tensor, ne: [usize; 3]) -> Tensor {
        let a = self.uses(a);
        // SAFETY: see above.
        self.wrap(unsafe {
            sys::ggml_reshape_3d(self.0.raw.as_ptr(), a, int(ne[0]), int(ne[1]), int(ne[2]))
        })
    }

    /// `a` repeated as often as shape `ne` holds it.
    pub fn repeat(&self, a: &Tensor, ne: [usize; 3]) -> Tensor {
        let a = self.uses(a);
        // SAFETY: see above.
        self.wrap(unsafe {
            let raw = self.0.raw.as_ptr();
            sys::ggml_repeat_4d(raw, a, int(ne[0]), int(ne[1]), int(ne[2]), 1)
        })
    }

    /// A window onto `a`: shape `ne`, byte strides `nb` of the second and third dimension,
    /// from byte `offset`.
    pub fn view_3d(&self, a: &Tensor, ne: [usize; 3], nb: [usize; 2], offset: usize) -> Tensor {
        let a = self.uses(a);
        // SAFETY: see above.
        self.wrap(unsafe {
            sys::ggml_view_3d(
                self.0.raw.as_ptr(),
                a,
                int(ne[0]),
                int(ne[1]),
                int(ne[2]),
                nb[0],
                nb[1],
                offset,
            )
        })
    }

    /// A window onto `a`: shape `ne`, byte stride `nb1` of a row, from byte `offset`.
    pub fn view_2d(&self, a: &Tensor, ne: [usize; 2], nb1: usize, offset: usize) -> Tensor {
        let a = self.uses(a);
        // SAFETY: see above.
        self.wrap(unsafe {
            sys::ggml_view_2d(self.0.raw.as_ptr(), a, int(ne[0]), int(ne[1]), nb1, offset)
        })
    }

    /// Swaps the second and third dimension.
    pub fn swap_middle(&self, a: &Tensor) -> Tensor {
        let a = self.uses(a);
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_permute(self.0.raw.as_ptr(), a, 0, 2, 1, 3) })
    }

    /// Writes the rows of `rows` `[k, n]` to `table` `[k, m]` at `index` `[n]` (I64).
    pub fn set_rows(&self, table: &Tensor, rows: &Tensor, index: &Tensor) -> Tensor {
        let (table, rows, index) = (self.uses(table), self.uses(rows), self.uses(index));
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_set_rows(self.0.raw.as_ptr(), table, rows, index) })
    }

    /// Rows of `table` `[k, m]` at `index` `[n]` (I32): `[k, n]`.
    pub fn get_rows(&self, table: &Tensor, index: &Tensor) -> Tensor {
        let (table, index) = (self.uses(table), self.uses(index));
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_get_rows(self.0.raw.as_ptr(), table, index) })
    }

    /// Copies `from` over `to`.
    pub fn copy(&self, from: &Tensor, to: &Tensor) -> Tensor {
        let (from, to) = (self.uses(from), self.uses(to));
        // SAFETY: see above.
        self.wrap(unsafe { sys::ggml_cpy(self.0.raw.as_ptr(), from, to) })
    }

    /// Attention of `q` `[head_dim, n, n_head]` over `k` and `v` `[head_dim, n_kv, n_head_kv]`
    /// with `mask` `[n_kv, n]` (F16, added to the scores): `[head_dim, n_head, n]`, summed in
    /// 32-bit floats.
    pub fn flash_attention(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        mask: &Tensor,
        scale: f32,
    ) -> Tensor {
        let (q, k, v, mask) = (self.uses(q), self.uses(k), self.uses(v), self.uses(mask));
        // SAFETY: see above.
        self.wrap(unsafe {
            let out = sys::ggml_flash_attn_ext(self.0.raw.as_ptr(), q, k, v, mask, scale, 0.0, 0.0);
            sys::ggml_prec_set_acc(out, sys::GGML_PREC_F32);
            out
        })
    }
}
