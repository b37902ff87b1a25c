//! The scratch memory of passes over a mixture, beyond that of any model's passes over a few tokens: an
//! estimate from the shapes of a layer's tables and matrices.

use super::WidthClass;
use crate::experts::Mixture;
use crate::ggml::TILED_ROWS;
use crate::model::Outline;

/// Elements of a row of something, in the layer that has experts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpertScratch {
    experts: u64,
    /// Experts that a token uses.
    used: u64,
    /// Of what one expert is given and gives, in the larger of its tables.
    copied: u64,
    /// Of what all tables of an expert give.
    given: u64,
    /// Of what all other matrices of the layer give.
    others: u64,
    /// Of the residual stream, or of an expert where that is wider.
    width: u64,
}

impl ExpertScratch {
    /// `None` for a model without experts.
    pub(super) fn of(outline: &Outline) -> Option<Self> {
        let used = Mixture::of(outline)?.used as u64;
        let layer = outline.experts.first()?.layer();
        let tables = outline.experts.iter().filter(|t| t.layer() == layer);
        let others = outline.layers.iter().filter(|t| t.layer() == layer);
        let sum = |rows: &mut dyn Iterator<Item = u64>| rows.fold(0, u64::saturating_add);
        let largest = |rows: &mut dyn Iterator<Item = u64>| rows.max().unwrap_or(0);
        Some(Self {
            experts: largest(&mut tables.clone().map(|t| t.dims[2])),
            used,
            copied: largest(&mut tables.clone().map(|t| t.dims[0].saturating_add(t.dims[1]))),
            given: sum(&mut tables.clone().map(|t| t.dims[1])),
            others: sum(&mut others.map(|t| t.dims[1].saturating_mul(t.dims[2]))),
            width: largest(&mut tables.map(|t| t.dims[0].max(t.dims[1]))),
        })
    }

    /// Bytes for passes of up to `tokens` tokens over a context of so many. Logits are not among
    /// them: a wide pass has those of its last token.
    pub(super) fn bytes(&self, ctx_tokens: usize, tokens: usize) -> u64 {
        let tokens = (tokens as u64).max(WidthClass::BATCH.max as u64);
        let more = tokens - WidthClass::BATCH.max as u64;
        // Products with experts are copied where rows are added (see `Bits::Batch`): at most so
        // many for each expert that is used.
        let chosen = tokens.saturating_mul(self.used);
        let added = self
            .experts
            .min(chosen)
            .saturating_mul(TILED_ROWS as u64 - 1);
        let apart = self.copied.saturating_mul(chosen.saturating_add(added));
        // Of a layer's results either those of its experts are there, or those of the rest and what
        // is made of them.
        let results = self
            .given
            .saturating_mul(self.used)
            .max(self.others.saturating_mul(2));
        let wide = results
            .saturating_add(self.width.saturating_mul(8))
            .saturating_mul(more);
        // A mask over all cells, as halves and, in some graphs, as floats.
        let mask = (ctx_tokens as u64).saturating_mul(6).saturating_mul(more);
        apart
            .saturating_add(wide)
            .saturating_mul(4)
            .saturating_add(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_passes_and_many_experts_take_more() {
        let shape = ExpertScratch {
            experts: 128,
            used: 8,
            copied: 2816,
            given: 3584,
            others: 10_000,
            width: 2048,
        };
        // 63 tokens that use 8 experts each, and 7 rows more for each of 128, of 2,816 floats.
        assert_eq!(shape.bytes(1024, 63), (504 + 896) * 2816 * 4);
        assert_eq!(shape.bytes(1024, 1), shape.bytes(1024, 63));
        let wide = shape.bytes(1024, 512);
        assert!((100 << 20..200 << 20).contains(&wide), "{wide}");
        assert!(shape.bytes(32_768, 512) > wide);
    }
}
