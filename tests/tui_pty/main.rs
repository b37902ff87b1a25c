//! The workbench in a real terminal: a pseudo terminal whose other end is a vt100 screen.
//!
//! This executable runs itself again inside the pseudo terminal, with `NMOS_TUI_CHILD` set,
//! and is then the workbench over a scripted session (`child.rs`). So it has no harness but its
//! own, and is no part of `tests/workbench`. Tests wait for what they expect on the screen; the
//! only time limit is the one after which a hanging test is given up.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

mod answers;
mod child;
mod ends;
mod input;
#[path = "../support/pty.rs"]
mod pty;
mod shell;
mod terminal;

use std::process::ExitCode;

/// A name, and what it runs.
type Test = (&'static str, fn());

const ALL: [&[Test]; 4] = [answers::TESTS, ends::TESTS, input::TESTS, shell::TESTS];

fn main() -> ExitCode {
    if std::env::var_os(child::CHILD).is_some() {
        return child::run();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        for (name, _) in ALL.into_iter().flatten() {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in ALL.into_iter().flatten() {
        if !filters.is_empty() && !filters.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
