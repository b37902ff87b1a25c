//! Model files: what is in them, which are known by name, and how they get here.
//!
//! ```text
//!   catalog   names -> what the file must be and where it can be had (configs/models.toml)
//!   pull      a source -> staging -> checked -> in place
//!   store     the cache directory and what has been checked in it
//!   gguf      a file -> metadata and where each tensor lies
//! ```
pub mod catalog;
pub mod gguf;
pub mod hash;
pub mod progress;
pub mod pull;
pub mod store;
