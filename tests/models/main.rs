//! Models as files: where they are pulled from, how they are read, which are refused, and the
//! prompts that are made by what they say.
//!
//! A test here computes nothing, or lets `nmos` refuse to. What is computed with a model is in
//! `tests/engine`.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

mod chat_vocabulary;
#[path = "../support/common.rs"]
mod common;
#[path = "../support/gguf_builder.rs"]
mod gguf_builder;
mod local_hub;
mod pull_fixture;
#[path = "../support/tiny_model.rs"]
mod tiny_model;

mod at_hub;
mod by_name;
mod chat_fixtures;
mod chat_golden;
mod chat_templates;
mod faults;
mod gguf_fuzz;
mod gguf_index;
mod gguf_types;
mod hub;
mod inspect;
mod packages;
