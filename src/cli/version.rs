//! What was built: for `--version`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Version and commit.
pub fn short() -> String {
    format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("NMOS_COMMIT"))
}

/// The same and the backends that computing can be done with here.
pub fn long() -> String {
    let found = backends();
    let names = if found.is_empty() {
        "none found".to_owned()
    } else {
        found.into_iter().collect::<Vec<_>>().join(", ")
    };
    format!(
        "{}\nbackends: {names}\ntarget: {}-{}",
        short(),
        std::env::consts::ARCH,
        std::env::consts::OS
    )
}

/// Names of ggml's backends whose libraries are found; all variants of the CPU's are one.
pub fn backends() -> BTreeSet<String> {
    backend_dirs()
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| backend(&entry.ok()?.file_name().to_string_lossy()))
        .collect()
}

/// Where backends are loaded from: beside the executable, and where they were built.
fn backend_dirs() -> Vec<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned));
    let built = option_env!("NMOS_BACKENDS_DIR").map(PathBuf::from);
    beside.into_iter().chain(built).collect()
}

fn backend(file: &str) -> Option<String> {
    let name = file.strip_prefix("libggml-")?;
    let (name, _) = name
        .split_once(".so")
        .or_else(|| name.split_once(".dylib"))?;
    match name.split('-').next()? {
        "base" => None,
        name => Some(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_by_its_file() {
        assert_eq!(backend("libggml-cpu-haswell.so").as_deref(), Some("cpu"));
        assert_eq!(backend("libggml-cuda.so").as_deref(), Some("cuda"));
        assert_eq!(backend("libggml-base.so.0"), None);
        assert_eq!(backend("libggml.so"), None);
        assert_eq!(backend("nmos"), None);
    }
}
