//! The one place where an outcome becomes words on standard error and an exit code.
//!
//! ```text
//!  0  done, or whoever read the output went away
//!  1  failed
//!  2  the command line, the environment or the configuration file cannot be understood
//! ```

use crate::config::ConfigError;
use crate::tui;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Exit code of a failure.
pub const FAILED: u8 = 1;
/// Exit code of a command that cannot be understood.
pub const USAGE: u8 = 2;

/// A command that cannot be understood, beyond what the argument parser finds.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Prints what went wrong, if anything did, and says how to exit.
pub fn finish(outcome: anyhow::Result<ExitCode>, err: &mut impl Write) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        // The panic's own message is there already.
        Err(error) if error.chain().any(|e| e.is::<tui::Panicked>()) => ExitCode::from(FAILED),
        Err(error) => {
            // Where even this cannot be printed, the exit code still says it.
            let _ = err.write_all(tui::clean(&text(&error)).as_bytes());
            ExitCode::from(code(&error))
        }
    }
}

/// The error and its causes, each on a line of its own.
pub fn text(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some errors say their cause's words as their own: once is enough.
        if !last.ends_with(&cause) {
            text.push_str(&format!("  cause: {cause}\n"));
        }
        last = cause;
    }
    text
}

fn code(error: &anyhow::Error) -> u8 {
    let usage = error
        .chain()
        .any(|e| e.is::<Usage>() || e.is::<ConfigError>() || e.is::<tui::ThemeError>());
    if usage { USAGE } else { FAILED }
}

/// Whether whoever read our output went away.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| e.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_listed_once() {
        let io = io::Error::new(ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::from(io)
            .context("cannot open m.gguf: no such file")
            .context("the oracle cannot be loaded");
        assert_eq!(
            text(&error),
            "error: the oracle cannot be loaded\n  cause: cannot open m.gguf: no such file\n"
        );
    }

    #[test]
    fn what_a_file_says_moves_no_cursor() {
        let mut err = Vec::new();
        finish(
            Err(anyhow::anyhow!("tensor a\x1b[2Jb is missing")),
            &mut err,
        );
        assert_eq!(
            String::from_utf8(err).unwrap(),
            "error: tensor a[2Jb is missing\n"
        );
    }

    #[test]
    fn usage_is_told_from_failure() {
        let failed = anyhow::anyhow!("the disk is on fire");
        assert_eq!(code(&failed), FAILED);
        let usage = Err::<(), _>(Usage("no prompt".into())).context("run");
        assert_eq!(code(&usage.unwrap_err()), USAGE);
    }

    #[test]
    fn a_theme_that_cannot_be_used_is_a_usage_error() {
        let unknown = tui::ThemeLoader::default().load("nmos-drak");
        let error = unknown.context("theme").unwrap_err();
        assert_eq!(code(&error), USAGE);
    }

    #[test]
    fn a_panic_is_not_told_again() {
        let mut err = Vec::new();
        let error = anyhow::Error::from(tui::Panicked("index".into())).context("the workbench");
        let code = finish(Err(error), &mut err);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(FAILED)));
        assert!(err.is_empty());
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let mut err = Vec::new();
        let error = anyhow::Error::from(io::Error::from(ErrorKind::BrokenPipe)).context("write");
        let code = finish(Err(error), &mut err);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        assert!(err.is_empty());
    }
}
