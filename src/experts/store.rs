//! All experts of a model: who is here, who is held, and who makes place for whom.

use super::eviction::{Eviction, ExpertId, Use};
use super::group::{Group, Own, State, Table};
use super::moves::PageMoves;
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
    /// Nothing more fits, or could be read, since the last pass began.
    is_filled: bool,
    counts: ExpertCounts,
    shadow: ShadowLru,
    moves: PageMoves,
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
            is_filled: false,
            counts: ExpertCounts::default(),
            shadow,
            moves: PageMoves::new(crate::system::mappings_to_spare()),
        })
    }

    /// Has `eviction` choose from now on. To be called while nothing is in memory: it knows of
    /// nothing.
    pub fn evict_by(&mut self, eviction: Box<dyn Eviction>) {
        self.eviction = eviction;
    }

    /// Where `table` lies: its own bytes, with memory under those of experts that are here.
    pub fn memory(&self, table: TableIdx) -> Region {
        let Table { table, blocks, .. } = &self.groups[table.group].tables[table.table];
        let span = table.span();
        blocks.part(span.skip, span.bytes)
    }

    pub fn counts(&self) -> ExpertCounts {
        self.counts
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
        self.is_filled = false;
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
        self.counts.lru_hits += self.shadow.hold(table.group, &asked, &is_held);
        if !uses.is_empty() {
            self.eviction.used(table.group, &uses);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let fits = missing
            .iter()
            .all(|&expert| self.make_place(table.group, expert));
        self.moves.finish();
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

    /// Reads, where memory is free, the experts that are expected to be used most, if the eviction
    /// knows of any: some `bytes`, or one expert. Nobody leaves for them. Whether there may be more
    /// to read; after a failed read there is not, until a pass has begun.
    ///
    /// # Errors
    /// A failed read; none of these is here then.
    pub fn fill(
        &mut self,
        bytes: usize,
        read: impl FnOnce(&[Demand<'_>]) -> Result<(), RiverError>,
    ) -> Result<bool, ExpertError> {
        if self.is_filled || !self.eviction.foresees() {
            self.is_filled = true;
            return Ok(false);
        }
        self.eviction.before_fill();
        let absent = self.absent();
        let group = absent.first().map_or(0, |&(group, _)| group);
        let (mut coming, mut pages) = (Vec::new(), 0);
        for &(_, expert) in absent.iter().filter(|&&(of, _)| of == group) {
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
            if pages * BLOCK >= bytes {
                break;
            }
        }
        if coming.is_empty() {
            self.is_filled = true;
            return Ok(false);
        }
        coming.sort_unstable();
        let came = self.read(group, &coming, read);
        if came.is_ok() {
            for &expert in &coming {
                self.shadow.came(group, expert);
            }
        } else {
            self.is_filled = true;
            self.give_up(group, &coming);
        }
        came.map(|_| true)
    }

    /// Whether [`ExpertStore::fill`] has nothing to do until a pass has begun.
    pub fn is_filled(&self) -> bool {
        self.is_filled
    }

    /// The experts that are not here, those that are expected to be used most first: where that is
    /// unknown, the lowest numbers of all groups.
    fn absent(&self) -> Vec<(usize, ExpertIdx)> {
        let groups = self.groups.iter().enumerate();
        let absent = groups.flat_map(|(number, group)| {
            let experts = group.tables[0].table.all();
            let absent = experts.filter(|expert| !group.states[expert.number()].is_here);
            absent.map(move |expert| (number, expert))
        });
        let rarity = |group, expert: ExpertIdx| {
            self.eviction.rarity(ExpertId {
                group,
                expert: expert.number(),
            })
        };
        let mut absent: Vec<_> = absent
            .map(|(group, expert)| (rarity(group, expert), expert, group))
            .collect();
        absent.sort_unstable_by(|a, b| {
            let by_rarity = a.0.total_cmp(&b.0);
            by_rarity.then((a.1, a.2).cmp(&(b.1, b.2)))
        });
        absent
            .into_iter()
            .map(|(_, expert, group)| (group, expert))
            .collect()
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
                for core in self.groups[group].cores(expert) {
                    self.moves.want(core);
                }
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
            for memory in self.let_go(victim) {
                memory.edges.iter().for_each(Region::discard);
                self.moves.keep(memory.core);
            }
        }
    }

    /// An expert leaves. Returns its memory, which is not counted any more.
    fn let_go(&mut self, id: ExpertId) -> Vec<Own> {
        let group = &mut self.groups[id.group];
        group.states[id.expert].is_here = false;
        let expert = group.tables[0].table.all().nth(id.expert);
        let memory = expert.map_or_else(Vec::new, |expert| group.own_memory(expert));
        self.used_pages -= memory.iter().map(|own| own.pages).sum::<usize>();
        self.eviction.left(id);
        memory
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
                // Not kept: a read that failed may still write there.
                self.let_go(id).iter().for_each(Own::discard);
            } else {
                self.eviction.left(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
