//! Model files: what is in them (`gguf`), what shape they describe (`arch`), how text becomes
//! tokens (`tokenizer`), which are known by name and where they come from.

mod arch;
pub mod gguf;

pub use arch::{Arch, ArchError, LayerTensors, ModelLayout, ModelShape, RopeKind};
pub use gguf::{GgmlType, Gguf, GgufError, TensorInfo};
