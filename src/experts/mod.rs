//! Routed experts: which of them are in memory, and how they come and go.
//!
//! A token is computed by a few of a layer's experts, which its router names. So they are read
//! when they are named, and stay for as long as the memory for experts is enough:
//!
//! ```text
//!  router's ids --hold--> here already           a hit
//!                     '-> not here               a miss: others leave, all that miss are read
//!                                                together, straight to where they belong
//!  what was asked for is computed --computed--> they may leave again
//! ```
//!
//! An expert is of one layer; its parts (the slices of the layer's tables) come and go together.
//! Each table has address space for all of it, laid out as in the file, and memory under the
//! pages that experts which are here touch:
//!
//! ```text
//!  table    | e0    | e1    | e2    | e3    | ...      slices of any length
//!  pages    [   ][   ][   ][   ][   ][   ][   ]
//!  memory        x   x  x           x   x  x           e1 and e3 are here
//! ```
//!
//! Invariants: the pages that are counted are exactly those with memory, and never more than the
//! budget; a page is counted once however many experts touch it; an expert that is held does not
//! leave. The pages of one that leaves are moved under the next that comes (`moves.rs`). Units: pages
//! of [`BLOCK`](crate::io::BLOCK) bytes within, [`Bytes`](crate::units::Bytes) outside.
//!
//! Which expert leaves is decided by an [`Eviction`]: by age ([`Lru`]), or by what the text at hand
//! is about ([`Intent`]), for which a [`Profile`] is learnt. [`replay`] says how often each would
//! have hit on a [`routing`] that was recorded. [`Mixture`] says what can be said from a
//! file's header, for the planner. [`ExpertBoard`] shows what comes and goes, and how often plain LRU
//! would have hit.

mod belady;
mod board;
mod earlier_use;
mod eviction;
mod group;
mod guide;
mod hit_rate;
mod intent;
mod labels;
mod lru;
mod mixture;
mod model_key;
mod moves;
mod pages;
mod profile;
pub mod profile_file;
mod rates;
mod recorder;
pub mod replay;
pub mod routing;
mod shadow;
mod store;

pub use belady::Belady;
pub use board::ExpertBoard;
pub use earlier_use::EarlierUse;
pub use eviction::{Eviction, ExpertId, Use};
pub use guide::ExpertGuide;
pub use hit_rate::PredictedFrom;
pub use intent::{Intent, IntentLink};
pub use lru::Lru;
pub use mixture::{ExpertPlan, Mixture};
pub use model_key::ModelKey;
pub use pages::ExpertGroup;
pub use profile::{Profile, ProfileFault, Uses};
pub use recorder::{RecordError, Recorder};
pub use store::{ExpertCounts, ExpertError, ExpertStore, TableIdx};
