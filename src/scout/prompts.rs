//! Labelled prompts, one JSON object a line, and what a user would have typed of each.

use crate::vocabulary::Label;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A prompt whose label is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prompt {
    #[serde(default)]
    pub id: String,
    /// Where it comes from: evaluation keeps whole sources apart.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    pub label: Label,
    /// The part that a user would paste, in Unicode scalar values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paste_span: Option<[usize; 2]>,
    pub text: String,
}

/// A file of prompts that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptsError {
    #[error("cannot read the prompts {}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}, line {line}: not a labelled prompt: {fault}", path.display())]
    Bad {
        path: PathBuf,
        line: usize,
        fault: String,
    },
}

impl Prompt {
    /// Reads a file of prompts; empty lines are skipped.
    pub fn load(path: &Path) -> Result<Vec<Self>, PromptsError> {
        let text = std::fs::read_to_string(path).map_err(|source| PromptsError::Io {
            path: path.to_owned(),
            source,
        })?;
        let lines = text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty());
        lines
            .map(|(line, number)| {
                serde_json::from_str(line).map_err(|e| PromptsError::Bad {
                    path: path.to_owned(),
                    line: number,
                    fault: e.to_string(),
                })
            })
            .collect()
    }

    /// The text without what would be pasted.
    pub fn typed(&self) -> String {
        let Some([start, end]) = self.paste_span else {
            return self.text.trim().to_owned();
        };
        let typed: String = self
            .text
            .chars()
            .zip(0..)
            .filter(|(_, at)| !(start..end).contains(at))
            .map(|(c, _)| c)
            .collect();
        typed.trim().to_owned()
    }

    /// The same prompt as if nothing were pasted.
    #[must_use]
    pub fn typed_only(&self) -> Self {
        Self {
            text: self.typed(),
            paste_span: None,
            ..self.clone()
        }
    }

    /// What is typed of it after `chars` characters.
    pub fn typed_until(&self, chars: usize) -> String {
        self.typed().chars().take(chars).collect()
    }
}
