//! What was built: for `--version`.

use crate::ggml;
use std::collections::BTreeSet;
use std::path::Path;

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

/// Names of ggml's backends in the folder that [`ggml::init`] would take; all variants of the
/// CPU's are one. Empty where it would find none.
pub fn backends() -> BTreeSet<String> {
    let folders = ggml::backend_folders();
    let mut found = folders.iter().map(|folder| backends_in(folder));
    found
        .find(|names| names.contains("cpu"))
        .unwrap_or_default()
}

fn backends_in(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| backend(&entry.ok()?.file_name().to_string_lossy()))
        .collect()
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
    fn backends_of_a_folder_are_named_once() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "libggml-cpu-haswell.so",
            "libggml-cpu-zen4.so",
            "libggml-base.so",
            "nmos",
        ] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        assert_eq!(backends_in(dir.path()), BTreeSet::from(["cpu".to_owned()]));
        assert!(backends_in(&dir.path().join("absent")).is_empty());
    }

    #[test]
    fn a_backend_is_named_by_its_file() {
        assert_eq!(backend("libggml-cpu-haswell.so").as_deref(), Some("cpu"));
        assert_eq!(backend("libggml-cuda.so").as_deref(), Some("cuda"));
        assert_eq!(backend("libggml-base.so.0"), None);
        assert_eq!(backend("libggml.so"), None);
        assert_eq!(backend("nmos"), None);
    }
}
