//! The model in a folder, where a folder is named instead of a file.

use super::error::{GgufError, GgufFault};
use super::metadata::Value;
use super::{Part, Split};
use std::path::{Path, PathBuf};

/// The only model in `folder`: its file, or the first of its parts. What goes with a model, such
/// as a projector for images, is none.
///
/// # Errors
/// A folder without a model, or with several.
pub fn only_model_in(folder: &Path) -> Result<PathBuf, GgufError> {
    let fail = |fault| Err(GgufError::new(folder, fault));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return fail(GgufFault::from_open(error)),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = paths.filter(|path| is_named_gguf(path)).collect();
    paths.sort();
    let (mut models, mut broken) = (Vec::new(), None);
    for path in paths {
        match Part::open(&path) {
            Ok(part) if part.begins_a_model() => models.push(path),
            Ok(_) => {}
            Err(error) => broken = broken.or(Some(Box::new(error))),
        }
    }
    match models.len() {
        0 => fail(match broken {
            Some(error) => GgufFault::BrokenModelIn(error),
            None => GgufFault::NoModelIn,
        }),
        1 => Ok(models.swap_remove(0)),
        count => fail(GgufFault::ManyModelsIn {
            count,
            first: models.swap_remove(0),
        }),
    }
}

fn is_named_gguf(path: &Path) -> bool {
    let ending = path.extension();
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

impl Part {
    /// Whether it is a model, or the first part of one.
    fn begins_a_model(&self) -> bool {
        let text = |key| match self.metadata.get(key) {
            Some(Value::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let split = Split::of(&self.metadata);
        let arch = text("general.architecture");
        split.is_none_or(|split| split.number == Some(0))
            && arch.is_some_and(|arch| arch != "clip")
            && !matches!(text("general.type"), Some("adapter" | "mmproj" | "imatrix"))
    }
}
