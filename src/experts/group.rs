//! The memory of a group of experts: address space for all of each table, and memory under the
//! pages of those that are here.

use super::pages::{ExpertGroup, own_pages};
use crate::io::{Arena, BLOCK, Region};
use crate::river::{Demand, ExpertIdx, ExpertTable};
use std::ops::{Range, RangeInclusive};

/// Most bytes of neighbours that are read at once: several reads keep a disk busier than one.
const READ_BYTES: usize = 4 << 20;

/// See the module's text.
pub(super) struct Group {
    pub layer: u32,
    pub tables: Vec<Table>,
    /// By expert.
    pub states: Vec<State>,
}

/// One of its tables.
pub(super) struct Table {
    pub table: ExpertTable,
    /// Address space for all of it, from the first block that it touches.
    pub blocks: Region,
    /// Pages of each slice that no other touches, in the one that has the fewest.
    core_pages: usize,
}

/// What is known of an expert.
#[derive(Clone, Copy, Default)]
pub(super) struct State {
    pub is_here: bool,
    /// It may not leave.
    pub is_held: bool,
    /// The last pass that used it.
    pub pass: u64,
    /// It was not here when that pass first asked for it.
    pub was_missed: bool,
}

impl Group {
    /// With nothing in memory.
    ///
    /// # Errors
    /// The system's own, where there are not as many addresses.
    pub(super) fn new(group: ExpertGroup) -> std::io::Result<Self> {
        let states = vec![State::default(); group.experts()];
        let tables = group.tables.into_iter().map(|table| {
            let len = table.span().len;
            let alone = table.all().map(|expert| alone(&table, expert).len());
            Ok(Table {
                blocks: Arena::sparse(len)?.region(0, len),
                core_pages: alone.min().unwrap_or(0),
                table,
            })
        });
        Ok(Self {
            layer: group.layer,
            tables: tables.collect::<std::io::Result<_>>()?,
            states,
        })
    }

    /// Pages that only `expert` touches, of those that are here.
    pub(super) fn own_pages(&self, expert: ExpertIdx) -> usize {
        let tables = self.tables.iter();
        tables
            .map(|table| table.own_pages(expert, &self.states).len())
            .sum()
    }

    /// Of `expert`, in each table: the pages that only it touches of those that are here.
    pub(super) fn own_memory(&self, expert: ExpertIdx) -> Vec<Own> {
        let tables = self.tables.iter();
        let own = tables.map(|table| {
            let own = table.own_pages(expert, &self.states);
            let core = table.core(expert).unwrap_or(own.end..own.end);
            Own {
                pages: own.len(),
                edges: [own.start..core.start, core.end..own.end].map(|pages| table.part(pages)),
                core: table.part(core),
            }
        });
        own.collect()
    }

    /// The same pages of each table that are [`Own::core`] when `expert` leaves.
    pub(super) fn cores(&self, expert: ExpertIdx) -> impl Iterator<Item = Region> {
        let tables = self.tables.iter();
        tables.filter_map(move |table| Some(table.part(table.core(expert)?)))
    }
}

/// Memory of an expert in one table.
pub(super) struct Own {
    pub pages: usize,
    /// Pages that no other expert touches, as many in all slices of a table.
    pub core: Region,
    /// What is left and right of it.
    pub edges: [Region; 2],
}

impl Own {
    /// Gives all of it back to the system.
    pub(super) fn discard(&self) {
        self.core.discard();
        self.edges.iter().for_each(Region::discard);
    }
}

/// Pages that no other expert touches, here or not.
fn alone(table: &ExpertTable, expert: ExpertIdx) -> Range<usize> {
    own_pages(table, expert, |_| true)
}

impl Table {
    /// Some of the pages that no other expert touches: the same ones always, and as many of each.
    /// `None` where some have none.
    fn core(&self, expert: ExpertIdx) -> Option<Range<usize>> {
        let start = alone(&self.table, expert).start;
        (self.core_pages > 0).then(|| start..start + self.core_pages)
    }

    fn part(&self, pages: Range<usize>) -> Region {
        self.blocks.part(pages.start * BLOCK, pages.len() * BLOCK)
    }

    fn own_pages(&self, expert: ExpertIdx, states: &[State]) -> Range<usize> {
        own_pages(&self.table, expert, |other| states[other.number()].is_here)
    }

    /// For `experts`, in order: those side by side together, up to [`READ_BYTES`].
    pub(super) fn demands(&self, experts: &[ExpertIdx]) -> Vec<Demand<'_>> {
        let mut runs: Vec<RangeInclusive<ExpertIdx>> = Vec::new();
        for &expert in experts {
            match runs.last_mut() {
                Some(run)
                    if run.end().number() + 1 == expert.number()
                        && self.table.slices(&(*run.start()..=expert)).len <= READ_BYTES =>
                {
                    *run = *run.start()..=expert;
                }
                _ => runs.push(expert..=expert),
            }
        }
        let first = self.table.span().offset;
        let demand = |experts: RangeInclusive<ExpertIdx>| {
            let slice = self.table.slices(&experts);
            let at = usize::try_from(slice.offset - first).unwrap_or(usize::MAX);
            Demand {
                table: &self.table,
                experts,
                into: self.blocks.part(at, slice.len),
            }
        };
        runs.into_iter().map(demand).collect()
    }
}
