//! Why a memory cannot be divided, and what would help.

use super::VramTooSmall;
use crate::units::Bytes;

/// The smallest context that can be asked for.
pub const LEAST_CTX: usize = 256;

/// Memory is too little.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DivisionError {
    #[error(transparent)]
    Ram(#[from] TooSmall),
    #[error(transparent)]
    Vram(#[from] VramTooSmall),
}

/// The budget is too small to stream through.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{ram} of memory are too little for this model with this {}context: the least that works is {} \
     MiB; {}{}",
    if *drafted { "draft and " } else { "" },
    least.0.div_ceil(Bytes::MIB), self.remedies(), of_that(*head)
)]
pub struct TooSmall {
    pub ram: Bytes,
    pub least: Bytes,
    /// A model guesses.
    pub drafted: bool,
    pub ctx_tokens: usize,
    /// Most nodes of a pass.
    pub nodes: usize,
    /// The output matrix, where it has to stay.
    pub head: Option<Bytes>,
}

impl TooSmall {
    /// What would help and has not been done.
    fn remedies(&self) -> String {
        let less = [
            (self.drafted, "--draft none"),
            (self.ctx_tokens > LEAST_CTX, "a smaller --ctx"),
            (self.nodes > 1, "a smaller --tree"),
        ];
        let less: Vec<_> = less.iter().filter(|(helps, _)| *helps).collect();
        let less: Vec<_> = less.iter().map(|(_, what)| *what).collect();
        let more = "give more with --ram";
        match less.split_last() {
            None => more.to_owned(),
            Some((last, [])) => format!("{more}, or take {last}"),
            Some((last, others)) => format!("{more}, or take {} or {last}", others.join(", ")),
        }
    }
}

fn of_that(head: Option<Bytes>) -> String {
    head.map_or_else(String::new, |head| {
        format!(
            ". {head} of that are the output matrix, which has to stay in memory under llama.cpp's \
             graph"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_not_been_done_is_advised() {
        let refused = |drafted, ctx_tokens, nodes| {
            let refusal = TooSmall {
                ram: Bytes::mib(1),
                least: Bytes::mib(9),
                drafted,
                ctx_tokens,
                nodes,
                head: None,
            };
            refusal.to_string()
        };
        let all = "1 MiB of memory are too little for this model with this draft and context: the \
                   least that works is 9 MiB; give more with --ram, or take --draft none, a smaller \
                   --ctx or a smaller --tree";
        assert_eq!(refused(true, 4096, 16), all);
        assert_eq!(
            refused(false, 256, 1),
            "1 MiB of memory are too little for this model with this context: the least that works \
             is 9 MiB; give more with --ram"
        );
        assert!(refused(false, 512, 1).ends_with("--ram, or take a smaller --ctx"));
    }
}
