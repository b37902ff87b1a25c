//! The workbench in a real terminal: a pseudo terminal whose other end is a vt100 screen.
//!
//! This executable runs itself again inside the pseudo terminal, with `NMOS_TUI_CHILD` set,
//! and is then the workbench over a scripted session. Tests wait for what they expect on the
//! screen; the only time limit is the one after which a hanging test is given up.
#![allow(clippy::unwrap_used)]

use crossbeam_channel::{Receiver, bounded, unbounded};
use nmos::session::{EngineHandle, Event, Intent};
use nmos::telemetry::{AnswerEnd, AnswerStats, Hub, Phase};
use nmos::tui::{self, ColorDepth, WorkbenchOptions};
use nmos::typing::Edit;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const CHILD: &str = "NMOS_TUI_CHILD";

/// After this long without the expected, a test is taken to hang.
const HANG: Duration = Duration::from_secs(60);

const TESTS: &[(&str, fn())] = &[
    ("types_answers_and_quits_at_80x24", || {
        answers_and_quits(80, 24)
    }),
    ("types_answers_and_quits_at_200x60", || {
        answers_and_quits(200, 60)
    }),
    ("escape_stops_the_answer_and_keeps_its_text", escape_stops),
    ("a_resize_lays_out_again", resize),
    ("a_panic_of_the_engine_restores_the_terminal", engine_panic),
    ("a_panic_of_the_workbench_restores_the_terminal", own_panic),
    (
        "a_fatal_error_is_told_after_the_terminal_is_restored",
        fatal,
    ),
    ("sigterm_restores_the_terminal", || ends_by(Signal::TERM)),
    ("sighup_restores_the_terminal", || ends_by(Signal::HUP)),
    ("sigint_restores_the_terminal", || ends_by(Signal::INT)),
    ("ctrl_z_suspends_and_fg_resumes", suspend),
    ("without_a_shell_ctrl_z_says_so", no_shell),
    (
        "without_a_terminal_it_names_the_headless_commands",
        no_terminal,
    ),
];

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
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
    let mut options = WorkbenchOptions {
        log_file: Some("/the/log".into()),
        ..WorkbenchOptions::default()
    };
    options.themes.depth = ColorDepth::TrueColor;
    // A recorder that fails is a panic on the workbench's own thread.
    options.recorder = Some(Box::new(|event| match &event.edit {
        Edit::Insert { text, .. } if text == "!" => panic!("the recorder broke"),
        _ => {}
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
/// stopped, `panic` panics, `fatal` ends; anything else is answered at once.
fn scripted() -> EngineHandle {
    let (intents, heard) = unbounded();
    let (say, events) = unbounded();
    let hub = Hub::new();
    let telemetry = hub.clone();
    let thread = std::thread::spawn(move || {
        let mut prompt = String::new();
        let done = |end| {
            Event::Done(Box::new(AnswerStats {
                end,
                tokens: 2,
                ..AnswerStats::default()
            }))
        };
        say.send(Event::Ready).unwrap();
        for intent in heard {
            let event = match intent {
                Intent::Typing(event) => event,
                Intent::Stop => {
                    say.send(done(AnswerEnd::Stopped)).unwrap();
                    continue;
                }
                Intent::NewConversation | Intent::Anticipate(_) => continue,
                Intent::Shutdown => return,
            };
            match event.edit {
                Edit::Insert { text, .. } => prompt += &text,
                Edit::Enter => {
                    let text = std::mem::take(&mut prompt);
                    say.send(Event::Submitted {
                        prompt: text.clone(),
                    })
                    .unwrap();
                    telemetry.update(|s| s.phase = Phase::Answering);
                    say.send(Event::Text("The answer ".into())).unwrap();
                    say.send(Event::Text("has begun.".into())).unwrap();
                    if text.contains("panic") {
                        panic!("the script says so");
                    }
                    if text.contains("fatal") {
                        say.send(Event::Fatal("model.gguf is gone".into())).unwrap();
                    } else if !text.contains("long") {
                        say.send(done(AnswerEnd::EndOfText)).unwrap();
                        telemetry.update(|s| s.phase = Phase::Idle);
                    }
                }
                _ => {}
            }
        }
    });
    EngineHandle {
        intents,
        events,
        hub,
        thread: Some(thread),
    }
}

// ---- the terminal's side ------------------------------------------------------------------

struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    /// Kept open, so that the modes can be asked for after the child's end.
    _slave: Box<dyn SlavePty + Send>,
    writer: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    raw: Vec<u8>,
    modes_before: String,
}

fn size(width: u16, height: u16) -> PtySize {
    PtySize {
        rows: height,
        cols: width,
        pixel_width: 0,
        pixel_height: 0,
    }
}

impl Terminal {
    /// The workbench in a terminal of this size.
    fn workbench(width: u16, height: u16) -> Self {
        let exe = std::env::current_exe().unwrap();
        let mut terminal = Self::run(CommandBuilder::new(exe), width, height);
        terminal.wait("the first frame", |t| t.shows("prompt") && t.shows("F1"));
        assert!(terminal.parser.screen().alternate_screen());
        assert_ne!(terminal.modes(), terminal.modes_before, "raw while it runs");
        terminal
    }

    fn run(mut command: CommandBuilder, width: u16, height: u16) -> Self {
        let pair = native_pty_system().openpty(size(width, height)).unwrap();
        command.env(CHILD, "1");
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        command.env("PS1", "ready> ");
        command.env_remove("NO_COLOR");
        command.env_remove("ENV");
        let modes_before = format!("{:?}", pair.master.get_termios());
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = bounded(64);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            writer: pair.master.take_writer().unwrap(),
            master: pair.master,
            _slave: pair.slave,
            output,
            parser: vt100::Parser::new(height.try_into().unwrap(), width.try_into().unwrap(), 0),
            raw: Vec::new(),
            modes_before,
        }
    }

    fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    fn shows(&self, text: &str) -> bool {
        self.screen().contains(text)
    }

    fn modes(&self) -> String {
        format!("{:?}", self.master.get_termios())
    }

    fn write(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// Waits until the condition holds. It is asked after each piece of output, and now and
    /// then, since modes change without output.
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < HANG,
                "no {what}; the screen is:\n{}",
                self.screen()
            );
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(20)) {
                self.parser.process(&bytes);
                self.raw.extend(bytes);
            }
        }
    }

    fn wait_for(&mut self, text: &str) {
        self.wait(text, |t| t.shows(text));
    }

    /// Waits for the child's end and its last words, and checks that nothing is left of it.
    fn ends(&mut self, words: &str) -> bool {
        self.wait_for(words);
        let mut status = None;
        self.wait("the end of the process", |t| {
            status = t.child.try_wait().unwrap();
            status.is_some()
        });
        self.is_restored();
        status.unwrap().success()
    }

    fn is_restored(&self) {
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen(), "alternate screen");
        assert!(!screen.hide_cursor(), "hidden cursor");
        assert!(!screen.bracketed_paste(), "bracketed paste");
        let mouse = screen.mouse_protocol_mode();
        assert_eq!(mouse, vt100::MouseProtocolMode::None);
        for (mode, set, reset) in [
            ("focus reports", "\x1b[?1004h", "\x1b[?1004l"),
            ("keyboard enhancement", "\x1b[>1u", "\x1b[<1u"),
            ("synchronised updates", "\x1b[?2026h", "\x1b[?2026l"),
        ] {
            let last = |text: &str| {
                let bytes = text.as_bytes();
                self.raw.windows(bytes.len()).rposition(|w| w == bytes)
            };
            assert!(last(set).is_some(), "{mode} was never set");
            assert!(last(reset) > last(set), "{mode} is still set");
        }
        assert_eq!(self.modes(), self.modes_before, "the terminal's modes");
    }

    fn pid(&self) -> Pid {
        let id = self.child.process_id().unwrap();
        Pid::from_raw(id.try_into().unwrap()).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A failed test leaves nothing running.
        let _ = self.child.kill();
    }
}

