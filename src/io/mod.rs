//! The edge to the operating system: memory regions, files read around the page cache,
//! asynchronous block reads, and signals that end the process. One of the few places with `unsafe` (the others are `ggml` and `cuda`).
//!
//! Ownership contract of a read in flight: a [`ReadRequest`] owns the [`Region`] that it
//! fills (a reference to the arena), and the reader keeps the request until the kernel has
//! reported it complete, also while it is being dropped. Memory that the kernel may write is
//! therefore never unmapped. That the bytes are not *used* meanwhile is the ring's business
//! (`river::ring`).

mod ahead;
mod arena;
mod direct_file;
pub mod fatal;
pub mod map;
mod reader;
mod uring;

pub use ahead::read_ahead;
pub use arena::{Arena, Region};
pub use direct_file::{BLOCK, BlockFile, FileChange, RowFile};
pub use reader::{BlockReader, Completion, PreadReader, ReadRequest, open_reader};
pub use uring::UringReader;
