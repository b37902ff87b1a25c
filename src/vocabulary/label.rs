//! What a prompt asks for.

use serde::{Deserialize, Serialize};

/// What a prompt asks for, as the scout takes it and acceptance is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Label {
    Code,
    Chat,
    Docs,
}

impl Label {
    pub const ALL: [Self; 3] = [Self::Code, Self::Chat, Self::Docs];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "CODE",
            Self::Chat => "CHAT",
            Self::Docs => "DOCS",
        }
    }
}
