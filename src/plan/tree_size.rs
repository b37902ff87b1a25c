//! How large a pass's tree may be.

/// Most nodes of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeSize {
    /// What costs and acceptance make best.
    #[default]
    Auto,
    /// As many as this, best first. One: no guesses.
    Fixed(usize),
    /// So many guesses, one behind the other.
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
