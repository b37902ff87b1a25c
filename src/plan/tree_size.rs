//! How large a pass's tree may be.

/// Most nodes of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeSize {
    /// Whatever is best by costs and acceptance.
    #[default]
    Auto,
    /// As many as this, best first. One: no guesses.
    Fixed(usize),
    /// So many guesses, one after the other.
    Chain(usize),
}

impl TreeSize {
    /// Most nodes of a pass, the tip counted in, where that is fixed.
    pub fn nodes(self) -> Option<usize> {
        match self {
            Self::Auto => None,
            Self::Fixed(nodes) => Some(nodes),
            Self::Chain(guesses) => Some(guesses + 1),
        }
    }
}
