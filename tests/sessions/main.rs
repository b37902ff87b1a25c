//! Sessions by their protocol: what comes of intents and requests, in which order, and after
//! which faults.
//!
//! A test here is a front-end: a client of a real session, or one with a script in its place. A
//! session's budget counts what its process holds already: tests whose budgets leave no margin
//! for that are in `tests/lossless.rs` and `tests/memory_budget.rs`, processes of their own.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

#[path = "../support/common.rs"]
mod common;
#[path = "../support/gguf_builder.rs"]
mod gguf_builder;
#[path = "../support/scripted_model.rs"]
mod scripted_model;

mod bench_suite;
mod faults;
mod intents;
mod requests;
mod thinking;
