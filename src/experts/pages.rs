//! Which pages of memory an expert takes.
//!
//! Slices of a table follow one another without a gap, so that two of them share a page at most
//! places, and many do where they are shorter than a page. A page that is not the first or last of
//! a slice is that slice's alone.

use crate::io::BLOCK;
use crate::model::TensorInfo;
use crate::river::{ExpertIdx, ExpertTable};
use crate::units::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;

/// The tables of a layer of which the same ids choose the same experts.
#[derive(Clone, Debug)]
pub struct ExpertGroup {
    pub layer: u32,
    /// In the order of the file; all of as many experts.
    pub tables: Vec<ExpertTable>,
}

impl ExpertGroup {
    /// The groups that `tensors` make, in the order of layers. Tables of one layer that have
    /// different numbers of experts are chosen from by different ids.
    pub fn all<'a>(tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Vec<Self> {
        let mut groups: BTreeMap<(u32, usize), Vec<&TensorInfo>> = BTreeMap::new();
        for tensor in tensors {
            if let (Some(layer), Some(table)) = (tensor.layer(), ExpertTable::of(tensor)) {
                let group = groups.entry((layer, table.experts())).or_default();
                group.push(tensor);
            }
        }
        let group = |((layer, _), mut tensors): ((u32, usize), Vec<&TensorInfo>)| {
            tensors.sort_by_key(|tensor| (tensor.file, tensor.offset));
            let tables = tensors.into_iter().filter_map(ExpertTable::of);
            Self {
                layer,
                tables: tables.collect(),
            }
        };
        groups.into_iter().map(group).collect()
    }

    /// How many experts there are.
    pub fn experts(&self) -> usize {
        self.tables.first().map_or(0, ExpertTable::experts)
    }

    /// The most memory that any `n` of its experts take.
    pub fn most(&self, n: usize) -> Bytes {
        let tables = self.tables.iter().map(|table| {
            let largest = table.all().map(|expert| table.slice(expert).len).max();
            (largest.unwrap_or(0) * n).min(table.span().len)
        });
        Bytes(tables.map(|bytes| bytes as u64).sum())
    }

    /// Memory of all of its experts.
    pub fn bytes(&self) -> Bytes {
        self.most(self.experts())
    }
}

/// The pages of `expert`, counted from the first of its table.
pub(super) fn pages(table: &ExpertTable, expert: ExpertIdx) -> Range<usize> {
    let (slice, first) = (table.slice(expert), table.span().offset);
    let start = usize::try_from(slice.offset - first).unwrap_or(usize::MAX) / BLOCK;
    start..start + slice.len / BLOCK
}

/// Those of the pages of `expert` that no other expert touches which `is_here`.
pub(super) fn own_pages(
    table: &ExpertTable,
    expert: ExpertIdx,
    is_here: impl Fn(ExpertIdx) -> bool,
) -> Range<usize> {
    let Range { mut start, mut end } = pages(table, expert);
    for other in before(table, expert).take_while(|&other| pages(table, other).end > start) {
        if is_here(other) {
            start = pages(table, other).end;
            break;
        }
    }
    for other in after(table, expert).take_while(|&other| pages(table, other).start < end) {
        if is_here(other) {
            end = pages(table, other).start;
            break;
        }
    }
    start..end.max(start)
}

/// Those that touch a page of `expert`, itself left out.
pub(super) fn neighbours(
    table: &ExpertTable,
    expert: ExpertIdx,
) -> impl Iterator<Item = ExpertIdx> {
    let Range { start, end } = pages(table, expert);
    let before = before(table, expert).take_while(move |&other| pages(table, other).end > start);
    let after = after(table, expert).take_while(move |&other| pages(table, other).start < end);
    before.chain(after)
}

/// The nearest first.
fn before(table: &ExpertTable, expert: ExpertIdx) -> impl Iterator<Item = ExpertIdx> + use<> {
    table.all().take(expert.number()).rev()
}

fn after(table: &ExpertTable, expert: ExpertIdx) -> impl Iterator<Item = ExpertIdx> + use<> {
    table.all().skip(expert.number() + 1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ggml::GgmlType;
    use proptest::prelude::*;

    /// A table of `experts` experts of so many bytes each.
    pub fn tensor(name: &str, experts: usize, expert_bytes: usize, offset: u64) -> TensorInfo {
        TensorInfo {
            name: name.into(),
            ty: GgmlType::F32,
            dims: [64, 16, experts as u64, 1],
            n_dims: 3,
            file: 0,
            offset,
            bytes: (experts * expert_bytes) as u64,
        }
    }

    #[test]
    fn tables_of_a_layer_that_the_same_ids_choose_from_are_a_group() {
        let tensors = [
            tensor("blk.10.ffn_up_exps.weight", 8, 4096, 0),
            tensor("blk.2.ffn_up_exps.weight", 8, 4096, 90_000),
            tensor("blk.2.ffn_gate_exps.weight", 8, 4096, 40_000),
            tensor("blk.2.ffn_up_chexps.weight", 4, 4096, 200_000),
        ];
        let groups = ExpertGroup::all(&tensors);
        let found: Vec<_> = groups
            .iter()
            .map(|g| (g.layer, g.experts(), g.tables.len()))
            .collect();
        assert_eq!(found, [(2, 4, 1), (2, 8, 2), (10, 8, 1)]);
        assert_eq!(
            groups[1].tables[0].span().offset,
            36_864,
            "gate comes first"
        );
    }

    proptest! {
        /// Against a count of who touches each page.
        #[test]
        fn a_page_is_counted_once(
            offset in 0u64..20_000, expert_bytes in 1usize..20_000, experts in 1usize..40,
            acts in prop::collection::vec(any::<prop::sample::Index>(), 1..80),
        ) {
            let table = ExpertTable::of(&tensor("blk.0.ffn_up_exps.weight", experts, expert_bytes, offset));
            let table = table.unwrap();
            let all: Vec<_> = table.all().collect();
            let mut here = vec![false; experts];
            let mut users = vec![0usize; table.span().len / BLOCK];
            let mut counted = 0;
            for act in acts {
                let at = act.index(experts);
                let expert = all[at];
                let own = own_pages(&table, expert, |other| here[other.number()]);
                let touched: Vec<_> = neighbours(&table, expert).map(ExpertIdx::number).collect();
                for other in (0..experts).filter(|&other| other != at) {
                    let (a, b) = (pages(&table, expert), pages(&table, all[other]));
                    prop_assert_eq!(touched.contains(&other), a.start < b.end && b.start < a.end);
                }
                if here[at] {
                    counted -= own.len();
                    pages(&table, expert).for_each(|page| users[page] -= 1);
                    // What is given back is what nobody touches any more.
                    for page in pages(&table, expert) {
                        prop_assert_eq!(own.contains(&page), users[page] == 0);
                    }
                } else {
                    counted += own.len();
                    pages(&table, expert).for_each(|page| users[page] += 1);
                }
                here[at] = !here[at];
                prop_assert_eq!(counted, users.iter().filter(|&&n| n > 0).count());
                let n = here.iter().filter(|here| **here).count();
                let group = ExpertGroup { layer: 0, tables: vec![table.clone()] };
                prop_assert!((counted * BLOCK) as u64 <= group.most(n).0);
            }
        }
    }
}
