//! The operating system's edge: file mappings.
pub mod map;
