//! Guessing what the oracle will say, and checking it losslessly.
//!
//! Drafters fill a [`DraftTree`] with what may come; the oracle computes the best part of it in
//! one pass; [`accept()`] walks from the tip and keeps what the oracle itself would have chosen:
//!
//! ```text
//!  guessed:  a --+-- b -- c        oracle's choices:  a -> b, b -> c, c -> x
//!                '-- d
//!  kept:     a, b, c, then x       (x came free with the pass that rejected the rest)
//! ```
//!
//! [`Speculator`] is the whole of it. The choice is a function of the oracle's logits, the text,
//! the seed and the position alone ([`Sampler`]): no guess can change an answer.

mod accept;
mod acceptance;
mod ahead;
mod calibration;
mod guess;
mod lookup;
mod model;
mod noise;
mod ranking;
mod sampler;
mod sizing;
mod speculator;
mod tree;
#[cfg(test)]
mod tree_tests;

pub use accept::{Accepted, accept, verify};
pub use acceptance::Acceptance;
pub use calibration::Calibration;
pub use guess::{Drafter, Guess, Source};
pub use lookup::LookupDrafter;
pub use model::{DraftOpenError, ModelDrafter};
pub use sampler::{Ranked, Sampler, Sampling};
pub use sizing::{Frame, Sizing};
pub use speculator::{Growth, Speculator};
pub use tree::{Cut, DraftIdx, DraftNode, DraftTree, NodeKind};
