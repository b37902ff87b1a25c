//! (module under construction)

/// Placeholder until the catalogue exists: finds models by path alone.
pub fn resolve(name: &str) -> std::io::Result<std::path::PathBuf> {
    let path = std::path::PathBuf::from(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(std::io::Error::other(format!(
        "there is no model '{name}': give a path to a GGUF file"
    )))
}
