//! `nmos models list`: the known models, and what is here of each.

use std::io::Write;

use crate::model::catalog;
use crate::model::store::{Presence, State, Store};
use crate::units::Bytes;

pub(super) fn list(store: &Store, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:<20} {:<7} {:>10}  {:<14} FILE",
        "NAME", "ROLE", "SIZE", "STATE"
    )?;
    for entry in catalog::entries() {
        let (state, here) = store.state(entry)?;
        let size = match (entry.size, state) {
            (Some(size), _) => Bytes(size).to_string(),
            (None, State::Present | State::Verified) => Bytes(here).to_string(),
            (None, _) => "-".to_owned(),
        };
        let text = match state {
            State::Verified => "verified".to_owned(),
            State::Present => "present".to_owned(),
            State::Damaged => "damaged".to_owned(),
            State::Partial => format!("partial {}", Bytes(here)),
            State::Absent => "absent".to_owned(),
        };
        let path = match store.presence(entry)? {
            Presence::Complete(files) => files[0].display().to_string(),
            Presence::WrongSize { path, .. } => path.display().to_string(),
            Presence::Absent => "-".to_owned(),
        };
        let role = entry.role.name();
        writeln!(
            out,
            "{:<20} {role:<7} {size:>10}  {text:<14} {path}",
            entry.name
        )?;
    }
    writeln!(
        out,
        "\nAny GGUF file can be used by its path instead of a name."
    )?;
    Ok(())
}
