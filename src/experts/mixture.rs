//! What a file's header says of a mixture of experts, for the planner.

use super::hit_rate::PredictedFrom;
use super::model_key::ModelKey;
use super::pages::ExpertGroup;
use super::routing::{Header, RoutedGroup};
use crate::io::BLOCK;
use crate::model::Outline;
use crate::units::Bytes;

/// The experts of a model: how large they are, and how many of them a token uses.
#[derive(Clone, Debug)]
pub struct Mixture {
    pub groups: Vec<ExpertGroup>,
    /// Experts of a group that a token uses.
    pub used: usize,
}

/// How much memory experts have, and what is expected of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertPlan {
    /// For those that are here.
    pub bytes: Bytes,
    /// What all of them take. Where that fits, each is read once.
    pub all: Bytes,
    /// Page tables under the addresses of all of them: those that were once needed stay.
    pub page_tables: Bytes,
    /// Most tokens that can be computed together: the experts that they choose in a layer are all
    /// here at a time. Wider passes are computed in pieces.
    pub widest: usize,
    /// The part of a token's experts that are here when they are asked for.
    pub predicted_hit_rate: f64,
    pub predicted_from: PredictedFrom,
    /// What a token has read of the others.
    pub predicted_token_bytes: Bytes,
}

impl ExpertPlan {
    /// With the page tables, which count as the process's memory.
    pub fn memory(&self) -> Bytes {
        Bytes(self.bytes.0 + self.page_tables.0)
    }
}

/// A page of page tables is for the addresses of so many pages of memory.
const PAGE_TABLE: u64 = BLOCK as u64 / 8;

impl Mixture {
    /// `None` where no experts are chosen.
    pub fn of(outline: &Outline) -> Option<Self> {
        let groups = ExpertGroup::all(&outline.experts);
        let most = groups.iter().map(ExpertGroup::experts).max()?;
        let used = match outline.experts_used {
            0 => most,
            used => used.min(most),
        };
        Some(Self { groups, used })
    }

    /// Of a recording of its routing.
    pub fn routing_header(&self, model: ModelKey) -> Header {
        let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let groups = self.groups.iter().map(|group| RoutedGroup {
            layer: group.layer,
            experts: count(group.experts()),
            used: count(self.used.min(group.experts())),
            expert_bytes: Bytes(group.bytes().0 / group.experts().max(1) as u64),
        });
        Header {
            model,
            groups: groups.collect(),
        }
    }

