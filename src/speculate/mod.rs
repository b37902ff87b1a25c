//! Guessing what the oracle will say, and checking it losslessly.
//!
//! A [`Draft`] proposes a chain of tokens; the oracle computes all of them in one pass;
//! [`accept()`] walks from the root and keeps what the oracle itself would have chosen:
//!
//! ```text
//!  drafted:   a -- b -- c -- d          oracle's choices:  a -> b, b -> c, c -> x
//!  kept:      a -- b -- c, then x       (x came free with the pass that rejected d)
//! ```

mod accept;
mod draft;
mod sampler;

pub use accept::{Accepted, accept};
pub use draft::{DRAFT_BATCH, Draft, Drafted, LengthRule};
pub use sampler::{Sampler, Sampling};
