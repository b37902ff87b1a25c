//! What a file's header says of a mixture of experts, for the planner.

use super::pages::ExpertGroup;
use crate::model::Outline;
use crate::units::Bytes;

/// The experts of a model: how large they are, and how many of them a token uses.
#[derive(Clone, Debug)]
pub struct Mixture {
    pub groups: Vec<ExpertGroup>,
    /// Experts of a group that a token uses.
    pub used: usize,
}

/// How much memory experts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertPlan {
    /// For those that are here: whole pages.
    pub bytes: Bytes,
    /// Most tokens that can be computed together: the experts that they choose in a layer are all
    /// here at a time. Wider passes are computed in pieces.
    pub widest: usize,
    /// All experts fit: each is read once.
    pub holds_all: bool,
}

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

    /// Memory of all experts.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.groups.iter().map(|group| group.bytes().0).sum())
    }

    /// The most memory that the experts take which `tokens` tokens choose in a layer.
    pub fn least(&self, tokens: usize) -> Bytes {
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

    /// Divides `memory` for experts.
    pub fn plan(&self, memory: Bytes, widest: usize) -> ExpertPlan {
        let all = self.bytes();
        ExpertPlan {
            bytes: memory.min(all),
            widest,
            holds_all: all <= memory,
        }
    }

    /// The part of a token's experts that will be here, expected of experts used with some
    /// repetition and the oldest leaving first: where the part `f` of them fits, `1 - (1 - f)^2`
    /// (within 0.06 of two small mixtures and a large one at 25, 50 and 75%), and nothing where
    /// one token's experts do not, since each then pushes out what the next one needs.
    pub fn predicted_hit_rate(&self, memory: Bytes) -> f64 {
        let all = self.bytes();
        if memory >= all {
            return 1.0;
        }
        if memory < self.token_bytes() {
            return 0.0;
        }
        let fits = memory.0 as f64 / all.0 as f64;
        1.0 - (1.0 - fits).powi(2)
    }

    /// What a token is expected to have read of experts.
    pub fn predicted_token_bytes(&self, memory: Bytes) -> Bytes {
        let missed = 1.0 - self.predicted_hit_rate(memory);
        Bytes((self.token_bytes().0 as f64 * missed) as u64)
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
        let rate = |part: f64| {
            mixture.predicted_hit_rate(Bytes((mixture.bytes().0 as f64 * part) as u64))
        };
        assert_eq!((rate(0.0), rate(0.12), rate(1.0)), (0.0, 0.0, 1.0));
        assert!((rate(0.25) - 0.4375).abs() < 1e-9);
        assert!((rate(0.75) - 0.9375).abs() < 1e-9);
        let plan = mixture.plan(Bytes(1 << 30), 63);
        assert!(plan.holds_all && plan.bytes == mixture.bytes());
        assert!(!mixture.plan(Bytes(16384), 63).holds_all);
    }
}
