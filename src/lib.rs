//! NMOS: a workbench over an anticipatory engine for language models larger than memory.
//!
//! One **pass** is one sweep of all oracle layers over a token tree. Bytes from the disk
//! are what a pass costs, seats in it are nearly free, and everything here follows from that.
//!
//! Modules, from the top down: one may use those below it and never one above, which
//! `scripts/layers` checks by this list.
//!
//! ```text
//!  cli          what a person or a script runs: a file a subcommand
//!  tui          the full-screen workbench: draws telemetry, sends intents
//!  bench        replays traces without a terminal, and reports
//!  forge        test models of any size
//!  config       settings in a user's words, made into what a session is started with
//!  session      typing events in, tokens and telemetry out
//!  scout        what a prompt asks for
//!  speculate    what comes next: the token tree, drafters, acceptance
//!  typing       what the user does: events, traces, cadence
//!  plan         what stays, what streams, who holds how much of which memory
//!  oracle       one pass over a tree
//!  experts      routed experts: which are in memory, and which go
//!  kv           the cells of what was read
//!  river        shards: which stay, which stream, and when they are read
//!  model        a model's file, its shape and its vocabulary
//!  system       facts about the machine, measured and read
//!  ggml         the hardware edges, with `cuda` and `io`: the only `unsafe` in the tree
//!  cuda
//!  io
//!  telemetry    plain data for whoever draws; everyone may emit
//!  vocabulary   words that modules far apart agree on
//!  ledger       who holds how much of a budget
//!  units        quantities
//!  prefix       how far two sequences agree
//!  random       numbers that are the same in every run
//! ```
#![deny(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod config;
#[allow(unsafe_code)]
pub mod cuda;
pub mod experts;
pub mod forge;
#[allow(unsafe_code)]
pub mod ggml;
#[allow(unsafe_code)]
pub mod io;
pub mod kv;
pub mod ledger;
pub mod model;
pub mod oracle;
pub mod plan;
pub mod prefix;
mod random;
pub mod river;
pub mod scout;
pub mod session;
pub mod speculate;
pub mod system;
pub mod telemetry;
pub mod tui;
pub mod typing;
pub mod units;
pub mod vocabulary;
