//! The planner: what stays in memory, what streams, and who holds how much of which memory.
//!
//! A [`Placement`] is computed once, before anything is loaded, and everyone takes it: a session
//! opens its oracle and its draft by it, `nmos plan` and `nmos doctor` print it. Nobody computes
//! any of it again.
//!
//! ```text
//!  PlanRequest --Planner::open--> headers of the oracle, Machine      (read, measured)
//!                    |
//!                  place          pairing        which draft fits the oracle
//!                    |            footprint      what is held before the weights   (predicted)
//!                    |            division       nodes of a pass, form, ledgers
//!                    |            draft policy   whether the draft's memory is better used
//!                    v
//!                Placement ------> session: open_oracle, draft, ledger
//!                    |  '--------> nmos plan, nmos doctor: all of it
//!                    v
//!                Forecasts         seconds of a pass, from kernels and disk as measured
//!                Checked           the same against passes that are really run
//! ```
//!
//! What costs depend on is here too, below all that use it: how passes and decodes cost on a
//! typical machine and as they are measured ([`PassTimes`], [`DecodeTimes`]), what a draft's
//! context holds ([`DraftCapacity`]), and how large trees may be ([`TreeSize`]).
//!
//! Units: [`Bytes`](crate::units::Bytes) of memory, nodes of a pass, seconds where a name ends
//! in `_s`, milliseconds in [`PassTimes`] and [`DecodeTimes`].

mod check;
mod cost;
mod division;
mod draft_capacity;
mod draft_choice;
mod draft_policy;
mod error;
mod footprint;
mod forecast;
mod form;
mod machine;
mod mixture;
mod oracle_file;
mod pairing;
mod pipeline;
mod placement;
mod planner;
mod request;
mod suitability;
mod too_small;
mod tree_size;
mod vram;

pub use check::{Checked, check};
pub use cost::{DecodeTimes, PassTimes};
pub use division::{Division, Sizes};
pub use draft_capacity::DraftCapacity;
pub use draft_choice::{DraftChoice, LeftOut, Slower};
pub use error::PlacementError;
pub use footprint::{DraftFootprint, DraftPlace, Footprint, tensor_bytes};
pub use forecast::{Forecast, Forecasts, Limit, cores_in_use};
pub use form::Form;
pub use machine::{Machine, read_sizes};
pub use oracle_file::{OracleFile, open_bare, shards};
pub use pairing::check_draft;
pub use placement::Placement;
pub use planner::Planner;
pub use request::{DraftRequest, PlanRequest};
pub use suitability::{Capacity, Load, Suitability};
pub use too_small::{DivisionError, LEAST_CTX, TooSmall};
pub use tree_size::TreeSize;
pub use vram::{DevicePlacement, NoVram, Vram, VramTooSmall};
