//! `nmos models list`: the known models, what is here of each, and how each would run here.

use std::io::Write;

use super::known::{self, Known, Size};
use crate::model::catalog::{Entry, Facts};
use crate::model::store::{Presence, State, Store};
use crate::plan::Capacity;
use crate::units::Bytes;

/// Prints the list. What has not been pulled is judged by its size as it is known.
pub(super) fn list(
    store: &Store,
    capacity: Option<&Capacity>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:<20} {:<7} {:<11} {:<11} {:>13}  {:<15} ON THIS MACHINE",
        "NAME", "ROLE", "PARAMETERS", "LICENCE", "SIZE", "STATE"
    )?;
    let mut pulled = store.hub_models()?;
    for known in Known::all() {
        let entry = match known {
            Known::Entry(entry) => Some(entry.clone()),
            Known::Hub(entry) => {
                let here = store.hub_models_named(&entry.hub)?.into_iter().next();
                pulled.retain(|other| here.as_ref().is_none_or(|here| here.file != other.file));
                here
            }
        };
        let here = Here::of(store, entry.as_ref())?;
        let role = known.role().name();
        let row = Row {
            name: known.name(),
            role,
            facts: known.facts(),
            size: here.size(known.size()),
            here,
        };
        row.print(capacity, out)?;
    }
    if !pulled.is_empty() {
        writeln!(out, "\nOther models from Hugging Face:")?;
    }
    for entry in &pulled {
        let here = Here::of(store, Some(entry))?;
        let row = Row {
            name: &entry.name,
            role: entry.role.name(),
            facts: None,
            size: here.size(None),
            here,
        };
        row.print(capacity, out)?;
    }
    match capacity {
        Some(capacity) => writeln!(
            out,
            "\nPredicted for {}, at one token a pass, to which right guesses add; --ram SIZE judges \
             for another memory.",
            known::basis(capacity)
        )?,
        None => writeln!(
            out,
            "\nHow models would run is not known: the machine does not say how much memory is free; \
             give --ram SIZE."
        )?,
    }
    writeln!(
        out,
        "Any GGUF file can be used by its path instead of a name, and any model of Hugging Face \
         as OWNER/REPO:QUANT after `nmos models pull OWNER/REPO:QUANT`."
    )?;
    Ok(())
}

/// What is here of a model.
struct Here {
    state: State,
    bytes: Bytes,
    /// Its first file.
    path: Option<String>,
}

impl Here {
    fn of(store: &Store, entry: Option<&Entry>) -> anyhow::Result<Self> {
        let Some(entry) = entry else {
            return Ok(Self {
                state: State::Absent,
                bytes: Bytes(0),
                path: None,
            });
        };
        let (state, bytes) = store.state(entry)?;
        let path = match store.presence(entry)? {
            Presence::Complete(files) => files.first().map(|file| file.display().to_string()),
            Presence::WrongSize { path, .. } => Some(path.display().to_string()),
            Presence::Absent => None,
        };
        let bytes = Bytes(bytes);
        Ok(Self { state, bytes, path })
    }

    /// What the file says of its size, or else what is known of it.
    fn size(&self, known: Option<Size>) -> Option<Size> {
        match (known, self.state) {
            (Some(Size::Exact(size)), _) => Some(Size::Exact(size)),
            (_, State::Present | State::Verified) => Some(Size::Exact(self.bytes)),
            (known, _) => known,
        }
    }

    fn state(&self) -> String {
        match self.state {
            State::Verified => "verified".to_owned(),
            State::Present => "present".to_owned(),
            State::Damaged => "damaged".to_owned(),
            State::Partial => format!("partial {}", self.bytes),
            State::Absent => "absent".to_owned(),
        }
    }
}

struct Row<'a> {
    name: &'a str,
    role: &'a str,
    facts: Option<&'a Facts>,
    size: Option<Size>,
    here: Here,
}

impl Row<'_> {
    fn print(&self, capacity: Option<&Capacity>, out: &mut dyn Write) -> std::io::Result<()> {
        let unknown = || "-".to_owned();
        let parameters = self.facts.map_or_else(unknown, known::parameters);
        let licence = self.facts.map_or("-", |facts| &facts.licence);
        let size = self.size.map_or_else(unknown, |size| size.to_string());
        let load = self.size.map(|size| known::load(size.bytes(), self.facts));
        let verdict = capacity
            .zip(load)
            .map(|(capacity, load)| capacity.judge(load));
        let verdict = verdict.map_or_else(unknown, known::verdict);
        let state = self.here.state();
        let Self { name, role, .. } = self;
        write!(
            out,
            "{name:<20} {role:<7} {parameters:<11} {licence:<11} {size:>13}  {state:<15} {verdict}"
        )?;
        match &self.here.path {
            Some(path) => writeln!(out, "  {path}"),
            None => writeln!(out),
        }
    }
}
