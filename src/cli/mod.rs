//! The command line.

pub mod shot;
pub mod tui;

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
