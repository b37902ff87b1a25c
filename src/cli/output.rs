//! A command's report: one JSON object for scripts, or lines for people.

use crate::tui::clean;
use serde::Serialize;
use std::io::{self, Write};

/// Prints `report` as JSON if asked, else as `text` has it, without the control characters that
/// names in files may hold.
///
/// # Errors
/// The writer's own, a closed pipe among them.
pub fn print<T: Serialize, W: Write>(
    report: &T,
    json: bool,
    out: &mut W,
    text: impl FnOnce(&T, &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let mut lines = Vec::new();
        text(report, &mut lines)?;
        out.write_all(clean(&String::from_utf8_lossy(&lines)).as_bytes())?;
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
        let mut out = Vec::new();
        print(&"a\x1b]0;b\x07\u{9b}c", false, &mut out, |r, out| {
            writeln!(out, "{r}")
        })
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a]0;bc\n");
        assert_eq!(printed(true), "[\n  1,\n  2\n]\n");
        assert_eq!(printed(false), "[1, 2]!\n");
    }
}
