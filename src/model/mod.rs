//! Model files: what is in them (`gguf`), which are known by name and where they come from.
pub mod gguf;
