//! What a hub may answer instead of what was asked for, in a user's words.

use std::io;
use std::time::Duration;

use super::TokenSource;

/// A hub that could not be reached, or refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    #[error("cannot reach {endpoint} ({why}); is this machine offline?")]
    Unreachable { endpoint: String, why: String },
    #[error("no answer within {:.1} s from {endpoint}; is this machine offline?", within.as_secs_f64())]
    NoAnswer { endpoint: String, within: Duration },
    #[error("the transfer of {file} broke off ({why}); what arrived is kept")]
    BrokeOff { file: String, why: String },
    #[error("{endpoint} is busy (status {status}); try again later")]
    Busy { endpoint: String, status: u16 },
    #[error(
        "{repository} is gated: accept its conditions at {page}, {}",
        what_then(token.as_ref())
    )]
    Gated {
        repository: String,
        page: String,
        token: Option<TokenSource>,
    },
    #[error("there is no repository {repository}{}", perhaps_private(token.as_ref()))]
    NoRepository {
        repository: String,
        token: Option<TokenSource>,
    },
    #[error("{repository} has no file {file}")]
    NoFile { repository: String, file: String },
    #[error("{endpoint} refuses the token from {token}: it is wrong or has expired")]
    BadToken {
        endpoint: String,
        token: TokenSource,
    },
    #[error("{endpoint} refused (status {status}{}{message})", if message.is_empty() { "" } else { ": " })]
    Refused {
        endpoint: String,
        status: u16,
        message: String,
    },
    #[error("{endpoint} does not serve parts of files, which resuming needs")]
    NoRanges { endpoint: String },
    #[error("{endpoint} answered what is not understood: {what}")]
    NotUnderstood { endpoint: String, what: String },
}

impl HubError {
    /// Whether the same question may be answered a little later.
    pub fn passes(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NoAnswer { .. }
                | Self::BrokeOff { .. }
                | Self::Busy { .. }
        )
    }
}

fn what_then(token: Option<&TokenSource>) -> String {
    match token {
        Some(token) => format!("with the account of the token from {token}"),
        None => "then log in with `hf auth login` or set HF_TOKEN".to_owned(),
    }
}

fn perhaps_private(token: Option<&TokenSource>) -> String {
    match token {
        Some(token) => format!(", or the token from {token} may not see it"),
        None => ", or it is private: log in with `hf auth login` or set HF_TOKEN".to_owned(),
    }
}

/// Why a read from a hub ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Whoever took the bytes could not, or wanted no more.
    #[error("{0}")]
    Sink(io::Error),
}
