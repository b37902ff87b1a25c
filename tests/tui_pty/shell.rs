//! What the workbench was started from: a shell that it returns to, none, or no terminal.

use crate::Test;
use crate::child::CHILD;
use crate::pty::Terminal;
use crate::terminal::{quits_at_the_second_key, workbench};
use portable_pty::CommandBuilder;
use rustix::process::{Signal, kill_process};
use std::process::{Command, Stdio};

pub const TESTS: &[Test] = &[
    ("ctrl_z_suspends_and_fg_resumes", suspend),
    ("without_a_shell_ctrl_z_says_so", no_shell),
    (
        "without_a_terminal_it_names_the_headless_command",
        no_terminal,
    ),
    (
        "a_terminal_that_cannot_move_its_cursor_is_refused",
        no_cursor,
    ),
];

fn suspend() {
    let mut shell = CommandBuilder::new("sh");
    shell.env(CHILD, "1");
    shell.arg("-i");
    let mut terminal = Terminal::run(shell, 80, 24);
    terminal.wait_for("ready> ");
    terminal.modes_before = terminal.modes();
    let exe = std::env::current_exe().unwrap();
    terminal.write(&format!("'{}'\r", exe.display()));
    terminal.wait("the first frame", |t| {
        t.parser.screen().alternate_screen() && t.shows("F1")
    });
    terminal.write("kept");
    terminal.wait_for("kept");
    terminal.write("\x1a");
    terminal.wait("the shell's prompt", |t| {
        let back = !t.parser.screen().alternate_screen() && t.modes() == t.modes_before;
        back && t.screen().trim_end().ends_with("ready>")
    });
    terminal.is_restored();
    terminal.write("echo the shell $((6 * 7))\r");
    terminal.wait_for("the shell 42");
    terminal.write("fg\r");
    terminal.wait("the workbench again", |t| {
        t.parser.screen().alternate_screen() && t.shows("kept")
    });
    terminal.write(" and more");
    terminal.wait_for("kept and more");
    quits_at_the_second_key(&mut terminal);
    terminal.wait_for("ended: ok");
    // What is typed before the shell asks, it may throw away.
    terminal.wait("the shell's prompt", |t| {
        t.modes() == t.modes_before && t.screen().trim_end().ends_with("ready>")
    });
    terminal.is_restored();
    terminal.write("exit\r");
    terminal.wait("the shell's end", |t| t.child.try_wait().unwrap().is_some());
}

fn no_shell() {
    // Started by the terminal directly, there is no one to resume it: it must not stop.
    let mut terminal = workbench(80, 24);
    terminal.write("\x1a");
    terminal.wait_for("no shell to suspend to");
    kill_process(terminal.pid(), Signal::TSTP).unwrap();
    terminal.write("still here");
    terminal.wait_for("still here");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn no_terminal() {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success());
    assert!(text.contains("nmos run"), "{text}");
    assert!(!text.contains('\x1b'), "no mode is set: {text:?}");
}

fn no_cursor() {
    let exe = std::env::current_exe().unwrap();
    for (set, why) in [
        ("TERM=dumb", "TERM is 'dumb'"),
        ("TERM=", "TERM is not set"),
        ("unset TERM;", "TERM is not set"),
    ] {
        let mut shell = CommandBuilder::new("sh");
        shell.env(CHILD, "1");
        shell.args(["-c", &format!("{set} exec '{}'", exe.display())]);
        let mut terminal = Terminal::run(shell, 120, 40);
        terminal.wait_for(why);
        terminal.wait_for("`nmos run PROMPT`");
        terminal.wait("its end", |t| t.child.try_wait().unwrap().is_some());
        assert_eq!(terminal.modes(), terminal.modes_before);
        let screen = terminal.screen();
        assert_eq!(screen.trim_end().lines().count(), 1, "{screen}");
    }
}
