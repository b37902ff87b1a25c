//! Which files a model lies in, as llama.cpp is told.
//!
//! By itself llama.cpp finds the parts of a split model by names of one pattern alone. It is given
//! all of them, so that they may have any.

use super::error::LlamaError;
use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};

/// The file of a model, or its parts in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    first: PathBuf,
    others: Vec<PathBuf>,
}

impl ModelFiles {
    pub fn new(first: impl Into<PathBuf>, others: Vec<PathBuf>) -> Self {
        Self {
            first: first.into(),
            others,
        }
    }

    /// By which errors name the model.
    pub fn first(&self) -> &Path {
        &self.first
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .map(PathBuf::as_path)
    }

    /// Their names as C has them.
    pub(super) fn names(&self) -> Result<Names, LlamaError> {
        let names = self.iter().map(|path| {
            CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| LlamaError::Load {
                path: path.to_owned(),
                why: "its name holds a zero byte".to_owned(),
            })
        });
        Ok(Names(names.collect::<Result<_, _>>()?))
    }
}

impl From<&Path> for ModelFiles {
    fn from(path: &Path) -> Self {
        Self::new(path, Vec::new())
    }
}

impl From<&PathBuf> for ModelFiles {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

/// Texts that end with a zero byte.
pub(super) struct Names(Vec<CString>);

impl Names {
    /// Where each begins; good for as long as `self` is.
    pub(super) fn pointers(&self) -> Vec<*const c_char> {
        self.0.iter().map(|name| name.as_ptr()).collect()
    }
}
