//! A pseudo terminal whose other end is a vt100 screen, for tests of whole programs.
//!
//! Tests wait for what they expect on the screen; the only time limit is the one after which
//! a hanging test is given up.
#![allow(dead_code, reason = "each test program uses its part")]

use crossbeam_channel::{Receiver, bounded};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use rustix::process::Pid;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// A test that has waited this long for what it expects is taken to hang.
const HANG: Duration = Duration::from_secs(120);

/// A program in a pseudo terminal, and what its screen shows.
pub struct Terminal {
    pub child: Box<dyn Child + Send + Sync>,
    pub master: Box<dyn MasterPty + Send>,
    /// Kept open, so that the modes can be asked for after the child's end.
    _slave: Box<dyn SlavePty + Send>,
    writer: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    pub parser: vt100::Parser,
    raw: Vec<u8>,
    pub modes_before: String,
}

pub fn size(width: u16, height: u16) -> PtySize {
    PtySize {
        rows: height,
        cols: width,
        pixel_width: 0,
        pixel_height: 0,
    }
}

impl Terminal {
    /// Waits for the workbench's first frame, with the terminal in its modes.
    pub fn wait_for_workbench(&mut self) {
        self.wait("the first frame", |t| t.shows("prompt") && t.shows("F1"));
        assert!(self.parser.screen().alternate_screen());
        assert_ne!(self.modes(), self.modes_before, "raw while it runs");
    }

    pub fn run(mut command: CommandBuilder, width: u16, height: u16) -> Self {
        let pair = native_pty_system().openpty(size(width, height)).unwrap();
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

    pub fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    pub fn shows(&self, text: &str) -> bool {
        self.screen().contains(text)
    }

    /// The words in the pane at the left, in one line: where a pane is narrow, rows wrap.
    pub fn words(&self) -> String {
        let screen = self.screen();
        let rows = screen.lines().map(|row| {
            let row = row.trim_start_matches('│');
            row.split('│').next().unwrap_or_default()
        });
        let words: Vec<&str> = rows.flat_map(str::split_whitespace).collect();
        words.join(" ")
    }

    pub fn modes(&self) -> String {
        format!("{:?}", self.master.get_termios())
    }

    pub fn write(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// Waits until the condition holds. It is asked after each piece of output, and now and
    /// then, since modes change without output.
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
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

    pub fn wait_for(&mut self, text: &str) {
        self.wait(text, |t| t.shows(text));
    }

    /// Waits for the child's end and its last words, and checks that nothing is left of it.
    pub fn ends(&mut self, words: &str) -> bool {
        self.wait_for(words);
        let mut status = None;
        self.wait("the end of the process", |t| {
            status = t.child.try_wait().unwrap();
            status.is_some()
        });
        // The end is seen before the last of what was written has been read.
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(300)) {
            self.parser.process(&bytes);
            self.raw.extend(bytes);
        }
        self.is_restored();
        status.unwrap().success()
    }

    pub fn is_restored(&self) {
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

    pub fn pid(&self) -> Pid {
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
