//! `nmos models inspect`: what a model's file is, and how it would run here.
//!
//! ```text
//!  file --> header -----------------------> ModelFacts    (model::inspect)
//!             '-> can llama.cpp open it? --> its vocabulary, for the template and the ends
//!             '-> planner -----------------> the form that it would run in, or why it would not
//! ```
//!
//! Weights are never read: a file of which only the header is here is described in the same way
//! ([`describe`]), as one that is still at its hub ([`hub`]).

mod hub;
mod text;

use crate::config::Settings;
use crate::model::inspect::ModelFacts;
use crate::model::pull::hub::HuggingFace;
use crate::model::store::Store;
use crate::model::{Gguf, Tokenizer, locate, trial};
use crate::plan::{DraftRequest, PlacementError, Planner};
use crate::units::Bytes;
use serde::Serialize;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

/// Tensors that are listed where not all are asked for.
const LARGEST: usize = 5;

/// `nmos models inspect`
#[derive(clap::Args, Clone, Debug)]
pub struct InspectArgs {
    /// A GGUF file, any part of one that is split, a folder with one, the name of a known model, or
    /// `OWNER/REPO:QUANT` of Hugging Face, of which the header alone is read
    pub file: OsString,
    /// List all tensors, not only the largest
    #[arg(long)]
    pub tensors: bool,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

/// Everything that is printed. A field that cannot be known is null.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Report {
    /// The file, or what else the model is called by.
    path: String,
    #[serde(flatten)]
    facts: ModelFacts,
    on_this_machine: OnThisMachine,
}

/// How a session would run it, without a draft.
#[derive(Debug, Default, Serialize)]
struct OnThisMachine {
    /// Why it would not run; all else is null then.
    refused: Option<String>,
    /// `resident`, `streamed` or `hooked`.
    form: Option<&'static str>,
    /// Why llama.cpp's graph would compute it; null where NMOS's own can.
    llama_cpp_since: Option<String>,
    ram_bytes: Option<Bytes>,
    predicted_bytes_a_pass: Option<Bytes>,
    predicted_tokens_per_s: Option<f64>,
}

impl InspectArgs {
    /// Describes the file and prints it.
    pub(super) fn run(
        &self,
        store: &Store,
        settings: &Settings,
        out: &mut (impl Write + ?Sized),
    ) -> anyhow::Result<()> {
        if let Some(name) = hub::at_its_hub(&self.file, store)? {
            return hub::inspect(self, &HuggingFace::from_env(), &name, settings, out);
        }
        let path = locate::resolve_in(&self.file, store)?;
        let report = describe(&path, &path.to_string_lossy(), settings)?;
        self.print(report, out)
    }

    /// Prints a report as it was asked for.
    pub(in crate::cli) fn print(
        &self,
        mut report: Report,
        mut out: &mut (impl Write + ?Sized),
    ) -> anyhow::Result<()> {
        let all = report.facts.weights.tensors.len();
        if !self.tensors {
            report.facts.weights.tensors.truncate(LARGEST);
        }
        crate::cli::output::print(&report, self.json, &mut out, |report, out| {
            text::print(report, all, out)
        })?;
        Ok(())
    }
}

/// Describes the model whose header is in the file at `path`; people are shown `shown` for it.
///
/// # Errors
/// A file that is no GGUF, or is damaged.
pub(in crate::cli) fn describe(
    path: &Path,
    shown: &str,
    settings: &Settings,
) -> anyhow::Result<Report> {
    let gguf = Gguf::open(path)?;
    // Every name means this file.
    let Ok(mut options) = settings.engine_options(|_| Ok::<_, Infallible>(gguf.path().to_owned()));
    options.draft = DraftRequest::None;
    // llama.cpp is not asked in this process what it might end it over.
    let admitted = trial::admit(&gguf, options.ram);
    let tokenizer = match admitted {
        Ok(()) => Tokenizer::open(&gguf).ok(),
        Err(_) => None,
    };
    let on_this_machine = Planner::open(options.plan_request())
        .and_then(|planner| OnThisMachine::planned(&planner))
        .unwrap_or_else(|error| OnThisMachine::refused(&error, path, shown));
    Ok(Report {
        path: shown.to_owned(),
        facts: ModelFacts::read(&gguf, tokenizer.as_ref())?,
        on_this_machine,
    })
}

impl OnThisMachine {
    fn planned(planner: &Planner<'_>) -> Result<Self, PlacementError> {
        let placement = planner.place()?;
        let a_pass = Bytes(placement.form.streamed_bytes() as u64);
        Ok(Self {
            refused: None,
            form: Some(placement.oracle_form().name()),
            llama_cpp_since: planner.oracle.blueprint.left_to_llama(),
            ram_bytes: Some(placement.ledger.limit()),
            predicted_bytes_a_pass: Some(a_pass),
            predicted_tokens_per_s: placement.predicted_tokens_per_s,
        })
    }

    /// The reason without the path, which the report has said.
    fn refused(error: &PlacementError, path: &Path, shown: &str) -> Self {
        let said = format!("{:#}", anyhow::anyhow!(error.to_string()));
        let path = path.display().to_string();
        let said = match said.strip_prefix(&format!("{path}: ")) {
            Some(rest) => rest.to_owned(),
            None => said.replace(&path, shown),
        };
        Self {
            refused: Some(said),
            ..Self::default()
        }
    }
}
