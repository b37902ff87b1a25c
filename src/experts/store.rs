//! All experts of a model: who is here, who is held, and who makes place for whom.

use super::eviction::{Eviction, ExpertId, Use};
use super::group::{Group, State, Table};
use super::pages::{ExpertGroup, neighbours};
use super::shadow::{Asked, ShadowLru};
use crate::io::{BLOCK, Region};
use crate::river::{Demand, ExpertIdx, NoSuchExpert, RiverError};
use crate::telemetry::{ExpertRow, ExpertState};
use crate::units::Bytes;

/// A table of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableIdx {
    pub group: usize,
    pub table: usize,
}

/// Why experts cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ExpertError {
    #[error(transparent)]
    Weights(#[from] RiverError),
    #[error(transparent)]
    NoSuch(#[from] NoSuchExpert),
    /// Padding can be computed with other experts than the token that it repeats, and a graph may
    /// use experts of two layers at once; both are rare.
    #[error(
        "{chosen} experts are needed at once in layer {layer}, and {budget} hold fewer: give more \
         with --ram"
    )]
    TooMany {
        layer: u32,
        chosen: usize,
        budget: Bytes,
    },
}

/// What has been asked for so far. An expert counts once a pass, however many of its tables and
/// tokens ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpertCounts {
    /// Experts that were here when a pass asked for them, and those that were not.
    pub hits: u64,
    pub misses: u64,
    /// Of the same experts, those that would have been here by plain LRU: simulated.
    pub lru_hits: u64,
    /// Read from the disk for the misses.
    pub bytes: u64,
    /// See [`Eviction::window`].
    pub evict_window: f64,
}

/// See the module's text.
pub struct ExpertStore {
    groups: Vec<Group>,
    budget_pages: usize,
    used_pages: usize,
    eviction: Box<dyn Eviction>,
    held: Vec<ExpertId>,
    /// Number of the pass at hand.
    pass: u64,
    /// Free memory could not be filled since the last pass.
    fill_failed: bool,
    counts: ExpertCounts,
    shadow: ShadowLru,
}

