//! `nmos models rm`: removes models, and what an interrupted fetch left of them.

use std::io::Write;

use super::find_all;
use crate::model::store::Store;
use crate::units::Bytes;

pub(super) fn remove(store: &Store, names: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
    let entries = find_all(names)?;
    let _lock = store.lock()?;
    for entry in entries {
        match store.remove(entry)? {
            0 => writeln!(out, "{}: nothing to remove", entry.name)?,
            freed => writeln!(out, "{}: removed, {} freed", entry.name, Bytes(freed))?,
        }
    }
    Ok(())
}
