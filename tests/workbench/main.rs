//! What a person types and sees: keys, screens, pictures, typing and its traces, and the scout
//! that follows it.
//!
//! A test here presses keys on a workbench without a terminal (`headless.rs`) and looks at its
//! cells, or types text through `typing` alone. Only `in_terminal.rs` starts the program; a
//! scripted session in a terminal is `tests/tui_pty`, which has to be a program of its own.
//!
//! Screens are snapshots: `INSTA_UPDATE=always cargo test --release --test workbench screens::`
//! writes them again.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

#[path = "../support/common.rs"]
mod common;
#[path = "../support/gguf_builder.rs"]
mod gguf_builder;
mod headless;
#[path = "../support/pty.rs"]
mod pty;
#[path = "../support/scripted_model.rs"]
mod scripted_model;

mod in_terminal;
mod keys;
mod scout_held_out;
mod scout_look;
mod screens;
mod shot;
mod thinking;
mod typing_composer;
mod typing_replay;
mod typing_trace;
