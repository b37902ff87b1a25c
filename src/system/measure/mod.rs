//! How fast the machine's disk and memory are, and what the disk is best read with.
//!
//! ```text
//!  disk::measure(file, sizes) -> gigabytes a second, as a session would read it
//!  disk::tune(file)           -> depth and block size, by trying a few of each
//!  tuning                     -> the result, kept in the user's cache for every session
//!  memory::bandwidth(threads) -> gigabytes a second of reading and of copying
//! ```
//!
//! Everything here costs a second or two and some tens of megabytes while it runs; memory
//! several times that where the caches are very large. Gigabytes are decimal.

pub mod disk;
pub mod memory;
mod tuning;

pub use tuning::{Tuning, TuningError, Tunings};
