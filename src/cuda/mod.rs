//! The edge to CUDA's driver: memory that is mapped by hand. All else on a GPU goes through
//! ggml.
//!
//! The driver's library is looked for when a device asks for memory, never before: without one
//! the program starts and runs on the CPU.

mod call;
mod driver;
mod range;

pub use call::CudaError;
pub use range::VirtualRange;
