//! The draft that a session gets, or why it gets none.

use super::PlacementError;
use crate::model::Gguf;
use crate::units::Bytes;
use std::error::Error;
use std::fmt;

/// What drafts.
#[derive(Debug)]
pub enum DraftChoice {
    /// None is wanted, or nothing is to be guessed.
    None,
    /// Its index; its weights are not loaded.
    Model(Box<Gguf>),
    /// The default one, for a reason.
    LeftOut(LeftOut),
}

impl DraftChoice {
    pub fn model(&self) -> Option<&Gguf> {
        match self {
            Self::Model(index) => Some(index),
            Self::None | Self::LeftOut(_) => None,
        }
    }

    /// Why there is none although the default would have had one.
    pub fn left_out(&self) -> Option<&LeftOut> {
        match self {
            Self::LeftOut(why) => Some(why),
            Self::None | Self::Model(_) => None,
        }
    }
}

/// Why the default draft is not used. Prints as a sentence for the user.
#[derive(Debug)]
pub enum LeftOut {
    /// It is not there.
    Missing(String),
    /// It cannot be opened, or speaks of other tokens.
    Unusable(Box<PlacementError>),
    /// Memory is too little for both.
    TooLarge(Box<PlacementError>),
    /// In its memory, weights make answers faster.
    Slower(Slower),
}

impl LeftOut {
    /// Whether another file would help. Nothing helps where memory is better used for weights.
    pub fn can_be_mended(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Unusable(_))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            Self::Slower(slower) => return slower.fmt(f),
            Self::Missing(why) => why.clone(),
            Self::Unusable(error) | Self::TooLarge(error) => with_causes(&**error),
        };
        write!(
            f,
            "no draft, so that answers are slower: the default one is left out ({why})"
        )
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// A draft that is left out because its memory is better used for weights.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "no draft: in {memory} of memory that it would take, weights make answers faster (an estimate: \
     {without:.1} tokens/s instead of {with:.1}); --draft NAME takes one all the same"
)]
pub struct Slower {
    /// That the draft would take.
    pub memory: Bytes,
    /// Tokens a second.
    pub with: f64,
    pub without: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VocabularyMismatch;
    use crate::plan::TooSmall;

    fn too_small() -> PlacementError {
        let error = TooSmall {
            ram: Bytes::mib(1),
            least: Bytes::mib(9),
            drafted: false,
            ctx_tokens: 256,
            nodes: 1,
            head: None,
        };
        error.into()
    }

    #[test]
    fn only_another_file_mends_a_draft_that_is_left_out() {
        for (why, mended) in [
            (LeftOut::Missing("it is not here".into()), true),
            (LeftOut::Unusable(Box::new(too_small())), true),
            (LeftOut::TooLarge(Box::new(too_small())), false),
        ] {
            assert_eq!(why.can_be_mended(), mended, "{why}");
            assert!(why.to_string().contains("the default one is left out ("));
        }
    }

    #[test]
    fn causes_are_told_once_each() {
        let error = PlacementError::OtherTokens {
            oracle: "o.gguf".into(),
            draft: "d.gguf".into(),
            source: Box::new(VocabularyMismatch::Token {
                id: 7,
                oracle: "a".into(),
                draft: "b".into(),
            }),
        };
        let text = with_causes(&error);
        let (first, cause) = text.split_once(": ").unwrap();
        assert_eq!(first, "d.gguf cannot draft for o.gguf");
        assert!(
            cause.contains('7') && text.matches("cannot draft").count() == 1,
            "{text}"
        );
        assert!(!with_causes(&too_small()).contains("9 MiB: "));
    }
}
