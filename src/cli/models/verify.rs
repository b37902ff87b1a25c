//! `nmos models verify`: reads models and compares their SHA-256.

use std::io::Write;

use anyhow::bail;

use super::{Here, find_here};
use crate::model::catalog;
use crate::model::progress::Progress;
use crate::model::pull;
use crate::model::store::{Presence, Store};

pub(super) fn verify(
    store: &Store,
    names: &[String],
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let _lock = store.lock()?;
    let asked = !names.is_empty();
    let models = if asked {
        find_here(store, names)?
    } else {
        let known = catalog::entries().iter().cloned();
        known.chain(store.hub_models()?).map(Here::Known).collect()
    };
    let (mut checked, mut bad) = (0, 0);
    for model in models {
        let entry = match model {
            Here::Known(entry) => entry,
            Here::Nothing(name) => {
                writeln!(out, "{name}: not here; run `nmos models pull {name}`")?;
                bad += 1;
                continue;
            }
        };
        let files = match store.presence(&entry)? {
            Presence::Complete(files) => files,
            Presence::WrongSize {
                found, expected, ..
            } => {
                writeln!(
                    out,
                    "{}: DAMAGED, {found} bytes instead of {expected}",
                    entry.name
                )?;
                (checked, bad) = (checked + 1, bad + 1);
                continue;
            }
            Presence::Absent if asked => {
                writeln!(out, "{0}: not here; run `nmos models pull {0}`", entry.name)?;
                bad += 1;
                continue;
            }
            Presence::Absent => continue,
        };
        for file in files {
            checked += 1;
            let compared = store.wanted(&entry, &file).is_some();
            let (check, found) = pull::check(&entry, &file, store, progress)?;
            let name = &entry.name;
            if !check.right {
                bad += 1;
                let wanted = check.sha256;
                writeln!(out, "{name}: DAMAGED, SHA-256 {found} instead of {wanted}")?;
            } else if compared {
                writeln!(out, "{name}: ok, SHA-256 {found}")?;
            } else {
                writeln!(
                    out,
                    "{name}: SHA-256 {found}, noted; nothing was known to compare it with"
                )?;
            }
        }
    }
    if bad > 0 {
        bail!("{bad} of the models are damaged or missing; `nmos models pull NAME` repairs one");
    }
    if checked == 0 {
        writeln!(
            out,
            "No model is here yet: `nmos models pull` fetches the default ones."
        )?;
    }
    Ok(())
}
