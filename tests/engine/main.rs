//! What is computed: logits against llama.cpp's, bit by bit, wherever the weights and the KV cache
//! are; trees and guesses; the reads that weights stream by; models that are forged.
//!
//! A test here opens an oracle, or a part of one, without a session around it. Some count what
//! this process reads from disk, so that tests run one at a time: `-- --test-threads=1`, as
//! `make test` has it.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

#[path = "../support/cgroup.rs"]
mod cgroup;
#[path = "../support/common.rs"]
mod common;
#[path = "../support/gguf_builder.rs"]
mod gguf_builder;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/tiny_mixture.rs"]
mod tiny_mixture;
#[path = "../support/tiny_model.rs"]
mod tiny_model;
mod two_branches;
mod watch;

mod allow_list;
mod device_window;
mod drafts;
mod every_type;
mod expert_policies;
mod forge;
mod forge_mixtures;
mod hooked;
mod hooked_experts;
mod kv_pages;
mod oracle_parity;
mod reader_faults;
mod sampling_distribution;
mod speculation;
mod tiny_parity;
mod tree;
mod width_class;
