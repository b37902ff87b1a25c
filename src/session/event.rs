//! What a session says to its clients.
//!
//! ```text
//!  all clients     Ready, Notice*, and Fatal where it cannot go on
//!  who asked       (Submitted -> Thought* -> Text*) -> Done | Failed    of each request, with its id
//! ```
//!
//! Events come in order over a channel that never drops. A request ends with exactly one `Done`
//! or `Failed`, also where it was cancelled, and has no `Submitted` where that was before its turn;
//! where the session ends first, the channel closes.

use super::load_error::{LoadError, WithCauses};
use super::request::{RequestError, RequestId};
use crate::experts::RecordError;
use crate::experts::profile_file::ProfileError;
use crate::oracle::OracleError;
use crate::speculate::{DraftError, DraftOpenError};
use crate::telemetry::AnswerStats;
use crate::typing::EditError;
use std::io;
use std::sync::Arc;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Models are ready.
    Ready,
    /// Something that a user should know and that stops nothing.
    Notice(Notice),
    /// The session cannot go on.
    Fatal(Arc<SessionError>),
    /// What became of a request, or of a prompt that was typed.
    Request(RequestId, RequestEvent),
}

/// What happened to one request.
#[derive(Clone, Debug)]
pub enum RequestEvent {
    /// Its answer begins. The prompt's text is what the session understood of the edits.
    Submitted { prompt: String },
    /// Verified text of what the model thinks before it answers, whole characters, and the tokens
    /// of all of it so far.
    Thought { text: String, tokens: u64 },
    /// Verified text of the answer, whole characters.
    Text(String),
    /// The answer ended; its figures say why.
    Done(Box<AnswerStats>),
    /// There is no answer, or no more of it; the next request works.
    Failed(RequestError),
}

impl RequestEvent {
    /// Whether nothing more comes of the request.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_))
    }
}

/// Something that a user should know and that stops nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Notice {
    /// Of the setup: what was left out or replaced, in a user's words.
    #[error("{0}")]
    Setup(String),
    /// Of the chat template, in a user's words.
    #[error("{0}")]
    Template(String),
    #[error("an empty prompt has no answer")]
    EmptyPrompt,
    #[error("an edit was left out: {0}")]
    Edit(EditError),
    #[error("{}: nothing more is recorded", WithCauses(.0.as_ref()))]
    Recording(Arc<RecordError>),
    #[error("{}", WithCauses(.0.as_ref()))]
    Profile(Arc<ProfileError>),
    #[error("working ahead failed: {0}")]
    WorkAhead(Arc<OracleError>),
    #[error("the draft failed and is left out from now on: {0}")]
    Draft(Arc<DraftFailure>),
}

/// Why a draft was left out in the middle of a session.
#[derive(Debug, thiserror::Error)]
pub enum DraftFailure {
    #[error(transparent)]
    Open(#[from] DraftOpenError),
    #[error(transparent)]
    Decode(#[from] DraftError),
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("no thread for the session: {0}")]
    Thread(#[source] io::Error),
    /// The models cannot be loaded. Says all causes at once.
    #[error("{}", WithCauses(.0))]
    Load(LoadError),
}
