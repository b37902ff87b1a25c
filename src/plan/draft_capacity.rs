//! The capacity of a draft: known before it is loaded, so that its memory can be counted.

/// How much of a tree a draft can hold, and how much of the tree it computes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftCapacity {
    /// Most tokens of a decode. Scratch memory grows with this.
    pub batch: usize,
    /// Most branches at a time. llama.cpp keeps a row of logits for each.
    pub sequences: usize,
    /// Cells for guesses, in addition to those for the text.
    pub nodes: usize,
    /// Guesses for a node.
    pub guesses: usize,
}

impl DraftCapacity {
    /// For a draft on the CPU: a larger batch would hardly be faster.
    pub const HOST: Self = Self {
        batch: 16,
        sequences: 32,
        nodes: 256,
        guesses: 8,
    };

    /// For a draft on a GPU, with trees of some hundred nodes.
    pub const DEVICE: Self = Self {
        batch: 32,
        sequences: 128,
        nodes: 1024,
        guesses: 32,
    };
}
