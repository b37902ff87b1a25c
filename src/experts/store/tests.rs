//! What is held is right, and memory is what is counted.

use super::*;
use crate::experts::pages::tests::tensor;
use crate::experts::routing::Header;
use crate::experts::{Intent, Lru, Profile};
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

/// A store that evicts by what it expects, of two layers of so many experts.
fn foreseeing(model: &Model, experts: u16, budget: Bytes) -> ExpertStore {
    let header = Header::made_up(2, experts, 2);
    let mut store = model.store(budget);
    store.evict_by(Box::new(Intent::new(&header, Profile::of(&header))));
    store
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
        sizes in prop::array::uniform2(1usize..40_000),
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

    fn came(&mut self, expert: ExpertId) {
        self.0.insert(expert);
    }

    fn left(&mut self, expert: ExpertId) {
        self.0.remove(&expert);
    }

    fn victim(&self, may_go: &dyn Fn(ExpertId) -> bool) -> Option<ExpertId> {
        self.0.iter().rev().copied().find(|&id| may_go(id))
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
    let mut store = foreseeing(&model, 8, budget);
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
    assert_eq!(counts.lru_hits, 2);
    store.computed();
    // Of those that nothing has used, some make place.
    store.hold(table, &[7], 1, |d| model.read(d)).unwrap();
    assert!(model.is_right(&store, 0, 0) && model.is_right(&store, 0, 7));
}

#[test]
fn where_nothing_is_known_nothing_is_read_before_it_is_needed() {
    let model = Model::new(8, [8192, 8192], 100);
    let mut store = model.store(Bytes(9 * 16384));
    assert!(!store.fill(1, |_| panic!("by plain LRU")).unwrap());
    assert!(store.is_filled() && store.bytes() == Bytes(0));
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

/// Mappings of this process that touch the tables of `store`.
fn mappings(store: &ExpertStore) -> usize {
    let tables = store.groups.iter().flat_map(|group| &group.tables);
    let spans: Vec<_> = tables
        .map(|table| {
            let start = table.blocks.addr().addr();
            start..start + table.blocks.len()
        })
        .collect();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let touches = |line: &&str| {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|n| usize::from_str_radix(n, 16).unwrap());
        spans.iter().any(|span| span.start < to && from < span.end)
    };
    maps.lines().filter(touches).count()
}

#[test]
fn memory_is_moved_from_expert_to_expert_in_few_mappings() {
    let model = Model::new(8, [40_000, 30_004], 100);
    let mut store = model.store(Bytes(6 * 96 * 1024));
    for i in 0..400 {
        store.begin_pass();
        let (group, ids) = (i % 2, [(i * 5 % 8) as i32, (i * 3 + 1) as i32 % 8]);
        let table = TableIdx { group, table: 0 };
        store.hold(table, &ids, 2, |d| model.read(d)).unwrap();
        assert!(
            ids.iter()
                .all(|&id| model.is_right(&store, group, id as usize))
        );
        assert_eq!((pages_taken(&store) * BLOCK) as u64, store.bytes().0);
        store.computed();
    }
    // Two layers of two tables of eight.
    let most = 4 * (2 * 8 + 1);
    assert!(mappings(&store) <= most, "{} of {most}", mappings(&store));
    if crate::system::mappings_to_spare() > 0 {
        assert!(store.moves.moved() > 100, "{}", store.moves.moved());
    }
}
