//! The size of a context.

use crate::ggml::model::Model;
use crate::oracle::WidthClass;

/// llama.cpp rounds a context up to whole runs of so many tokens.
pub(super) const CELL_RUN: usize = 256;

/// How many tokens a context holds, and how many of them can be committed: the rest is for the
/// padding of passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cells {
    pub all: usize,
    pub committed: usize,
}

impl Cells {
    pub fn new(model: &Model, ctx_tokens: usize) -> Self {
        let arch = model.metadata("general.architecture");
        let key = arch.map(|arch| format!("{arch}.rope.scaling.original_context_length"));
        let original = key.and_then(|key| model.metadata(&key));
        Self::within(ctx_tokens, original.and_then(|n| n.parse().ok()))
    }

    /// A model may rotate differently in a context that is longer than its `original` one. Padding
    /// must not make a context that long.
    fn within(ctx_tokens: usize, original: Option<usize>) -> Self {
        let padding = WidthClass::BATCH.max;
        let padded = (ctx_tokens + padding).next_multiple_of(CELL_RUN);
        match original {
            Some(original)
                if ctx_tokens <= original && padded > original && original >= 2 * CELL_RUN =>
            {
                let all = original / CELL_RUN * CELL_RUN;
                Self {
                    all,
                    committed: ctx_tokens.min(all - padding),
                }
            }
            _ => Self {
                all: ctx_tokens + padding,
                committed: ctx_tokens,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_makes_no_context_longer_than_the_original_one() {
        let cells = |ctx, original| {
            let cells = Cells::within(ctx, original);
            (cells.all, cells.committed)
        };
        assert_eq!(cells(4096, None), (4159, 4096));
        assert_eq!(cells(4096, Some(4096)), (4096, 4033));
        assert_eq!(cells(4000, Some(4096)), (4063, 4000));
        assert_eq!(cells(2048, Some(4096)), (2111, 2048));
        assert_eq!(cells(4097, Some(4096)), (4160, 4097));
        assert_eq!(cells(300, Some(300)), (363, 300));
    }
}
