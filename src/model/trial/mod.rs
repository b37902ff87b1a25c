//! Files that llama.cpp has not opened before are opened in a process of their own first.
//!
//! ggml ends the process where a file says what it did not expect. What can be seen in a header
//! is checked here (`header`); the rest shows when llama.cpp opens the model and computes by
//! it, which a child process does without weights (`child`). What it finds is kept by the
//! files' identity (`verdicts`).
//!
//! ```text
//!  from the catalogue, its hash verified  -> admitted
//!  found good before                      -> admitted
//!  else  header  -> child process         -> admitted, or refused in words
//! ```
//!
//! The child is a process of `nmos` itself, which the executable makes known ([`enable`]). A
//! program that uses this library without it gets the checks of the header alone.

mod child;
mod header;
mod verdicts;

pub use child::main as child_main;
pub use header::writes_text;

use super::gguf::{Gguf, GgufError};
use super::kind::FileKind;
use super::{catalog, store::Store};
use crate::system;
use crate::units::Bytes;
use child::Outcome;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use verdicts::Verdict;

/// What a trial may hold where the budget leaves less: the vocabulary of a usual model, which
/// this process will hold itself.
const LEAST: Bytes = Bytes::mib(96);

/// Models of fewer bytes are computed on one thread.
const SMALL: u64 = 64 << 20;

/// The program that has the hidden command.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// A model that is not opened; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("{}: an embedding model writes no text ({arch}); name a model that answers", path.display())]
    Embedding { path: PathBuf, arch: String },
    #[error("{}: this is {kind}", path.display())]
    Kind { path: PathBuf, kind: FileKind },
    #[error("{}: {what}; the file is damaged, or made wrongly", path.display())]
    Header { path: PathBuf, what: String },
    #[error("{}: this model cannot be used: {why}", path.display())]
    Refused { path: PathBuf, why: String },
}

/// Has files tried by `program`, which is `nmos`, from now on. Only the first call counts.
pub fn enable(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Sees to it that llama.cpp can be asked to open a model without ending this process. `ram` is
/// what this process may hold, its child included.
///
/// # Errors
/// Why the model cannot be used.
pub fn admit(gguf: &Gguf, ram: Option<Bytes>) -> Result<(), TrialError> {
    writes_text(gguf)?;
    if is_verified(gguf.path()) {
        return Ok(());
    }
    let identity = verdicts::identity(gguf);
    if identity.as_ref().is_some_and(|id| admitted(id, false)) {
        return Ok(());
    }
    let held = system::rss().unwrap_or_default();
    let most = ram.map_or(Bytes(1 << 30), |ram| ram.saturating_sub(held));
    let most = Bytes(most.0.max(LEAST.0)).0;
    let refused = |why: String| TrialError::Refused {
        path: gguf.path().to_owned(),
        why,
    };
    let known = identity.as_deref().and_then(verdicts::find);
    match known {
        Some(Verdict::Passed) => return Ok(()),
        Some(Verdict::Refused { allowed, why }) if most <= allowed => return Err(refused(why)),
        _ => {}
    }
    header::check(gguf)?;
    if let Some(program) = PROGRAM.get() {
        let threads = match gguf.file_bytes() < SMALL {
            true => 1,
            false => system::cores().min(4),
        };
        let outcome = child::run(program, &gguf.into(), most, threads)
            .map_err(|error| refused(format!("no process can be had to open it first: {error}")))?;
        let (verdict, lasting) = match outcome {
            Outcome::Passed => (Verdict::Passed, true),
            Outcome::Failed { why, lasting } => {
                let verdict = Verdict::Refused { allowed: most, why };
                (verdict, lasting)
            }
        };
        if let Some(identity) = identity.as_ref().filter(|_| lasting) {
            verdicts::keep(identity, &verdict);
        }
        if let Verdict::Refused { why, .. } = verdict {
            return Err(refused(why));
        }
    }
    if let Some(identity) = &identity {
        admitted(identity, true);
    }
    Ok(())
}

/// Whether this process has admitted these files before; `now` notes that it has.
fn admitted(identity: &str, now: bool) -> bool {
    static ADMITTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    // It holds whole names whatever its holder was doing.
    let mut admitted = ADMITTED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = admitted.iter().any(|id| id == identity);
    if now && !known {
        admitted.push(identity.to_owned());
    }
    known
}

/// Whether the file is one of the catalogue, in the user's cache, whose hash was found right.
fn is_verified(path: &Path) -> bool {
    let Ok(store) = Store::of_user() else {
        return false;
    };
    let name = path.file_name().unwrap_or_default();
    let entry = catalog::entries()
        .iter()
        .find(|entry| entry.sha256.is_some() && name == entry.file.as_str());
    entry.is_some_and(|entry| {
        store.path(&entry.file) == path && store.checked(entry, path).is_some_and(|c| c.right)
    })
}
