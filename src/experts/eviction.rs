//! Which expert leaves when another needs its memory.

/// One expert of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpertId {
    /// Number of its group ([`ExpertGroup`](super::ExpertGroup)), in the order of layers.
    pub group: usize,
    pub expert: usize,
}

/// Of the choices that a pass makes in a layer, those that are for one expert: a token of the pass
/// makes as many choices as it uses experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub its: u32,
    pub all: u32,
}

/// Knows which experts are in memory, and chooses among them. The store tells it of every use,
/// in order.
pub trait Eviction {
    /// A pass begins.
    fn begin_pass(&mut self) {}

    /// The pass at hand uses `expert`, which is in memory from now on, for `share` of what it
    /// computes in that layer.
    fn used(&mut self, expert: ExpertId, share: Share);

    /// `expert` has left memory.
    fn left(&mut self, expert: ExpertId);

    /// The expert to give up next, of those in memory that `may_go`; none where none may.
    fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId>;

    /// The part of the experts in memory, the oldest, among which it chooses by more than age: 0
    /// for one that goes by age alone.
    fn window(&self) -> f64;
}