// ---- the tests ----------------------------------------------------------------------------

fn answers_and_quits(width: u16, height: u16) {
    let mut terminal = Terminal::workbench(width, height);
    terminal.write("say something");
    terminal.wait_for("say something");
    terminal.write("\r");
    terminal.wait_for("The answer has begun.");
    terminal.wait_for("2 tokens");
    for pane in ["conversation", "shards", "cadence", "scout"] {
        assert!(terminal.shows(pane), "{pane}:\n{}", terminal.screen());
    }
    terminal.write("\x03");
    assert!(terminal.ends("ended: ok"));
}

fn escape_stops() {
    let mut terminal = Terminal::workbench(80, 24);
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
    terminal.write("\x03");
    assert!(terminal.ends("ended: ok"));
}

fn resize() {
    let mut terminal = Terminal::workbench(80, 24);
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
    terminal.write("\x03");
    assert!(terminal.ends("ended: ok"));
}

fn engine_panic() {
    let mut terminal = Terminal::workbench(120, 40);
    terminal.write("panic\r");
    assert!(!terminal.ends("ended: "));
    assert!(
        terminal.shows("the script says so"),
        "{}",
        terminal.screen()
    );
    assert!(
        terminal.shows("The log is /the/log"),
        "{}",
        terminal.screen()
    );
}

fn own_panic() {
    let mut terminal = Terminal::workbench(120, 40);
    terminal.write("!");
    assert!(!terminal.ends("The log is /the/log"));
    assert!(
        terminal.shows("the recorder broke"),
        "{}",
        terminal.screen()
    );
}

fn fatal() {
    let mut terminal = Terminal::workbench(80, 24);
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
    let mut terminal = Terminal::workbench(80, 24);
    terminal.write("half a prom");
    terminal.wait_for("half a prom");
    kill_process(terminal.pid(), signal).unwrap();
    assert!(terminal.ends("ended: ok"));
}

fn suspend() {
    let mut shell = CommandBuilder::new("sh");
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
    terminal.write("\x03");
    terminal.wait_for("ended: ok");
    terminal.wait("the shell's modes", |t| t.modes() == t.modes_before);
    terminal.is_restored();
    terminal.write("exit\r");
    terminal.wait("the shell's end", |t| t.child.try_wait().unwrap().is_some());
}

fn no_shell() {
    // Started by the terminal directly, there is no one to resume it: it must not stop.
    let mut terminal = Terminal::workbench(80, 24);
    terminal.write("\x1a");
    terminal.wait_for("no shell to suspend to");
    kill_process(terminal.pid(), Signal::TSTP).unwrap();
    terminal.write("still here");
    terminal.wait_for("still here");
    terminal.write("\x03");
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
    assert!(
        text.contains("nmos run") && text.contains("nmos bench"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "no mode is set: {text:?}");
}
