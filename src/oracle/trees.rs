//! What an oracle promises of trees.

use super::WidthClass;

/// Which trees an oracle takes, and what their shape does to the bits of a token's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trees {
    /// Branches: within a width class the logits of a token are the same bits in any tree (batch
    /// invariance). So are the texts of answers.
    Exact,
    /// Branches: the logits of a token differ by rounding between trees of other shapes. Every
    /// token is the oracle's own choice in the pass that verified it; with another tree a text can
    /// differ only from where two tokens' logits are within rounding of each other.
    Rounded,
    /// Chains of at most [`WidthClass::BATCH`]: committing one of several branches would change
    /// bits. Within a class chains are exact.
    Chains,
    /// The same without padding, as where a state is carried from token to token: bits depend on how
    /// many tokens a pass has, so that a text can differ as with [`Trees::Rounded`].
    RoundedChains,
}

impl Trees {
    /// Whether several guesses may follow a token.
    pub fn branch(self) -> bool {
        !matches!(self, Self::Chains | Self::RoundedChains)
    }

    /// Whether the logits of a token differ by rounding between passes of other shapes.
    pub fn round(self) -> bool {
        matches!(self, Self::Rounded | Self::RoundedChains)
    }

    /// The classes from which an answer's is chosen by cost, the narrowest first.
    pub fn classes(self) -> &'static [WidthClass] {
        match self {
            Self::Exact => &WidthClass::ALL,
            Self::Rounded | Self::RoundedChains => &[WidthClass::DEVICE],
            Self::Chains => &[WidthClass::NARROW, WidthClass::BATCH],
        }
    }

    /// The class of answers that depend on nothing but model, prompt and sampling.
    pub fn invariant(self) -> WidthClass {
        match self {
            Self::Exact => WidthClass::PLAIN,
            Self::Rounded | Self::RoundedChains => WidthClass::DEVICE,
            Self::Chains => WidthClass::NARROW,
        }
    }
}
