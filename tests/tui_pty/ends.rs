//! However the process ends, the terminal is as it was, and it is said why.

use crate::Test;
use crate::child::LOG;
use crate::pty::Terminal;
use crate::terminal::{own, workbench};
use rustix::process::{Signal, kill_process};

pub const TESTS: &[Test] = &[
    ("a_panic_of_the_engine_restores_the_terminal", engine_panic),
    ("a_panic_of_the_workbench_restores_the_terminal", own_panic),
    ("an_abort_of_ggml_restores_the_terminal", abort),
    (
        "a_fatal_error_is_told_after_the_terminal_is_restored",
        fatal,
    ),
    ("sigterm_restores_the_terminal", || ends_by(Signal::TERM)),
    ("sighup_restores_the_terminal", || ends_by(Signal::HUP)),
    ("sigint_restores_the_terminal", || ends_by(Signal::INT)),
    ("an_abort_without_words_restores_the_terminal", || {
        killed_by(Signal::ABORT);
    }),
    ("a_fault_of_memory_restores_the_terminal", || {
        killed_by(Signal::SEGV);
    }),
    ("a_bus_error_restores_the_terminal", || {
        killed_by(Signal::BUS);
    }),
    ("sigquit_restores_the_terminal", || killed_by(Signal::QUIT)),
    ("an_overflown_stack_restores_the_terminal", overflow),
];

fn engine_panic() {
    let mut terminal = workbench(120, 40);
    terminal.write("panic\r");
    assert!(!terminal.ends("ended: "));
    told_once(&terminal, "a fault in nmos itself: the script says so");
}

/// The message of a fault is there, once, and names the log.
fn told_once(terminal: &Terminal, message: &str) {
    let screen = terminal.screen();
    for words in [message, "the log is ", "please report"] {
        assert_eq!(screen.matches(words).count(), 1, "{words}:\n{screen}");
    }
}

fn own_panic() {
    let mut terminal = workbench(120, 40);
    terminal.write("!");
    assert!(!terminal.ends("the log is /the/log"));
    told_once(&terminal, "a fault in nmos itself: the recorder broke");
}

fn abort() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, "before\n").unwrap();
    let mut command = own();
    command.env(LOG, &log);
    let mut terminal = Terminal::run(command, 120, 40);
    terminal.wait_for_workbench();
    terminal.write("what was asked before\r");
    terminal.wait_for("The answer has begun.");
    terminal.write("abort\r");
    assert!(!terminal.ends("please report"));
    told_once(&terminal, "llama.cpp gave up: ");
    let said = "> what was asked before";
    assert!(terminal.shows(said), "{}", terminal.screen());
    let what = "GGML_ASSERT(ggml_can_mul_mat(a, b)) failed";
    assert!(terminal.shows(what), "{}", terminal.screen());
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(
        logged.starts_with("before\n") && logged.contains(what),
        "{logged}"
    );
}

fn fatal() {
    let mut terminal = workbench(80, 24);
    terminal.write("fatal\r");
    terminal.wait_for("model.gguf is gone");
    assert!(
        terminal.parser.screen().alternate_screen(),
        "stays to be read"
    );
    terminal.write("\x03");
    assert!(!terminal.ends("ended: "));
    assert!(
        terminal.shows("model.gguf is gone"),
        "{}",
        terminal.screen()
    );
}

fn ends_by(signal: Signal) {
    let mut terminal = workbench(80, 24);
    terminal.write("half a prom");
    terminal.wait_for("half a prom");
    kill_process(terminal.pid(), signal).unwrap();
    assert!(terminal.ends("ended: ok"));
}

fn killed_by(signal: Signal) {
    let mut terminal = workbench(80, 24);
    terminal.write("half a prom");
    terminal.wait_for("half a prom");
    kill_process(terminal.pid(), signal).unwrap();
    assert!(!terminal.ends(""));
}

fn overflow() {
    let mut terminal = workbench(120, 40);
    terminal.write("overflow\r");
    // Rust's own words: the signal took its own course after ours.
    assert!(!terminal.ends("has overflowed its stack"));
}
