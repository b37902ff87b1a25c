//! Which expert leaves when another needs its memory.

/// One expert of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpertId {
    /// Number of its group ([`ExpertGroup`](super::ExpertGroup)), in the order of layers.
    pub group: usize,
    pub expert: usize,
}

/// What tokens that are computed together use one expert for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    pub id: ExpertId,
    /// How many of their choices in its layer it is; 0 where padding alone chose it.
    pub its: u32,
}

/// Knows which experts are in memory, and chooses among them. The store tells it of every use,
/// in order.
pub trait Eviction {
    /// A pass begins.
    fn begin_pass(&mut self) {}

    /// Tokens are computed in one layer with these experts, which are in memory from now on, and
    /// for the first time in this pass.
    fn used(&mut self, group: usize, uses: &[Use]);

    /// `expert` is in memory before anything has used it.
    fn came(&mut self, expert: ExpertId);

    /// Whether it knows anything of experts that nothing has used: else none is read before it is
    /// needed.
    fn foresees(&self) -> bool {
        false
    }

    /// Free memory is about to be filled: [`Eviction::rarity`] is asked for.
    fn before_fill(&mut self) {}

    /// How rarely `expert` is expected to be used, in any unit: where memory is free, those that
    /// are used most are read first.
    fn rarity(&self, _expert: ExpertId) -> f32 {
        0.0
    }

    /// `expert` has left memory.
    fn left(&mut self, expert: ExpertId);

    /// The expert to give up next, of those in memory that `may_go`; none where none may.
    fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId>;
}
