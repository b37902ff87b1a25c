//! What a drafter says of one token.

use crate::units::TokenId;

/// A token that may follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    pub token: TokenId,
    /// The probability that the drafter states.
    pub p: f32,
    /// Which of the drafter's calibration classes it is in, below
    /// [`Drafter::classes`](super::Drafter::classes).
    pub class: usize,
}
