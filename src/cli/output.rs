//! A command's report: one JSON object for scripts, or lines for people.

use serde::Serialize;
use std::io::{self, Write};

/// Prints `report` as JSON if asked, else as `text` has it.
///
/// # Errors
/// The writer's own, a closed pipe among them.
pub fn print<T: Serialize, W: Write>(
    report: &T,
    json: bool,
    out: &mut W,
    text: impl FnOnce(&T, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        text(report, out)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_an_object_or_lines() {
        let printed = |json| {
            let mut out = Vec::new();
            print(&[1, 2], json, &mut out, |r, out| writeln!(out, "{r:?}!")).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(true), "[\n  1,\n  2\n]\n");
        assert_eq!(printed(false), "[1, 2]!\n");
    }
}
