//! What the feed-forwards of a text are given, for those who say which expert a token would choose.

use super::LayerOracle;
use crate::oracle::{Oracle, OracleError, TokenTree, WidthClass};
use crate::units::TokenId;

impl LayerOracle {
    /// Reads and commits `tokens`, at most a pass of [`WidthClass::BATCH`]. By layer: the hidden
    /// states `[n_embd, tokens]` between its attention and its feed-forward, before the norm.
    ///
    /// # Errors
    /// As [`Oracle::pass`].
    pub fn feed_forward_inputs(
        &mut self,
        tokens: &[TokenId],
    ) -> Result<Vec<Vec<f32>>, OracleError> {
        self.steps.feed_forward_inputs = Some(Vec::with_capacity(self.shape.n_layer));
        let passed = self.pass(&TokenTree::chain(tokens, tokens.len()), WidthClass::BATCH);
        let mut inputs = self.steps.feed_forward_inputs.take().unwrap_or_default();
        passed?;
        self.commit(&(0..tokens.len()).collect::<Vec<_>>());
        for input in &mut inputs {
            // What follows is padding.
            input.truncate(tokens.len() * self.shape.n_embd);
        }
        Ok(inputs)
    }
}
