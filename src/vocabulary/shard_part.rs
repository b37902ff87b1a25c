//! What part of the model a shard is.

/// What part of the model a shard is: it selects the graph that computes with the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardPart {
    Attention,
    FeedForwardUp,
    FeedForwardDown,
    /// All of it, where the graph is llama.cpp's.
    Whole,
    Head,
}

impl ShardPart {
    /// Its name in a few columns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attention => "attn",
            Self::FeedForwardUp => "ffn up",
            Self::FeedForwardDown => "ffn down",
            Self::Whole => "whole",
            Self::Head => "head",
        }
    }
}
