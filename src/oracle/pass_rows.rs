//! Which rows of a pass are tokens, and which padding.

use crate::ggml::llama::BatchToken;

/// Padding comes after the tokens. A layer computes all rows, or those alone whose logits are
/// wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PassRows {
    all: Rows,
    wanted: Rows,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rows {
    rows: usize,
    /// Of them.
    tokens: usize,
}

impl PassRows {
    /// Of a batch, whose first `tokens` rows are tokens.
    pub(super) fn of(batch: &[BatchToken], tokens: usize) -> Self {
        let wanted = |batch: &[BatchToken]| batch.iter().filter(|token| token.logits).count();
        Self {
            all: Rows {
                rows: batch.len(),
                tokens,
            },
            wanted: Rows {
                rows: wanted(batch),
                tokens: wanted(&batch[..tokens]),
            },
        }
    }

    /// Tokens of the pass.
    pub(super) fn tokens(self) -> usize {
        self.all.tokens
    }

    /// How many of the first rows of a layer that computes `rows` of them are tokens.
    pub(super) fn tokens_of(self, rows: usize) -> usize {
        let known = [self.all, self.wanted];
        let known = known.into_iter().find(|known| known.rows == rows);
        known.map_or(rows, |known| known.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_told_from_tokens_in_any_layer() {
        let batch = [false, true, false, true, true].map(|logits| BatchToken {
            token: 1,
            position: 0,
            sequences: vec![0],
            logits,
        });
        let rows = PassRows::of(&batch, 3);
        assert_eq!(rows.tokens(), 3);
        assert_eq!(
            (rows.tokens_of(5), rows.tokens_of(3), rows.tokens_of(4)),
            (3, 1, 4)
        );
    }
}
