//! Where this process writes its log, for messages that send a reader there.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// The log is written to this file from now on. The first that is named stays.
pub fn log_is_at(file: PathBuf) {
    let _ = FILE.set(file);
}

/// The file, where a log is written.
pub fn log_file() -> Option<&'static Path> {
    FILE.get().map(PathBuf::as_path)
}

/// Ends a message: `; the log is PATH`, or nothing where no log is written.
pub fn see_log() -> String {
    ending(log_file())
}

fn ending(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |path| {
        format!("; the log is {}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_named_only_where_there_is_one() {
        assert_eq!(ending(None), "");
        assert_eq!(ending(Some(Path::new("/a/log"))), "; the log is /a/log");
    }
}
