//! How far eviction may depart from age, learnt from hits.
//!
//! The window is the part of the experts in memory, the oldest, of which the one that is expected
//! last leaves: 1 chooses among all, 0 is plain LRU. The first is best where the text is as
//! expected. It may not be, so small caches are simulated next to the real one, one for each
//! window, over some of the layers, with as many experts as their part of the memory:
//!
//! ```text
//!  uses of sampled layers --> shadow 1     hits, the older counting less
//!                        --> shadow 1/2        |
//!                        --> shadow 0          '--> where a smaller window has clearly more hits
//!                                                   than a larger one, it is taken
//! ```
//!
//! Units: experts and hits. A use in a sampled layer takes time in the sampled experts at most
//! ([`MOST_SAMPLED`], or one layer); others take none. Nothing is allocated.

use super::eviction::{Eviction, ExpertId, Share};
use super::lru::Lru;
use super::rates::Rates;

/// In order: the first that no later one is clearly better than is taken.
const WINDOWS: [f64; 3] = [1.0, 0.5, 0.0];
/// So many times as many hits are clearly more.
const CLEARLY: f64 = 1.02;
/// Experts that are simulated, in whole layers.
const MOST_SAMPLED: usize = 512;
/// After so many passes half of the hits that count are of older ones.
const HALF_LIFE_PASSES: f64 = 256.0;

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Window {
    shadows: Vec<Shadow>,
    /// By group.
    is_sampled: Vec<bool>,
    sampled_experts: usize,
    all_experts: usize,
    /// Experts that a shadow holds; 0 before the real cache is full.
    capacity: usize,
    best: usize,
    /// The group that was used last.
    at: usize,
}

#[derive(Clone, Debug)]
struct Shadow {
    window: f64,
    here: Lru,
    hits: f64,
}

impl Window {
    pub fn new(experts: &[usize]) -> Self {
        let all: usize = experts.iter().sum();
        let mean = (all / experts.len().max(1)).max(1);
        // Evenly spread, since layers differ with their depth.
        let step = experts.len().div_ceil((MOST_SAMPLED / mean).max(1)).max(1);
        let is_sampled: Vec<_> = (0..experts.len()).map(|group| group % step == 0).collect();
        let sampled = experts
            .iter()
            .zip(&is_sampled)
            .filter(|(_, sampled)| **sampled);
        let shadow = |window| Shadow {
            window,
            here: Lru::new(experts.iter().copied()),
            hits: 0.0,
        };
        Self {
            shadows: WINDOWS.map(shadow).into(),
            sampled_experts: sampled.map(|(experts, _)| experts).sum(),
            is_sampled,
            all_experts: all,
            capacity: 0,
            best: 0,
            at: 0,
        }
    }

    /// The window that would have hit most often of late.
    pub fn get(&self) -> f64 {
        WINDOWS[self.best]
    }

    /// A pass begins, with `here` experts in a cache that has been full.
    pub fn begin_pass(&mut self, here: usize) {
        let part = here as f64 * self.sampled_experts as f64 / self.all_experts.max(1) as f64;
        self.capacity = (part.round() as usize).max(1);
        let keep = (-1.0 / HALF_LIFE_PASSES).exp2();
        let mut best = 0;
        for number in 0..self.shadows.len() {
            self.shadows[number].hits *= keep;
            if self.shadows[number].hits > CLEARLY * self.shadows[best].hits {
                best = number;
            }
        }
        self.best = best;
    }

    /// To be called before `rates` is told.
    pub fn used(&mut self, id: ExpertId, share: Share, rates: &Rates) {
        if self.capacity == 0 {
            return;
        }
        if id.group != self.at {
            // All that a step needs is there at once; now that it has been computed, others leave.
            let (capacity, at) = (self.capacity, self.at);
            let shadows = self.shadows.iter_mut();
            shadows.for_each(|shadow| shadow.shrink(capacity, at, rates));
            self.at = id.group;
        }
        if self.is_sampled[id.group] {
            let shadows = self.shadows.iter_mut();
            shadows.for_each(|shadow| shadow.used(id, share));
        }
    }
}

