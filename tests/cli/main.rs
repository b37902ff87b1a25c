//! The executable as its users meet it: what it prints, refuses and reads, and its exit codes. Also
//! what it is shipped with: the rules for configuration files, and its dependencies' licences.
//!
//! A test here starts `nmos` and looks at what comes out. What the workbench shows in a terminal is
//! in `tests/workbench`.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

#[path = "../support/common.rs"]
mod common;
#[path = "../support/gguf_builder.rs"]
mod gguf_builder;
mod home;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/tiny_model.rs"]
mod tiny_model;

mod bench;
mod commands;
mod config_command;
mod config_files;
mod doctor;
mod errors;
mod files;
mod licences;
mod models;
mod plan;
mod wild_files;
