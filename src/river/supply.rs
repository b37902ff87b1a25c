//! Where the weights of a pass come from: the seam between who computes and who moves bytes.
//!
//! ```text
//!                       dense shards, in order of use          experts, when a router names them
//!  HostSupply    SSD -> RAM  = where the CPU computes           demand: SSD -> RAM
//!  DeviceSupply  SSD -> RAM -> window of the device's memory    demand: SSD -> RAM
//! ```
//!
//! Two kinds of access, since they differ in what is known. Shards come round and round in one
//! order, so that they are read before they are asked for. Which experts a step needs is known
//! when the step before it has been computed: they are asked for together ([`Demand`]), all
//! slices of all tensors that the ids choose, since a batch of them is what keeps a disk busy,
//! and reading ahead waits for them.

use super::demand::Demand;
use super::shard::ShardIdx;
use super::window::{Part, Watcher};
use super::{River, RiverError};
use crate::ggml::{Place, Stream};

/// See the module's text. The caller brackets each pass by [`River::begin_pass`] and
/// [`River::end_pass`].
pub trait WeightSupply {
    /// What reads shards round and round.
    fn river(&self) -> &River;

    /// Where the tensors of `shard` lie in its memory.
    fn layout(&self, shard: ShardIdx) -> &[Part];

    /// The memory of `shard`, for what `compute` is asked for from now on. Shards are taken in
    /// order of use, one at a time, round and round; those that are left out are read all the
    /// same, and skipped.
    ///
    /// # Errors
    /// The read that failed, after a second try. The next pass may ask again.
    ///
    /// # Panics
    /// If the shard before was not given back.
    fn supply(&mut self, shard: ShardIdx, compute: &Stream) -> Result<Place, RiverError>;

    /// Ends the use of `shard` by what `compute` has been asked for so far.
    ///
    /// # Panics
    /// If it was not taken.
    fn release(&mut self, shard: ShardIdx, compute: &Stream);

    /// Reads slices of experts to the host's memory, and waits for all of them: see
    /// [`River::demand`].
    ///
    /// # Errors
    /// The first read that failed, after a second try: what the others brought is there all the
    /// same.
    fn demand(&mut self, demands: &[Demand<'_>]) -> Result<(), RiverError>;

    /// Whether weights stream in every pass.
    fn streams(&self) -> bool;

    /// Whether steps are only asked for here, and computed later: scratch memory must then be
    /// enough for all of them, and a pass cannot be given up.
    fn runs_ahead(&self) -> bool;

    /// Time that the weights which stream in a pass take at the rate of all reading so far or,
    /// where that is longer, of the link to the device; in microseconds.
    fn lap_us(&self) -> u64;

    /// Bytes of weights sent to a device so far; zero where there is none.
    fn bytes_sent(&self) -> u64;

    /// Tells `watcher`, from now on, of all that a device copies and computes; nobody where it
    /// is `None`, and nothing where there is no device.
    fn watch(&mut self, watcher: Option<Watcher>);
}
