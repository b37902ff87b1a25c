//! What trials have found, kept by the identity of files.
//!
//! One line a verdict: `identity <tab> passed` or `identity <tab> refused <tab> bytes <tab> words`,
//! where the bytes are what the trial was allowed to take: with more it is tried again. Nothing is
//! an error here: without the file a model is tried each time.

use crate::model::Gguf;
use crate::system::cache::{cache_dir, write_atomic};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Verdicts that are kept, the latest.
const MOST: usize = 256;

/// What a trial has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Refused { allowed: u64, why: String },
}

/// What tells these files, as they are now, from all others, and this program from other builds;
/// `None` where a file cannot be looked at.
pub(super) fn identity(gguf: &Gguf) -> Option<String> {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(env!("NMOS_COMMIT"));
    let program = std::env::current_exe().ok()?;
    let paths = gguf.paths().map(std::path::Path::to_owned);
    for path in std::iter::once(program).chain(paths) {
        let path = path.canonicalize().ok()?;
        let meta = std::fs::metadata(&path).ok()?;
        hash.update(path.as_os_str().as_bytes());
        for number in [
            meta.dev().cast_signed(),
            meta.ino().cast_signed(),
            meta.len().cast_signed(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ] {
            hash.update(number.to_le_bytes());
        }
    }
    let mut text = String::new();
    for byte in hash.finalize().iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

fn file() -> Option<PathBuf> {
    Some(cache_dir()?.join("trials.txt"))
}

fn read() -> String {
    file()
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

/// The verdict on the files of this identity.
pub(super) fn find(identity: &str) -> Option<Verdict> {
    read().lines().rev().find_map(|line| {
        let rest = line.strip_prefix(identity)?.strip_prefix('\t')?;
        parse(rest)
    })
}

fn parse(text: &str) -> Option<Verdict> {
    let mut fields = text.splitn(3, '\t');
    match (fields.next()?, fields.next(), fields.next()) {
        ("passed", None, None) => Some(Verdict::Passed),
        ("refused", Some(allowed), Some(why)) => Some(Verdict::Refused {
            allowed: allowed.parse().ok()?,
            why: why.to_owned(),
        }),
        _ => None,
    }
}

/// Keeps a verdict.
pub(super) fn keep(identity: &str, verdict: &Verdict) {
    let Some(path) = file() else { return };
    let old = read();
    let mut lines: Vec<_> = old
        .lines()
        .filter(|line| !line.starts_with(identity))
        .map(str::to_owned)
        .collect();
    lines.drain(..lines.len().saturating_sub(MOST - 1));
    lines.push(match verdict {
        Verdict::Passed => format!("{identity}\tpassed"),
        Verdict::Refused { allowed, why } => {
            let why = why.replace(['\t', '\n', '\r'], " ");
            format!("{identity}\trefused\t{allowed}\t{why}")
        }
    });
    if let Err(error) = write_atomic(&path, (lines.join("\n") + "\n").as_bytes()) {
        tracing::debug!(%error, path = %path.display(), "a verdict was not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_as_they_were_written() {
        assert_eq!(parse("passed"), Some(Verdict::Passed));
        let refused = Verdict::Refused {
            allowed: 7,
            why: "GGML_ASSERT(a) failed".to_owned(),
        };
        assert_eq!(parse("refused\t7\tGGML_ASSERT(a) failed"), Some(refused));
        for broken in ["", "refused", "refused\tx\ty", "passed\t1"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
