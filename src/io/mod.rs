//! The edge to the operating system: memory regions, files read and written around the page
//! cache, asynchronous block transfers, and signals that end the process. One of the few places
//! with `unsafe` (the others are `ggml` and `cuda`).
//!
//! ```text
//!  Queue          continues short transfers, tries failed ones once more, names file and offset
//!    BlockIo      does each request once:   Uring (io_uring)   or   Psync (pread, pwrite)
//!      Region  <-->  BlockFile
//! ```
//!
//! Ownership contract of a transfer in flight: a [`ReadRequest`] or [`WriteRequest`] owns the
//! [`Region`] that it fills or is made from (a reference to the arena), and the engine keeps the
//! request until the kernel has reported it complete, also while it is being dropped. Memory that
//! the kernel may use is therefore never unmapped. That the bytes are not *used* meanwhile is the
//! caller's business (for weights: `river::ring`).

mod arena;
mod block_io;
mod direct_file;
mod failure;
pub mod fatal;
pub mod map;
mod open;
mod psync;
mod queue;
mod read_ahead;
mod uring;

pub use arena::{Arena, Region};
pub use block_io::{
    BlockIo, BlockReader, BlockWriter, Completion, Direction, ReadRequest, Request, WriteRequest,
};
pub use direct_file::{BLOCK, BlockFile, FileChange, RowFile};
pub use failure::TransferFailure;
pub use open::{open_reader, open_writer};
pub use psync::{PreadReader, Psync, PwriteWriter};
pub use queue::{Failed, Progress, Queue};
pub use read_ahead::read_ahead;
pub use uring::{Uring, UringReader, UringWriter};