impl ExpertStore {
    /// With nothing in memory, of which experts may take `budget`.
    ///
    /// # Errors
    /// The system's own, where there are not as many addresses.
    pub fn new(
        groups: Vec<ExpertGroup>,
        budget: Bytes,
        eviction: Box<dyn Eviction>,
    ) -> std::io::Result<Self> {
        let budget_pages = usize::try_from(budget.0).unwrap_or(usize::MAX) / BLOCK;
        let shadow = ShadowLru::new(groups.clone(), budget_pages);
        let groups = groups.into_iter().map(Group::new);
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
            budget_pages,
            used_pages: 0,
            eviction,
            held: Vec::new(),
            pass: 0,
            fill_failed: false,
            counts: ExpertCounts::default(),
            shadow,
        })
    }

    /// Has `eviction` choose from now on. To be called while nothing is in memory: it knows of
    /// nothing.
    pub fn evict_by(&mut self, eviction: Box<dyn Eviction>) {
        self.eviction = eviction;
    }

    /// Where `table` lies: its own bytes, with memory under those of experts that are here.
    pub fn memory(&self, table: TableIdx) -> Region {
        let Table { table, blocks } = &self.groups[table.group].tables[table.table];
        let span = table.span();
        blocks.part(span.skip, span.bytes)
    }

    pub fn counts(&self) -> ExpertCounts {
        ExpertCounts {
            lru_hits: self.shadow.hits(),
            evict_window: self.eviction.window(),
            ..self.counts
        }
    }

    /// Memory that is taken now.
    pub fn bytes(&self) -> Bytes {
        Bytes((self.used_pages * BLOCK) as u64)
    }

    /// Of each group, where its experts are and what the last pass found.
    pub fn rows(&self) -> Vec<ExpertRow> {
        let groups = self.groups.iter();
        let rows = groups.map(|group| ExpertRow {
            layer: group.layer,
            experts: group.states.iter().map(|state| self.shown(state)).collect(),
        });
        rows.collect()
    }

    fn shown(&self, state: &State) -> ExpertState {
        // No expert was used in a pass before the first.
        match (state.pass == self.pass && self.pass > 0, state.is_here) {
            (true, _) if state.was_missed => ExpertState::Missed,
            (true, _) => ExpertState::Hit,
            (false, true) => ExpertState::Here,
            (false, false) => ExpertState::Absent,
        }
    }

    /// To be called before each pass.
    pub fn begin_pass(&mut self) {
        self.pass += 1;
        self.fill_failed = false;
        self.eviction.begin_pass();
    }

    /// All that experts were held for has been computed, or never will be.
    pub fn computed(&mut self) {
        for id in self.held.drain(..) {
            self.groups[id.group].states[id.expert].is_held = false;
        }
    }

    /// Sees to it that the experts that `ids` name in `table` are here, with their parts in the
    /// other tables of its group, and holds them until [`ExpertStore::computed`]. The first
    /// `counted` of the ids are of tokens, the others of padding. `read` reads all that it is given.
    ///
    /// # Errors
    /// An expert that there is not, a failed read, more experts than memory holds. None of those
    /// that were missing is here then.
    pub fn hold(
        &mut self,
        table: TableIdx,
        ids: &[i32],
        counted: usize,
        read: impl FnOnce(&[Demand<'_>]) -> Result<(), RiverError>,
    ) -> Result<(), ExpertError> {
        let chosen = self.chosen(table, ids)?;
        let (mut missing, mut uses) = (Vec::new(), Vec::new());
        let mut asked = Vec::with_capacity(chosen.len());
        for &expert in &chosen {
            let id = ExpertId {
                group: table.group,
                expert: expert.number(),
            };
            let state = &mut self.groups[id.group].states[id.expert];
            if !state.is_here {
                missing.push(expert);
            }
            let is_first = state.pass != self.pass;
            if is_first {
                state.pass = self.pass;
                state.was_missed = !state.is_here;
                match state.is_here {
                    true => self.counts.hits += 1,
                    false => self.counts.misses += 1,
                }
            }
            asked.push(Asked { expert, is_first });
            if is_first || !state.is_here {
                let of_tokens = &ids[..counted.min(ids.len())];
                let its = of_tokens.iter().filter(|&&id| id == expert.number() as i32);
                let its = its.count() as u32;
                uses.push(Use { id, its });
            }
            if !state.is_held {
                state.is_held = true;
                self.held.push(id);
            }
        }
        let groups = &self.groups;
        let is_held = |id: ExpertId| groups[id.group].states[id.expert].is_held;
        self.shadow.hold(table.group, &asked, &is_held);
        if !uses.is_empty() {
            self.eviction.used(table.group, &uses);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let fits = missing
            .iter()
            .all(|&expert| self.make_place(table.group, expert));
        let came = if fits {
            let read = self.read(table.group, &missing, read);
            read.map(|bytes| self.counts.bytes += bytes)
        } else {
            Err(ExpertError::TooMany {
                layer: self.groups[table.group].layer,
                chosen: chosen.len(),
                budget: Bytes((self.budget_pages * BLOCK) as u64),
            })
        };
        if came.is_err() {
            self.give_up(table.group, &missing);
        }
        came
    }

    /// Reads, where memory is free, the experts that are expected to be used most: some `bytes`,
    /// or one expert. Nobody leaves for them. Whether there may be more to read; after a failed
    /// read there is not, until a pass has begun.
    ///
    /// # Errors
    /// A failed read; none of these is here then.
    pub fn fill(
        &mut self,
        bytes: usize,
        read: impl FnOnce(&[Demand<'_>]) -> Result<(), RiverError>,
    ) -> Result<bool, ExpertError> {
        if self.fill_failed {
            return Ok(false);
        }
        self.eviction.before_fill();
        let Some((group, first)) = self.most_used(None) else {
            return Ok(false);
        };
        let (mut coming, mut pages) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(expert) = next {
            let own = self.groups[group].own_pages(expert);
            if self.used_pages + own > self.budget_pages {
                break;
            }
            self.used_pages += own;
            pages += own;
            self.groups[group].states[expert.number()].is_here = true;
            self.eviction.came(ExpertId {
                group,
                expert: expert.number(),
            });
            coming.push(expert);
            next = match pages * BLOCK < bytes {
                true => self.most_used(Some(group)).map(|(_, expert)| expert),
                false => None,
            };
        }
        if coming.is_empty() {
            return Ok(false);
        }
        coming.sort_unstable();
        let came = self.read(group, &coming, read);
        if came.is_err() {
            self.fill_failed = true;
            self.give_up(group, &coming);
        }
        came.map(|_| true)
    }

    /// The expert, of those that are not here, that is expected to be used most, in one group or in
    /// all: where that is unknown, those of the lowest numbers in all groups.
    fn most_used(&self, group: Option<usize>) -> Option<(usize, ExpertIdx)> {
        let groups = self.groups.iter().enumerate();
        let groups = groups.filter(|(number, _)| group.is_none_or(|group| group == *number));
        let absent = groups.flat_map(|(number, group)| {
            let experts = group.tables[0].table.all();
            let absent = experts.filter(|expert| !group.states[expert.number()].is_here);
            absent.map(move |expert| (number, expert))
        });
        absent.min_by(|&(a_group, a), &(b_group, b)| {
            let rarity = |group, expert: ExpertIdx| {
                self.eviction.rarity(ExpertId {
                    group,
                    expert: expert.number(),
                })
            };
            let by_rarity = rarity(a_group, a).total_cmp(&rarity(b_group, b));
            by_rarity.then((a, a_group).cmp(&(b, b_group)))
        })
    }

    /// The experts that `ids` name, each once, in the order of the file.
    fn chosen(&self, at: TableIdx, ids: &[i32]) -> Result<Vec<ExpertIdx>, NoSuchExpert> {
        let table = &self.groups[at.group].tables[at.table].table;
        let chosen = ids.iter().map(|&id| table.expert(id));
        let mut chosen = chosen.collect::<Result<Vec<_>, _>>()?;
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }

    /// Counts the pages of `expert`, for which others leave; false where not enough of them may.
    fn make_place(&mut self, group: usize, expert: ExpertIdx) -> bool {
        loop {
            // Those that left may have been its neighbours.
            let own = self.groups[group].own_pages(expert);
            if self.used_pages + own <= self.budget_pages {
                self.used_pages += own;
                self.groups[group].states[expert.number()].is_here = true;
                return true;
            }
            let groups = &self.groups;
            let may_go = |id: ExpertId| {
                let state = groups[id.group].states[id.expert];
                state.is_here && !state.is_held
            };
            let Some(victim) = self.eviction.victim(&may_go) else {
                return false;
            };
            self.let_go(victim);
        }
    }

    /// Gives back the pages that only this expert touches.
    fn let_go(&mut self, id: ExpertId) {
        let group = &mut self.groups[id.group];
        group.states[id.expert].is_here = false;
        self.used_pages -= group.discard(id.expert);
        self.eviction.left(id);
    }

    fn read(
        &mut self,
        group: usize,
        missing: &[ExpertIdx],
        read: impl FnOnce(&[Demand<'_>]) -> Result<(), RiverError>,
    ) -> Result<u64, ExpertError> {
        let tables = self.groups[group].tables.iter();
        // A table at a time, as they lie in the file.
        let demands: Vec<_> = tables.flat_map(|table| table.demands(missing)).collect();
        let bytes: usize = demands.iter().map(|demand| demand.into.len()).sum();
        read(&demands)?;
        Ok(bytes as u64)
    }

    /// After a failed read: `missing` are not here, nor are those that share a page with them,
    /// whose bytes there may be anything now.
    fn give_up(&mut self, group: usize, missing: &[ExpertIdx]) {
        let mut spoilt: Vec<usize> = missing.iter().map(|expert| expert.number()).collect();
        for table in &self.groups[group].tables {
            let near = missing.iter();
            let near = near.flat_map(|&expert| neighbours(&table.table, expert));
            spoilt.extend(near.map(ExpertIdx::number));
        }
        for expert in spoilt {
            let id = ExpertId { group, expert };
            if self.groups[group].states[expert].is_here {
                self.let_go(id);
            } else {
                self.eviction.left(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Lru;
    use super::super::pages::tests::tensor;
    use super::*;
    use crate::io::{Direction, TransferFailure};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Two layers of two tables each, of slices that are no whole pages, in a file of random
    /// bytes.
    struct Model {
        tensors: Vec<crate::model::TensorInfo>,
        file: Vec<u8>,
    }

    impl Model {
        fn new(experts: usize, sizes: [usize; 2], gap: u64) -> Self {
            let mut at = gap;
            let mut tensors = Vec::new();
            for layer in 0..2 {
                for (part, bytes) in ["up", "down"].into_iter().zip(sizes) {
                    let name = format!("blk.{layer}.ffn_{part}_exps.weight");
                    tensors.push(tensor(&name, experts, bytes, at));
                    at += (experts * bytes) as u64 + gap;
                }
            }
            let len = usize::try_from(at).unwrap().next_multiple_of(BLOCK);
            let file = (0..len).map(|i| (i * 31 % 251) as u8 + 1).collect();
            Self { tensors, file }
        }

        fn store(&self, budget: Bytes) -> ExpertStore {
            let groups = ExpertGroup::all(&self.tensors);
            let lru = Lru::new(groups.iter().map(ExpertGroup::experts));
            ExpertStore::new(groups, budget, Box::new(lru)).unwrap()
        }

        fn read(&self, demands: &[Demand<'_>]) -> Result<(), RiverError> {
            for demand in demands {
                let slice = demand.table.slices(&demand.experts);
                let at = usize::try_from(slice.offset).unwrap();
                demand.into.write(&self.file[at..at + slice.len]);
            }
            Ok(())
        }

        /// Whether `expert` has the file's bytes in every table of its group.
        fn is_right(&self, store: &ExpertStore, group: usize, expert: usize) -> bool {
            let tables = self
                .tensors
                .iter()
                .filter(|t| t.layer() == Some(group as u32));
            tables.enumerate().all(|(table, tensor)| {
                let bytes = usize::try_from(tensor.bytes).unwrap() / tensor.dims[2] as usize;
                let at = usize::try_from(tensor.offset).unwrap() + expert * bytes;
                let mut found = vec![0; bytes];
                let memory = store.memory(TableIdx { group, table });
                memory.part(expert * bytes, bytes).read(&mut found);
                found == self.file[at..at + bytes]
            })
        }
    }

    fn failed() -> RiverError {
        RiverError::Read(TransferFailure {
            direction: Direction::Read,
            path: "model".into(),
            offset: 0,
            bytes: 4096,
            why: Arc::new(std::io::Error::from_raw_os_error(5)),
        })
    }

    /// Pages of `store` that hold anything. Bytes of the file are never zero.
    fn pages_taken(store: &ExpertStore) -> usize {
        let tables = store.groups.iter().flat_map(|group| &group.tables);
        let pages = tables.flat_map(|table| {
            (0..table.blocks.len() / BLOCK).map(|page| {
                let mut bytes = [0; BLOCK];
                table.blocks.part(page * BLOCK, BLOCK).read(&mut bytes);
                bytes.iter().any(|b| *b != 0)
            })
        });
        pages.filter(|taken| *taken).count()
    }

    proptest! {
        #[test]
        fn what_is_held_is_right_and_memory_is_what_is_counted(
            experts in 2usize..12,
            sizes in prop::array::uniform2(1usize..12_000),
            gap in 1u64..5_000,
            tokens in 1usize..4,
            steps in prop::collection::vec(
                (0usize..2, prop::collection::vec(any::<prop::sample::Index>(), 1..4), 0u8..8), 1..40,
            ),
        ) {
            let model = Model::new(experts, sizes, gap);
            // What any 3 experts of a layer take, or a little more.
            let least = ExpertGroup::all(&model.tensors).iter().map(|g| g.most(3)).max().unwrap();
            let budget = Bytes(least.0 + (tokens * BLOCK) as u64);
            let mut store = model.store(budget);
            let mut asked = 0;
            for (group, ids, fails) in steps {
                store.begin_pass();
                let ids: Vec<_> = ids.iter().map(|id| id.index(experts) as i32).collect();
                let mut distinct = ids.clone();
                distinct.sort_unstable();
                distinct.dedup();
                let before = store.counts();
                let held = store.hold(TableIdx { group, table: 1 }, &ids, ids.len(), |demands| {
                    if fails == 0 {
                        return Err(failed());
                    }
                    model.read(demands)
                });
                let counts = store.counts();
                asked += distinct.len() as u64;
                prop_assert_eq!(counts.hits + counts.misses, asked);
                prop_assert_eq!(held.is_err(), fails == 0 && counts.misses > before.misses);
                if held.is_ok() {
                    for &id in &distinct {
                        prop_assert!(model.is_right(&store, group, id as usize), "{id}");
                    }
                }
                prop_assert!(store.bytes() <= budget);
                prop_assert_eq!((pages_taken(&store) * BLOCK) as u64, store.bytes().0);
                // Also those that are here and were not asked for.
                for group in 0..2 {
                    for expert in 0..experts {
                        let here = store.groups[group].states[expert].is_here;
                        prop_assert!(!here || model.is_right(&store, group, expert));
                    }
                }
                store.computed();
            }
        }
    }

    proptest! {
        /// Which the real store evicts by in these tests. Several tables ask for the same experts,
        /// and steps are computed together.
        #[test]
        fn the_simulated_lru_hits_as_often_as_the_real_one(
            sizes in prop::array::uniform2(1usize..12_000),
            gap in 1u64..5_000,
            tokens in 0usize..4,
            steps in prop::collection::vec(
                (
                    0usize..2, 0usize..2, any::<bool>(), any::<bool>(),
                    prop::collection::vec(0i32..9, 1..4),
                ),
                1..80,
            ),
        ) {
            let model = Model::new(9, sizes, gap);
            let least: u64 = ExpertGroup::all(&model.tensors).iter().map(|g| g.most(4).0).sum();
            let mut store = model.store(Bytes(least + (tokens * BLOCK) as u64));
            store.begin_pass();
            for (group, table, begins, is_computed, ids) in steps {
                if begins {
                    store.begin_pass();
                }
                let before = store.counts();
                let at = TableIdx { group, table };
                let held = store.hold(at, &ids, ids.len(), |demands| model.read(demands));
                if held.is_err() {
                    // More was held than there is memory for: the pass has ended.
                    return Ok(());
                }
                let counts = store.counts();
                prop_assert_eq!(counts.lru_hits, counts.hits);
                let rows = store.rows();
                let states = || rows.iter().flat_map(|row| &row.experts);
                let n = |state| states().filter(|of| **of == state).count() as u64;
                if begins {
                    prop_assert_eq!(n(ExpertState::Hit), counts.hits - before.hits);
                    prop_assert_eq!(n(ExpertState::Missed), counts.misses - before.misses);
                }
                if is_computed {
                    store.computed();
                }
            }
        }
    }

    /// One that evicts the expert with the highest number.
    struct Highest(std::collections::BTreeSet<ExpertId>);

    impl Eviction for Highest {
        fn used(&mut self, _group: usize, uses: &[Use]) {
            self.0.extend(uses.iter().map(|of| of.id));
        }

        fn left(&mut self, expert: ExpertId) {
            self.0.remove(&expert);
        }

        fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId> {
            self.0.iter().rev().copied().find(|&id| may_go(id))
        }

        fn window(&self) -> f64 {
            1.0
        }
    }

    #[test]
    fn another_eviction_hits_otherwise_than_the_simulated_lru() {
        let model = Model::new(4, [8192, 8192], 4096);
        let mut store = model.store(Bytes(2 * 16384));
        store.evict_by(Box::new(Highest(std::collections::BTreeSet::new())));
        for id in [0, 1, 2, 0, 3, 0] {
            store.begin_pass();
            let table = TableIdx { group: 0, table: 0 };
            store.hold(table, &[id], 1, |d| model.read(d)).unwrap();
            store.computed();
        }
        let counts = store.counts();
        assert_eq!((counts.hits, counts.misses, counts.lru_hits), (2, 4, 1));
        use ExpertState::{Absent, Here, Hit};
        let rows = store.rows();
        assert_eq!(rows[0].experts[..], [Hit, Absent, Absent, Here]);
        assert_eq!((rows[0].layer, rows[1].layer), (0, 1));
        assert_eq!(rows[1].experts[..], [Absent; 4]);
    }

    #[test]
    fn what_is_held_does_not_leave_and_too_many_are_refused() {
        let model = Model::new(8, [8192, 8192], 4096);
        let mut store = model.store(Bytes(3 * 16384));
        let (first, second) = (
            TableIdx { group: 0, table: 0 },
            TableIdx { group: 1, table: 0 },
        );
        store.begin_pass();
        store.hold(first, &[1, 2], 2, |d| model.read(d)).unwrap();
        let refused = store
            .hold(second, &[3, 4], 2, |d| model.read(d))
            .unwrap_err();
        assert!(
            matches!(
                refused,
                ExpertError::TooMany {
                    layer: 1,
                    chosen: 2,
                    ..
                }
            ),
            "{refused}"
        );
        assert_eq!(
            store.bytes(),
            Bytes(2 * 16384),
            "nothing of those that were refused"
        );
        store.computed();
        store.hold(second, &[3, 4], 2, |d| model.read(d)).unwrap();
        assert_eq!(store.bytes(), Bytes(3 * 16384));
        assert!(!model.is_right(&store, 0, 1) && model.is_right(&store, 0, 2));
    }

    #[test]
    fn free_memory_is_filled_and_what_is_filled_is_right() {
        let model = Model::new(8, [8192, 5000], 100);
        let budget = Bytes(9 * 16384);
        let mut store = model.store(budget);
        assert!(store.fill(1, |_| Err(failed())).is_err());
        assert_eq!(store.bytes(), Bytes(0));
        assert!(!store.fill(1, |_| panic!("it failed")).unwrap());
        store.begin_pass();
        while store.fill(1, |demands| model.read(demands)).unwrap() {}
        assert!(store.bytes() <= budget && store.bytes().0 + 2 * 16384 > budget.0);
        assert_eq!((pages_taken(&store) * BLOCK) as u64, store.bytes().0);
        let mut layers = [0_usize; 2];
        for (group, n) in layers.iter_mut().enumerate() {
            for expert in (0..8).filter(|&expert| store.groups[group].states[expert].is_here) {
                assert!(model.is_right(&store, group, expert));
                *n += 1;
            }
        }
        assert!(layers[0].abs_diff(layers[1]) <= 1, "{layers:?}");
        store.begin_pass();
        let table = TableIdx { group: 0, table: 1 };
        store
            .hold(table, &[0, 1], 2, |_| panic!("they are here"))
            .unwrap();
        let counts = store.counts();
        assert_eq!((counts.hits, counts.misses, counts.bytes), (2, 0, 0));
        store.computed();
        // Of those that nothing has used, some make place.
        store.hold(table, &[7], 1, |d| model.read(d)).unwrap();
        assert!(model.is_right(&store, 0, 0) && model.is_right(&store, 0, 7));
    }

    #[test]
    fn an_expert_that_there_is_not_is_refused_before_anything_moves() {
        let model = Model::new(8, [8192, 8192], 4096);
        let mut store = model.store(Bytes(1 << 20));
        store.begin_pass();
        let refused = store.hold(TableIdx { group: 0, table: 1 }, &[3, 8], 2, |d| {
            model.read(d)
        });
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("expert 8 of blk.0.ffn_down_exps"), "{words}");
        assert_eq!((store.bytes(), store.counts().misses), (Bytes(0), 0));
    }
}