    /// Memory of all experts.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.groups.iter().map(|group| group.bytes().0).sum())
    }

    /// Page tables under all addresses of tables. Their ends may need one more each.
    fn page_tables(&self) -> Bytes {
        let tables: usize = self.groups.iter().map(|group| group.tables.len()).sum();
        let pages = self.bytes().0.div_ceil(BLOCK as u64 * PAGE_TABLE) + tables as u64;
        Bytes(pages * BLOCK as u64)
    }

    /// How many tokens can choose all experts of any layer.
    pub fn tokens_for_all(&self) -> usize {
        let of_group = |group: &ExpertGroup| group.experts().div_ceil(self.used.max(1));
        self.groups.iter().map(of_group).max().unwrap_or(0).max(1)
    }

    /// The most memory that the experts take which `tokens` tokens choose in a layer.
    fn least(&self, tokens: usize) -> Bytes {
        let of_group = |group: &ExpertGroup| {
            let chosen = (self.used * tokens).min(group.experts());
            group.most(chosen)
        };
        self.groups.iter().map(of_group).max().unwrap_or_default()
    }

    /// Experts that a token uses in all layers.
    pub fn token_bytes(&self) -> Bytes {
        let of_group = |group: &ExpertGroup| {
            let (used, experts) = (self.used.min(group.experts()), group.experts().max(1));
            group.bytes().0 * used as u64 / experts as u64
        };
        Bytes(self.groups.iter().map(of_group).sum())
    }

    /// The plan where experts and their page tables have `memory`.
    pub fn plan(&self, memory: Bytes, widest: usize) -> ExpertPlan {
        let (all, page_tables) = (self.bytes(), self.page_tables());
        let pages = memory.saturating_sub(page_tables).0 / BLOCK as u64;
        let bytes = Bytes(pages * BLOCK as u64).min(all);
        let predicted_hit_rate = self.predicted_hit_rate(bytes);
        ExpertPlan {
            bytes,
            all,
            page_tables,
            widest,
            predicted_hit_rate,
            predicted_from: PredictedFrom::Shape,
            predicted_token_bytes: self.missed(predicted_hit_rate),
        }
    }

    /// The plan where all of them fit.
    pub fn plan_for_all(&self, widest: usize) -> ExpertPlan {
        self.plan(Bytes(self.bytes().0 + self.page_tables().0), widest)
    }

    /// The least memory, page tables with it, in which `tokens` tokens can be computed together.
    pub fn least_memory(&self, tokens: usize) -> Bytes {
        Bytes(self.least(tokens).0 + self.page_tables().0)
    }

    /// The part of a token's experts that will be here, where nothing is known but that the part `f`
    /// of them fits: `1 - (1 - f)^2.5`. That is within 0.07 of what eviction by intent was measured
    /// to find, in three recordings of two small mixtures, where from 3 to 75% of experts fit.
    fn predicted_hit_rate(&self, memory: Bytes) -> f64 {
        let all = self.bytes();
        if memory >= all {
            return 1.0;
        }
        let fits = memory.0 as f64 / all.0 as f64;
        1.0 - (1.0 - fits).powf(2.5)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::tests::tensor;
    use super::*;

    /// Of 4 layers with 16 experts of 2 tables with whole pages; a token uses 2.
    fn mixture() -> Mixture {
        let tables = (0..4).flat_map(|layer| {
            ["up", "down"].map(|part| {
                let name = format!("blk.{layer}.ffn_{part}_exps.weight");
                tensor(&name, 16, 8192, 8192 * 64 * layer)
            })
        });
        Mixture {
            groups: ExpertGroup::all(&tables.collect::<Vec<_>>()),
            used: 2,
        }
    }

    #[test]
    fn a_pass_needs_what_its_tokens_can_choose_in_a_layer() {
        let mixture = mixture();
        assert_eq!(mixture.bytes(), Bytes(4 * 16 * 16384));
        assert_eq!(mixture.token_bytes(), Bytes(4 * 2 * 16384));
        assert_eq!(mixture.least(1), Bytes(2 * 16384));
        assert_eq!(mixture.least(3), Bytes(6 * 16384));
        assert_eq!(mixture.least(63), Bytes(16 * 16384));
    }

    #[test]
    fn more_memory_is_expected_to_hold_more() {
        let mixture = mixture();
        let rate =
            |part: f64| mixture.predicted_hit_rate(Bytes((mixture.bytes().0 as f64 * part) as u64));
        assert_eq!((rate(0.0), rate(1.0)), (0.0, 1.0));
        // As measured by replays of recordings.
        for (part, measured) in [
            (0.0625, 0.16),
            (0.125, 0.32),
            (0.25, 0.55),
            (0.5, 0.82),
            (0.75, 0.95),
        ] {
            assert!(
                (rate(part) - measured).abs() < 0.05,
                "{part}: {}",
                rate(part)
            );
        }
    }

    #[test]
    fn page_tables_are_a_part_of_the_memory() {
        let mixture = mixture();
        // Of a little more than a megabyte, and one for each of 8 tables.
        assert_eq!(mixture.page_tables(), Bytes(9 * 4096));
        for memory in [1_000_000, 500_000, 100_000] {
            let plan = mixture.plan(Bytes(memory), 63);
            assert!(plan.memory() <= Bytes(memory));
            assert!(plan.memory().0 + BLOCK as u64 > memory);
        }
        let least = mixture.least_memory(3);
        assert_eq!(mixture.plan(least, 3).bytes, mixture.least(3));
        let all = mixture.plan_for_all(63);
        assert_eq!((all.bytes, all.predicted_hit_rate), (all.all, 1.0));
    }
}
