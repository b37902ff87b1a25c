//! The program itself in a terminal, over the default models as `nmos models pull` leaves them.

use crate::common;
use crate::pty::Terminal;
use nmos::typing::{Edit, Trace};
use portable_pty::CommandBuilder;
use rustix::process::{Signal, kill_process};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Less than the default oracle's weights: they stream.
const RAM: &str = "960MiB";

/// One workbench at a time: each holds the memory that it was promised.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // Another test's failure is not this one's.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The workbench with nothing of the user's but the models.
fn nmos(home: &Path) -> CommandBuilder {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_nmos"));
    command.args(["--ram", RAM]);
    for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home);
    }
    command
}

fn workbench(command: CommandBuilder, width: u16, height: u16) -> Terminal {
    let mut terminal = Terminal::run(command, width, height);
    terminal.wait_for_workbench();
    terminal
}

/// Waits for the end of the program with this exit code and a terminal as it was.
fn ends(terminal: &mut Terminal, code: u32) {
    let mut status = None;
    terminal.wait("the end of the process", |t| {
        status = t.child.try_wait().unwrap();
        status.is_some()
    });
    terminal.wait("the terminal as it was", |t| {
        !t.parser.screen().alternate_screen()
    });
    terminal.is_restored();
    let screen = terminal.screen();
    assert_eq!(status.unwrap().exit_code(), code, "{screen}");
}

#[test]
fn what_is_typed_while_models_load_is_answered_and_ctrl_c_quits() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let mut command = nmos(home.path());
    command.env("NMOS_MAX_TOKENS", "16");
    let mut terminal = workbench(command, 80, 24);
    terminal.write("Count from one to fifty in words.");
    terminal.wait_for("Count from one");
    terminal.write("\r");
    terminal.wait_for("16 tokens");
    terminal.wait("the end at the limit", |t| {
        t.words().contains("token limit")
    });
    // A second turn, with the first as its history.
    terminal.write("Go on.\r");
    terminal.wait("the second answer", |t| {
        t.screen().matches("16 tokens").count() == 2
    });
    terminal.write("\x03");
    terminal.wait_for("Ctrl-C again quits");
    terminal.write("\x03");
    ends(&mut terminal, 0);
}

#[test]
fn escape_stops_an_answer_and_sigterm_ends_another() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let mut terminal = workbench(nmos(home.path()), 200, 60);
    for pane in [
        "shards", "prefetch", "memory", "KV pages", "cadence", "scout",
    ] {
        assert!(terminal.shows(pane), "{pane}:\n{}", terminal.screen());
    }
    terminal.write("Write the numbers from one to five hundred in words.\r");
    terminal.wait_for("speed");
    terminal.write("\x1b");
    terminal.wait_for("stopped");
    terminal.write("Now write them backwards from five hundred.\r");
    terminal.wait("the second answer to begin", |t| {
        t.shows("answering") && !t.shows("waiting for the first token")
    });
    kill_process(terminal.pid(), Signal::TERM).unwrap();
    ends(&mut terminal, 0);
}

#[test]
fn a_kill_in_mid_answer_costs_nothing_that_was_kept() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let model = common::model(common::ORACLE);
    let before = std::fs::metadata(&model).unwrap();
    let typed = home.path().join("typed.jsonl");
    let mut command = nmos(home.path());
    command.args([
        "--record-text".as_ref(),
        "--record".as_ref(),
        typed.as_os_str(),
    ]);
    let mut terminal = workbench(command, 80, 24);
    let prompt = "Write the numbers from one to five hundred in words.";
    terminal.write(prompt);
    terminal.write("\r");
    terminal.wait("the answer to begin", |t| {
        t.shows("answering") && !t.shows("waiting for the first token")
    });
    kill_process(terminal.pid(), Signal::KILL).unwrap();
    terminal.wait("the end of the process", |t| {
        t.child.try_wait().unwrap().is_some()
    });
    let trace = Trace::load(&typed).unwrap();
    assert!(trace.events().iter().any(|e| e.edit == Edit::Enter));
    let after = std::fs::metadata(&model).unwrap();
    assert_eq!(
        (before.len(), before.modified().unwrap()),
        (after.len(), after.modified().unwrap())
    );
    // The next one starts as if nothing had been.
    let mut terminal = workbench(nmos(home.path()), 80, 24);
    terminal.write("Say yes.\r");
    terminal.wait_for("speed");
    terminal.write("\x03\x03\x03");
    ends(&mut terminal, 0);
}

#[test]
fn a_model_that_cannot_be_read_is_explained_and_is_a_failure() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("broken.gguf");
    std::fs::write(&model, "not a model").unwrap();
    let mut command = nmos(home.path());
    command.args(["--oracle".as_ref(), model.as_os_str()]);
    let mut terminal = workbench(command, 80, 24);
    terminal.wait_for("broken.gguf");
    terminal.wait_for("Nothing runs any more");
    terminal.write("\x03");
    ends(&mut terminal, 1);
    assert!(terminal.shows("not a GGUF file"), "{}", terminal.screen());
}
