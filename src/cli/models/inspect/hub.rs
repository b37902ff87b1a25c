//! `nmos models inspect OWNER/REPO[:QUANT]`: a model that is still at its hub, by its header alone.
//!
//! Where the header is longer than may be read (very large vocabularies come before the tensors),
//! what has come of it is told, and that it is not all.

use super::InspectArgs;
use crate::config::Settings;
use crate::model::catalog::{self, Named};
use crate::model::gguf::Beginning;
use crate::model::hub::HubName;
use crate::model::pull::hub::HuggingFace;
use crate::model::pull::remote_header::{self, Limits, RemoteHeader, RemoteModel};
use crate::model::store::Store;
use crate::tui::clean_line;
use crate::units::Bytes;
use anyhow::anyhow;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// The model of a hub that `file` means, unless it is a file, or has been pulled.
pub(super) fn at_its_hub(file: &OsStr, store: &Store) -> anyhow::Result<Option<HubName>> {
    let named = file.to_str().and_then(catalog::named);
    let Some(Named::Hub(name)) = named.filter(|_| !Path::new(file).exists()) else {
        return Ok(None);
    };
    let here = store.hub_models_named(&name)?;
    let mut whole = Vec::new();
    for entry in &here {
        whole.push(store.presence(entry)? != crate::model::store::Presence::Absent);
    }
    Ok((!whole.contains(&true)).then_some(name))
}

/// Reads the model's header from its hub and prints what it says.
pub(super) fn inspect(
    arguments: &InspectArgs,
    hub: &HuggingFace,
    name: &HubName,
    settings: &Settings,
    out: &mut (impl Write + ?Sized),
) -> anyhow::Result<()> {
    let model = remote_header::read(hub, name, Limits::default())
        .map_err(|error| anyhow!("cannot inspect {name}: {error}"))?;
    match &model.header {
        RemoteHeader::Whole(files) => {
            // The temporary file's name says nothing to anyone.
            let path = files.path().display().to_string();
            let report = super::describe(files.path(), &model.name, settings)
                .map_err(|error| anyhow!("{}", format!("{error:#}").replace(&path, &model.name)))?;
            arguments.print(report, out)
        }
        RemoteHeader::Beginning(beginning) => {
            let glimpse = Glimpse::of(&model, beginning);
            let mut out = out;
            crate::cli::output::print(&glimpse, arguments.json, &mut out, Glimpse::print)?;
            Ok(())
        }
    }
}

/// What the beginning of a header says. The names are those of the whole report, where it has them.
#[derive(Debug, Serialize)]
struct Glimpse {
    path: String,
    name: Option<String>,
    architecture: Option<String>,
    layers: Option<u64>,
    files_bytes: u64,
    tensors: u64,
    context_tokens: Option<u64>,
    experts: Option<u64>,
    experts_used: Option<u64>,
    /// Always, since a whole header is reported in another way.
    header_incomplete: bool,
    read_bytes: u64,
}

impl Glimpse {
    fn of(model: &RemoteModel, beginning: &Beginning) -> Self {
        let text = |key| beginning.text(key).map(str::to_owned);
        let architecture = text("general.architecture");
        let number = |key: &str| {
            let architecture = architecture.as_ref()?;
            beginning.u64(&format!("{architecture}.{key}"))
        };
        Self {
            path: model.name.clone(),
            name: text("general.name"),
            layers: number("block_count"),
            files_bytes: model.size,
            tensors: beginning.tensors,
            context_tokens: number("context_length"),
            experts: number("expert_count"),
            experts_used: number("expert_used_count"),
            header_incomplete: true,
            read_bytes: model.read,
            architecture,
        }
    }

    fn print(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let name = self.name.as_ref().unwrap_or(&self.path);
        writeln!(out, "{}", clean_line(name))?;
        writeln!(out, "  {}\n", self.path)?;
        let mut field = |label: &str, text: String| writeln!(out, "{label:<15} {text}");
        if let Some(architecture) = &self.architecture {
            let layers = self
                .layers
                .map_or(String::new(), |n| format!(", {n} layers"));
            field(
                "architecture",
                format!("{}{layers}", clean_line(architecture)),
            )?;
        }
        if let (Some(all), Some(used)) = (self.experts, self.experts_used) {
            field("experts", format!("{used} of {all} a layer for each token"))?;
        }
        field("file", Bytes(self.files_bytes).to_string())?;
        field("tensors", self.tensors.to_string())?;
        if let Some(tokens) = self.context_tokens {
            field("context", format!("{tokens} tokens"))?;
        }
        writeln!(
            out,
            "\nThis is the beginning of its header, which is longer than the {} that were read;\n\
             `nmos models pull {}` fetches all of it.",
            Bytes(self.read_bytes),
            self.path
        )
    }
}
