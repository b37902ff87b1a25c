//! The benchmark: replays recorded typing into one session, and reports what the typist would
//! have waited for.
//!
//! Owns the order of runs, what is checked of each, and the two forms of the report: a table
//! and JSON. Knows a session only as a client of it.
//!
//! ```text
//!  traces -> Case --typed: one event at a time--> session -> Run --\
//!                 \-cold: a paste and Enter-----> session -> Run ---+-> Row -> table, JSON
//!
//!  trace 0: typed, cold    trace 1: cold, typed    trace 2: typed, cold ...
//! ```
//!
//! The header of a trace never reaches the session; the text that the session understood is
//! hashed here and compared with the header's. Times are real: a [`Pace`] that is not the
//! monotonic clock is for tests of behaviour.

mod case;
mod pace;
mod percentile;
mod report;
mod row;
mod run;
mod suite;
mod table;

pub use case::{Case, load, spread};
pub use pace::Pace;
pub use percentile::Percentiles;
pub use report::{
    BuildFacts, FigurePercentiles, MachineFacts, ModelFacts, Options, Report, check_place,
    write_file,
};
pub use row::{Row, ScoutScore};
pub use run::{Play, Run, RunEnd};
pub use suite::{Session, Stage, SuiteEnd, Watch, run};
pub use table::{WIDTH, header, percentile_lines, row_line};
