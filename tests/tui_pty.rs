//! The workbench in a real terminal: a pseudo terminal whose other end is a vt100 screen.
//!
//! This executable runs itself again inside the pseudo terminal, with `NMOS_TUI_CHILD` set,
//! and is then the workbench over a scripted session. Tests wait for what they expect on the
//! screen; the only time limit is the one after which a hanging test is given up.
#![allow(clippy::unwrap_used)]

mod pty;

use nmos::ggml::{self, GgmlType};
use nmos::oracle::OpenError;
use nmos::session::{EngineEnd, EngineHandle, Event, Intent, RequestEvent, SessionError};
use nmos::telemetry::{AnswerEnd, AnswerStats, Phase};
use nmos::tui::{self, ColorDepth, WorkbenchOptions};
use nmos::typing::{Edit, MonotonicClock};
use portable_pty::CommandBuilder;
use pty::{Terminal, size};
use rustix::process::{Resource, Rlimit, Signal, kill_process, setrlimit};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

const CHILD: &str = "NMOS_TUI_CHILD";
/// Where the child says that its log is.
const LOG: &str = "NMOS_TUI_LOG";

const TESTS: &[(&str, fn())] = &[
    ("types_answers_and_quits_at_80x24", || {
        answers_and_quits(80, 24);
    }),
    ("types_answers_and_quits_at_200x60", || {
        answers_and_quits(200, 60);
    }),
    ("escape_stops_the_answer_and_keeps_its_text", escape_stops),
    (
        "ctrl_c_stops_the_answer_and_asks_before_it_quits",
        ctrl_c_stops,
    ),
    ("an_empty_session_ends_at_once", quits_empty),
    ("a_resize_lays_out_again", resize),
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
    ("a_burst_of_keys_is_read_to_its_end", burst),
    ("a_long_burst_is_read_to_its_end", long_burst),
    ("a_sequence_in_pieces_is_one_key", pieces),
    ("an_open_paste_hears_ctrl_c_and_ends", open_paste),
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

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        for (name, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in TESTS {
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

// ---- the workbench's side -----------------------------------------------------------------

fn child() -> ExitCode {
    // No dump of this process's memory: tests have it die.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).unwrap();
    // As the program itself begins.
    nmos::cli::report_faults();
    let log = std::env::var_os(LOG).unwrap_or_else(|| "/the/log".into());
    nmos::telemetry::log_is_at(log.into());
    let mut options = WorkbenchOptions::default();
    options.themes.depth = ColorDepth::TrueColor;
    // A recorder that fails is a panic on the workbench's own thread.
    options.recorder = Some(Box::new(|event| match &event.edit {
        Edit::Insert { text, .. } if text == "!" => panic!("the recorder broke"),
        _ => Ok(()),
    }));
    match tui::run(scripted(), options) {
        Ok(()) => {
            println!("ended: ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("ended: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A session that follows a script by the words of the prompt: `long` answers until it is
/// stopped, `panic` panics, `abort` aborts, `overflow` needs more stack than there is, `fatal`
/// ends; anything else is answered at once, with how many characters there were.
fn scripted() -> EngineHandle {
    EngineHandle::start(Arc::new(MonotonicClock::new()), script)
}

fn script(end: EngineEnd) {
    let mut prompt = String::new();
    let mut asked = None;
    let done = |end| {
        RequestEvent::Done(Box::new(AnswerStats {
            end,
            tokens: 2,
            ..AnswerStats::default()
        }))
    };
    end.clients.tell_all(Event::Ready);
    for stamped in &end.intents {
        let event = match stamped.intent {
            Intent::Typing(event) => event,
            Intent::Stop => {
                let id = asked.unwrap();
                end.clients
                    .tell(stamped.client, id, done(AnswerEnd::Stopped));
                continue;
            }
            Intent::Shutdown => return,
            _ => continue,
        };
        match event.edit {
            Edit::Insert { text, .. } => prompt += &text,
            Edit::Enter => {
                let text = std::mem::take(&mut prompt);
                let id = *asked.insert(end.clients.next_request());
                let say = |event| end.clients.tell(stamped.client, id, event);
                say(RequestEvent::Submitted {
                    prompt: text.clone(),
                });
                end.hub.update(|s| s.phase = Phase::Answering);
                say(RequestEvent::Text("The answer ".into()));
                say(RequestEvent::Text("has begun.".into()));
                assert!(!text.contains("panic"), "the script says so");
                if text.contains("abort") {
                    abort_in_ggml();
                }
                if text.contains("overflow") {
                    assert_eq!(deeper(1), 0);
                }
                if text.contains("fatal") {
                    let gone = SessionError::Load(
                        OpenError::Io(std::io::Error::other("model.gguf is gone")).into(),
                    );
                    end.clients.tell_all(Event::Fatal(Arc::new(gone)));
                } else if !text.contains("long") {
                    let counted = format!(" {} characters.", text.chars().count());
                    say(RequestEvent::Text(counted));
                    say(done(AnswerEnd::EndOfText));
                    end.hub.update(|s| s.phase = Phase::Idle);
                }
            }
            _ => {}
        }
    }
}

/// Multiplies what does not fit, which ggml refuses by aborting the process.
fn abort_in_ggml() {
    ggml::init().unwrap();
    let context = ggml::Context::new(4, 0);
    let matrix = |rows| context.tensor(GgmlType::F32, &[rows, 2]);
    let _ = context.mul_mat(&matrix(4), &matrix(3));
}

/// Uses up the stack.
fn deeper(level: usize) -> usize {
    let kept = std::hint::black_box([level; 1024]);
    if kept[0] == usize::MAX {
        return 0;
    }
    deeper(kept[level % 1024] + 1) + kept[0]
}

// ---- the terminal's side ------------------------------------------------------------------

/// This executable as the workbench.
fn own() -> CommandBuilder {
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.env(CHILD, "1");
    command
}

fn workbench(width: u16, height: u16) -> Terminal {
    let mut terminal = Terminal::run(own(), width, height);
    terminal.wait_for_workbench();
    terminal
}

// ---- the tests ----------------------------------------------------------------------------

fn answers_and_quits(width: u16, height: u16) {
    let mut terminal = workbench(width, height);
    terminal.write("say something");
    terminal.wait_for("say something");
    terminal.write("\r");
    terminal.wait_for("The answer has begun.");
    terminal.wait_for("2 tokens");
    for pane in ["conversation", "shards", "cadence", "scout"] {
        assert!(terminal.shows(pane), "{pane}:\n{}", terminal.screen());
    }
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

/// Ctrl-C where a session would be lost asks first.
fn quits_at_the_second_key(terminal: &mut Terminal) {
    terminal.write("\x03");
    terminal.wait_for("Ctrl-C again quits");
    terminal.write("\x03");
}

fn escape_stops() {
    let mut terminal = workbench(80, 24);
    terminal.write("long please\r");
    terminal.wait_for("The answer has begun.");
    assert!(!terminal.shows("2 tokens"), "the answer is still open");
    terminal.write("\x1b");
    terminal.wait_for("stopped");
    assert!(terminal.shows("The answer has begun."), "its text is kept");
    terminal.write("again\r");
    terminal.wait("a second answer", |t| {
        t.screen().matches("The answer has begun.").count() == 2
    });
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn resize() {
    let mut terminal = workbench(80, 24);
    terminal.write("kept");
    terminal.wait_for("kept");
    for (width, height, wanted) in [
        (120, 40, "KV pages"),
        (50, 12, "NMOS needs 60 x 18."),
        (200, 60, "memory"),
    ] {
        let (rows, columns) = (height.try_into().unwrap(), width.try_into().unwrap());
        terminal.parser.screen_mut().set_size(rows, columns);
        terminal.master.resize(size(width, height)).unwrap();
        terminal.wait_for(wanted);
    }
    terminal.wait_for("kept");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn ctrl_c_stops() {
    let mut terminal = workbench(80, 24);
    terminal.write("long please\r");
    terminal.wait_for("The answer has begun.");
    terminal.write("\x03");
    terminal.wait_for("stopped");
    assert!(terminal.shows("The answer has begun."), "its text is kept");
    terminal.write("more");
    terminal.wait_for("more");
    terminal.write("\x15");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn quits_empty() {
    let mut terminal = workbench(80, 24);
    terminal.write("\x03");
    assert!(terminal.ends("ended: ok"));
}

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

fn own_panic() {
    let mut terminal = workbench(120, 40);
    terminal.write("!");
    assert!(!terminal.ends("the log is /the/log"));
    told_once(&terminal, "a fault in nmos itself: the recorder broke");
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

fn burst() {
    let mut terminal = workbench(120, 40);
    // As a paste by a terminal that does not mark it.
    terminal.write(&format!("{}\r", "a word ".repeat(430)));
    terminal.wait_for("3010 characters.");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn long_burst() {
    let mut terminal = workbench(120, 40);
    let text = "ünïcödé 🦀 ".repeat(10_000);
    terminal.write(&format!("{text}\r"));
    terminal.wait_for("100000 characters.");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn pieces() {
    let mut terminal = workbench(80, 24);
    terminal.write("ac");
    terminal.wait_for("ac");
    // Its beginning shows nothing, and is read by itself where the reader is quick.
    for piece in ["\x1b[", "D"] {
        terminal.write(piece);
    }
    terminal.write("b");
    terminal.wait_for("abc");
    for piece in ["\x1b[2", "00~", " one\rtwo", "\x1b[20", "1~", "."] {
        terminal.write(piece);
    }
    terminal.wait("both lines", |t| t.shows("ab one") && t.shows("two.c"));
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn open_paste() {
    let mut terminal = workbench(80, 24);
    terminal.write("\x1b[200~left open");
    terminal.wait_for("left open");
    terminal.write("\x1b[200~and again\x03");
    terminal.wait_for("Ctrl-C again quits");
    assert!(terminal.shows("left openand again"));
    terminal.write("\x1b[200~\x03");
    assert!(terminal.ends("ended: ok"));
}

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
