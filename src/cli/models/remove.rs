//! `nmos models rm`: removes models, and what an interrupted fetch left of them.

use std::io::Write;

use super::{Here, find_here};
use crate::model::store::Store;
use crate::units::Bytes;

pub(super) fn remove(store: &Store, names: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
    let models = find_here(store, names)?;
    let _lock = store.lock()?;
    for model in models {
        let entry = match model {
            Here::Known(entry) => entry,
            Here::Nothing(name) => {
                writeln!(out, "{name}: nothing to remove")?;
                continue;
            }
        };
        match store.remove(&entry)? {
            0 => writeln!(out, "{}: nothing to remove", entry.name)?,
            freed => writeln!(out, "{}: removed, {} freed", entry.name, Bytes(freed))?,
        }
    }
    Ok(())
}