impl Shadow {
    fn used(&mut self, id: ExpertId, share: Share) {
        if self.here.is_here(id) {
            self.hits += 1.0;
        }
        self.here.used(id, share);
    }

    /// Has others than those leave that the pass at hand used in group `at`.
    fn shrink(&mut self, capacity: usize, at: usize, rates: &Rates) {
        while self.here.len() > capacity {
            let may_go = |other: ExpertId| other.group != at || !rates.is_in_pass(other);
            match victim(&self.here, self.window, rates, &may_go) {
                Some(victim) => self.here.left(victim),
                None => return,
            }
        }
    }
}

/// Of the oldest part `window` of those in memory, the one that `may_go` which is expected last;
/// the oldest that may go, where none of that part may.
pub(super) fn victim(
    here: &Lru,
    window: f64,
    rates: &Rates,
    may_go: &dyn Fn(ExpertId) -> bool,
) -> Option<ExpertId> {
    let part = (here.len() as f64 * window) as usize;
    let mut found: Option<(ExpertId, f32)> = None;
    for (place, id) in here.by_age().enumerate() {
        if place >= part && found.is_some() {
            break;
        }
        if !may_go(id) {
            continue;
        }
        let wait = rates.wait(id);
        if found.is_none_or(|(_, longest)| wait > longest) {
            found = Some((id, wait));
        }
    }
    found.map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After many passes over two layers of 16 experts, of which a token uses two. A profile says
    /// that all tokens use the first four of a layer, and `choose` says which do in a pass.
    fn learnt(choose: impl Fn(usize) -> [usize; 2]) -> f64 {
        let experts = [16, 16];
        let (mut rates, mut window) = (Rates::new(&experts, 2), Window::new(&experts));
        rates.set_prior((0..32).map(|number| if number % 16 < 4 { 1.0 } else { 0.0 }));
        for pass in 0..600 {
            rates.begin_pass();
            window.begin_pass(16);
            for group in 0..2 {
                for expert in choose(pass) {
                    let (id, share) = (ExpertId { group, expert }, Share { its: 1, all: 2 });
                    window.used(id, share, &rates);
                    rates.used(id, share);
                }
            }
        }
        window.get()
    }

    #[test]
    fn age_decides_where_text_is_not_as_expected() {
        let pair = |number: usize| [2 * number, 2 * number + 1];
        // What is expected, now and then interrupted.
        let expected = |pass| match pass % 7 {
            0 => pair(2 + pass / 7 % 6),
            _ => pair(pass % 2),
        };
        assert_eq!(learnt(expected), 1.0);
        // Four pairs would fit, if those that are expected in vain were not kept.
        let other = |pass| match pass {
            0..2 => pair(pass),
            _ => pair(2 + pass % 4),
        };
        assert_eq!(learnt(other), 0.0);
    }

    #[test]
    fn large_models_are_sampled_in_whole_layers() {
        let window = Window::new(&[128; 48]);
        assert_eq!(window.sampled_experts, 4 * 128);
        assert_eq!(Window::new(&[1024; 3]).sampled_experts, 1024);
        assert_eq!(Window::new(&[8; 4]).sampled_experts, 32);
    }

    #[test]
    fn the_last_expected_of_the_oldest_leaves() {
        let mut here = Lru::new([4]);
        let mut rates = Rates::new(&[4], 1);
        let id = |expert| ExpertId { group: 0, expert };
        for expert in [0, 0, 1, 2, 3] {
            rates.begin_pass();
            let share = Share { its: 1, all: 1 };
            rates.used(id(expert), share);
            here.used(id(expert), share);
        }
        rates.set_prior([0.9, 0.0, 0.5, 0.5]);
        let victim = |window, stays| victim(&here, window, &rates, &|id| id.expert != stays);
        assert_eq!(victim(0.0, 9), Some(id(0)));
        assert_eq!(victim(0.5, 9), Some(id(1)));
        assert_eq!(victim(0.5, 1), Some(id(0)));
        assert_eq!(
            victim(0.25, 0),
            Some(id(1)),
            "none of the oldest quarter may go"
        );
        assert_eq!(super::victim(&here, 1.0, &rates, &|_| false), None);
    }
}
