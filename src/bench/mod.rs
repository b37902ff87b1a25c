//! The trace benchmark: what a session hides behind real typing, measured without a screen.
//!
//! Owns the choice of traces, their replay into one session, the comparison with a cold
//! baseline, and the report. A trace's events are released by the monotonic clock, one at a
//! time; its header, which could tell how the text ends, stays on this side of the channel.
//!
//! ```text
//!  traces -- spread --> for each:  typed   NewConversation, Anticipate(true),  edits at their time
//!                                  cold    NewConversation, Anticipate(false), one paste + Enter
//!                                    |
//!               Row: ttft, cold ttft, hidden = 1 - ttft / cold, text equal?, prompt hash right?
//!                                    |
//!                          table (standard output), Report (JSON)
//! ```
//! With a baseline, every second trace is run cold first, so that neither kind of run gains
//! from a machine that warms up or slows down.
//!
//! Times are milliseconds, sizes bytes in the report and decimal megabytes in the table. What
//! cannot be known is null in the report and `-` in the table, never zero.

mod choice;
mod figures;
mod measure;
mod models;
mod output;
mod pace;
mod play;
mod report;
mod row;
mod table;

pub use choice::{Chosen, LoadError, load, spread};
pub use figures::{MEASURES, Measure, Percentiles, ScoutScore, percentiles};
pub use measure::{End, Measured, Plan, Watcher, measure};
pub use models::ModelFile;
pub use output::ReportFile;
pub use pace::{Pace, RealTime};
pub use play::{Halt, Mode, Run};
pub use report::{Engine, Machine, Options, Report};
pub use row::{Order, Row};
pub use table::Table;
