//! The terminal's side: this executable, started again in a pseudo terminal.

use crate::child::CHILD;
use crate::pty::Terminal;
use portable_pty::CommandBuilder;

/// This executable as the workbench.
pub fn own() -> CommandBuilder {
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.env(CHILD, "1");
    command
}

pub fn workbench(width: u16, height: u16) -> Terminal {
    let mut terminal = Terminal::run(own(), width, height);
    terminal.wait_for_workbench();
    terminal
}

/// Ctrl-C where a session would be lost asks first.
pub fn quits_at_the_second_key(terminal: &mut Terminal) {
    terminal.write("\x03");
    terminal.wait_for("Ctrl-C again quits");
    terminal.write("\x03");
}
