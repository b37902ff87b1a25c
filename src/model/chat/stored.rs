//! The chat template in a model's file, which may hold several, each with a name.

use crate::model::{Gguf, GgufError};

const KEY: &str = "tokenizer.chat_template";

/// Variants that are no plain chat's: taken only where there is no other.
const SPECIAL: [&str; 2] = ["rag", "tool_use"];

/// The template for chats: the one without a name, else the one named `default`, else another.
///
/// # Errors
/// Where the file holds something else under its key.
pub fn stored_template(gguf: &Gguf) -> Result<Option<&str>, GgufError> {
    if let Some(template) = gguf.str(KEY)? {
        return Ok(Some(template));
    }
    let variants = gguf.metadata.iter().filter_map(|(key, _)| {
        let name = key.strip_prefix(KEY)?.strip_prefix('.')?;
        Some((name != "default", SPECIAL.contains(&name), key))
    });
    match variants.min() {
        Some((.., key)) => gguf.str(key),
        None => Ok(None),
    }
}
