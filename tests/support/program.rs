//! The executable, with nothing of the user's.

use std::path::Path;
use std::process::{Command, Stdio};

/// `nmos` with `home` as its home and no setting of the user's; it has nothing to read.
pub fn nmos(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nmos"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NMOS_") || text.starts_with("XDG_") {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home).stdin(Stdio::null());
    command
}
