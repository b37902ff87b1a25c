//! How the oracle is run.

use serde::Serialize;

/// How the oracle is run, as people are told: a budget decides it, with what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OracleForm {
    /// All of its weights stay in memory.
    Resident,
    /// Weights come from the disk in every pass, layer by layer.
    Streamed,
    /// Streamed under llama.cpp's own graph.
    Hooked,
}

impl OracleForm {
    /// Its name, in reports and on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Streamed => "streamed",
            Self::Hooked => "hooked",
        }
    }
}
