//! Words that decide something in one module and are shown by another.
//!
//! Owns the types that modules far apart agree on, each in its own file with the names that
//! people read. It imports nothing of this crate, so that anyone may use it: an oracle picks a
//! graph by [`ShardPart`], the drafter's acceptance is counted by [`Label`], and telemetry
//! shows both without owning either.

mod drafter_id;
mod expert_policy;
mod label;
mod oracle_form;
mod shard_part;

pub use drafter_id::{DrafterId, Marks};
pub use expert_policy::ExpertPolicy;
pub use label::Label;
pub use oracle_form::OracleForm;
pub use shard_part::ShardPart;
