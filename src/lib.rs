//! NMOS: a workbench over an anticipatory engine for language models larger than memory.
//!
//! One **pass** is one sweep of all oracle layers over a token tree. Bytes from the disk
//! are what a pass costs, seats in it are nearly free, and everything here follows from that.
//!
//! Modules, from the top down; a lower one never imports a higher one:
//!
//! ```text
//!  cli  ->  tui, bench, forge   what a person runs
//!             |
//!           session             typing events in, tokens and telemetry out
//!        /    |     \
//!  typing   scout   speculate   what the user does, what they want, what comes next
//!                     |
//!                   oracle      one pass over a tree
//!                  /  |   \
//!              river  kv  model weights, cells, the model's shape and vocabulary
//!                  \  |   /
//!            ggml   cuda   io     the hardware edges: the only `unsafe` in the tree
//!
//!  telemetry                    plain data, used by all
//!  units, drafter_id            the words that all of them share
//!  config, system               settings, and facts about the machine
//! ```
#![deny(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod config;
#[allow(unsafe_code)]
pub mod cuda;
pub mod drafter_id;
pub mod forge;
#[allow(unsafe_code)]
pub mod ggml;
#[allow(unsafe_code)]
pub mod io;
pub mod kv;
pub mod model;
pub mod oracle;
pub mod river;
pub mod scout;
pub mod session;
pub mod speculate;
pub mod system;
pub mod telemetry;
pub mod tui;
pub mod typing;
pub mod units;
