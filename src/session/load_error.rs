//! Why a session's models cannot be loaded.

use super::intent_backlog::Ended;
use crate::experts::RecordError;
use crate::ggml::llama::LlamaError;
use crate::model::{ChatError, GgufError};
use crate::oracle::OpenError;
use crate::plan::PlacementError;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// What failed, by the stage that it failed in; says so in a user's words.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A model that cannot be used, memory or a device that cannot be had, too little of it, or a
    /// draft with another vocabulary.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The oracle's weights, or memory for them.
    #[error(transparent)]
    Oracle(#[from] OpenError),
    #[error(transparent)]
    Vocabulary(#[from] LlamaError),
    #[error(transparent)]
    Header(#[from] GgufError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(
        "{} is no mixture whose experts come and go: there is no routing to record",
        .0.display()
    )]
    NothingToRecord(PathBuf),
    #[error("{} has no experts that tokens choose among: leave --experts out", .0.display())]
    NoExperts(PathBuf),
    /// The chat template that was asked for.
    #[error(transparent)]
    Template(#[from] ChatError),
}

/// Why nothing is loaded.
pub(super) enum Unloaded {
    /// Whoever asked for the end knows of it.
    Ended,
    Failed(Box<LoadError>),
}

impl From<Ended> for Unloaded {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl<E: Into<LoadError>> From<E> for Unloaded {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error.into()))
    }
}

/// An error with all its causes, in one line.
pub(super) struct WithCauses<'a>(pub &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let causes = std::iter::successors(self.0.source(), |&cause| cause.source());
        for cause in causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionError;
    use std::io;

    #[test]
    fn a_session_that_cannot_load_says_all_causes_as_one() {
        let why = || OpenError::Tensor {
            path: "m.gguf".into(),
            tensor: "output.weight".to_owned(),
            why: io::Error::other("gone"),
        };
        let error = SessionError::Load(why().into());
        let said = "m.gguf: reading output.weight failed: gone";
        assert_eq!(error.to_string(), said);
        assert_eq!(
            error.to_string(),
            format!("{:#}", anyhow::Error::new(why()))
        );

        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Outer(&'static str, #[source] io::Error);
        let outer = || Outer("cannot draft", io::Error::other("other tokens"));
        let said = WithCauses(&outer()).to_string();
        assert_eq!(said, "cannot draft: other tokens");
        assert_eq!(said, format!("{:#}", anyhow::Error::new(outer())));
    }
}
