//! The machine's memory, and how much of it to take.

use super::{cgroup, kilobytes};
use crate::units::Bytes;
use std::path::Path;

/// Memory as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryFacts {
    pub total: Option<Bytes>,
    /// What can be had without swapping, as the kernel estimates it.
    pub available: Option<Bytes>,
    /// The limit of the control group that binds first.
    pub cgroup_limit: Option<Bytes>,
    /// What that group holds, without file pages that are given up by themselves.
    pub cgroup_used: Option<Bytes>,
    /// Its version, 1 or 2.
    pub cgroup_version: Option<u8>,
}

impl MemoryFacts {
    /// What the control group has left.
    pub fn cgroup_headroom(&self) -> Option<Bytes> {
        Some(self.cgroup_limit?.saturating_sub(self.cgroup_used?))
    }

    /// The most that this process can still get, whichever limit binds.
    pub fn obtainable(&self) -> Option<Bytes> {
        match (self.available, self.cgroup_headroom()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether it is the control group that binds.
    pub fn cgroup_binds(&self) -> bool {
        self.cgroup_headroom()
            .is_some_and(|left| self.available.is_none_or(|free| left < free))
    }
}

/// Reads the present figures.
pub fn memory() -> MemoryFacts {
    facts(Path::new("/"))
}

fn facts(root: &Path) -> MemoryFacts {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let cgroup = cgroup::limit(root);
    MemoryFacts {
        total: kilobytes(&meminfo, "MemTotal"),
        available: kilobytes(&meminfo, "MemAvailable"),
        cgroup_limit: cgroup.map(|c| c.limit),
        cgroup_used: cgroup.map(|c| c.used),
        cgroup_version: cgroup.map(|c| c.version),
    }
}

/// Left to the rest of the machine: an eighth of what is there, from 64 MiB up to 2 GiB.
fn margin(obtainable: Bytes) -> Bytes {
    Bytes(obtainable.0 / 8).clamp(Bytes::mib(64), Bytes(2 * Bytes::GIB))
}

/// Why a budget cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error(
        "--ram {asked} is more than can be had: {obtainable} are {reason}; \
         ask for at most that, or leave --ram out to take {default}"
    )]
    TooMuch {
        asked: Bytes,
        obtainable: Bytes,
        reason: &'static str,
        default: Bytes,
    },
    #[error("the machine does not say how much memory is free: give --ram SIZE")]
    Unknown,
}

/// The budget to run in: what was asked for if it can be had; where nothing was, what can be
/// had less an eighth of it (at least 64 MiB, at most 2 GiB) for the rest of the machine.
///
/// What this process already holds counts as obtainable, since the budget is for all of it.
pub fn budget(
    asked: Option<Bytes>,
    facts: &MemoryFacts,
    held: Bytes,
) -> Result<Bytes, BudgetError> {
    let Some(obtainable) = facts.obtainable() else {
        return asked.ok_or(BudgetError::Unknown);
    };
    let obtainable = Bytes(obtainable.0 + held.0);
    let default = obtainable.saturating_sub(margin(obtainable));
    match asked {
        None => Ok(default),
        Some(asked) if asked <= obtainable => Ok(asked),
        Some(asked) => Err(BudgetError::TooMuch {
            asked,
            obtainable,
            reason: if facts.cgroup_binds() {
                "left within the control group's limit"
            } else {
                "available on this machine"
            },
            default,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: Bytes = Bytes(Bytes::GIB);

    fn with(available: u64, limit: Option<u64>) -> MemoryFacts {
        MemoryFacts {
            total: Some(Bytes(64 * Bytes::GIB)),
            available: Some(Bytes(available)),
            cgroup_limit: limit.map(Bytes),
            cgroup_used: limit.map(|_| Bytes(0)),
            cgroup_version: limit.map(|_| 2),
        }
    }

    #[test]
    fn the_tighter_limit_binds() {
        let facts = with(8 * Bytes::GIB, Some(Bytes::GIB));
        assert_eq!(facts.obtainable(), Some(GIB));
        assert!(facts.cgroup_binds());
        let facts = with(Bytes::GIB, Some(8 * Bytes::GIB));
        assert_eq!(facts.obtainable(), Some(GIB));
        assert!(!facts.cgroup_binds());
        assert_eq!(MemoryFacts::default().obtainable(), None);
    }

    #[test]
    fn the_default_leaves_a_margin() {
        let take = |bytes| budget(None, &with(bytes, None), Bytes(0)).unwrap();
        assert_eq!(take(Bytes::GIB), Bytes::mib(896));
        assert_eq!(take(64 * Bytes::GIB), Bytes(62 * Bytes::GIB));
        assert_eq!(take(128 * Bytes::MIB), Bytes::mib(64));
        assert_eq!(take(0), Bytes(0));
    }

    #[test]
    fn more_than_there_is_is_refused_with_the_figures() {
        let facts = with(8 * Bytes::GIB, Some(Bytes::GIB));
        assert_eq!(
            budget(Some(Bytes::mib(960)), &facts, Bytes(0)),
            Ok(Bytes::mib(960))
        );
        let error = budget(Some(Bytes::mib(1100)), &facts, Bytes(0)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("1.07 GiB") && text.contains("1.00 GiB"),
            "{text}"
        );
        assert!(
            text.contains("control group") && text.contains("896 MiB"),
            "{text}"
        );
        // What the process already holds is part of the budget.
        assert!(budget(Some(Bytes::mib(1100)), &facts, Bytes::mib(100)).is_ok());
        assert_eq!(
            budget(None, &MemoryFacts::default(), Bytes(0)),
            Err(BudgetError::Unknown)
        );
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let facts = memory();
        assert!(facts.total.unwrap() >= facts.available.unwrap());
        assert!(facts.available.unwrap() > Bytes(0));
    }
}
