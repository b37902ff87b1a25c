//! Guessing what the oracle will say, and checking it losslessly.
//!
//! Drafters fill a [`DraftTree`] with what may come; the oracle computes the best part of it in
//! one pass; [`verify()`] walks from the tip and keeps what the oracle itself would have chosen:
//!
//! ```text
//!  guessed:  a --+-- b -- c        oracle's choices:  a -> b, b -> c, c -> x
//!                '-- d
//!  kept:     a, b, c, then x       (x came free with the pass that rejected the rest)
//! ```
//!
//! [`Speculator`] is the whole of it. The choice is a function of the oracle's logits, the text,
//! the seed and the position alone ([`Sampler`]): no guess can change an answer.

mod acceptance;
mod asked;
mod calibration;
mod drafter;
mod drafter_set;
mod drafters;
mod grow;
mod guess;
mod limits;
mod noise;
mod ranking;
mod sampler;
mod sizing;
mod speculator;
mod tree;
#[cfg(test)]
mod tree_tests;
mod verify;

pub use acceptance::Acceptance;
pub use calibration::Calibration;
pub use drafter::{Cost, DraftError, Drafter, VerifiedPass};
pub use drafters::lookup::LookupDrafter;
pub use drafters::model::{DraftOpenError, ModelDrafter};
pub use drafters::recycling::RecyclingDrafter;
pub use drafters::{DrafterOptions, at_start, bytes_at_start};
pub use guess::Guess;
pub use limits::{DraftLimits, PassLimits};
pub use sampler::{Ranked, Sampler, Sampling};
pub use sizing::Sizing;
pub use speculator::Speculator;
pub use tree::{Cut, DraftIdx, DraftNode, DraftTree, Source};
pub use verify::{Accepted, verify};
