//! How fast the machine's disk is, and what it is best read with.
//!
//! ```text
//!  disk::measure(file, sizes) -> gigabytes a second, as a session would read it
//!  disk::tune(file)           -> depth and block size, by trying a few of each
//!  tuning                     -> the result, kept in the user's cache for every session
//! ```
//!
//! Everything here costs a second or two and some tens of megabytes while it runs. Gigabytes
//! are decimal.

pub mod disk;
mod tuning;

pub use tuning::{Tuning, TuningError, Tunings};
