//! Cluster centres of directions: the rows of a router that is made from what a real layer sees.
//!
//! Hidden states of one layer share a large part, their mean direction. It is taken off first, so
//! that what tells tokens apart decides; each state is then a direction, and spherical k-means
//! (Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", 2001)
//! finds the centres, from seeds that are far apart (Arthur and Vassilvitskii, "k-means++", 2007).
//!
//! A centre is at a right angle to the mean direction. Its product with a whole state is therefore
//! that with the state's own part, and a router needs no bias:
//!
//! ```text
//!  state = mean part + own part         centre * state = centre * own part
//! ```
//!
//! Clusters are kept from becoming small: one of less than a quarter of its fair share starts again
//! within the largest.

use crate::random::SplitMix64;

/// The same text gives the same centres.
const SEED: u64 = 0x0e57_e275;

/// Rounds of k-means; in the last few no cluster starts again.
const ROUNDS: usize = 20;
const LAST: usize = 4;

/// A cluster of fewer than one part in so many of its fair share starts again.
const SMALL: usize = 4;

/// Rows that route the states of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Centres {
    /// `[experts, width]`.
    pub rows: Vec<f32>,
    /// How often each is among the nearest few of a state.
    pub uses: Vec<u32>,
}

impl Centres {
    /// Finds `count` centres of `states`, rows of `width` numbers; each state uses the nearest
    /// `used`. Rows are scaled so that a typical state's product with one is their cosine.
    pub fn find(states: Vec<f32>, width: usize, count: usize, used: usize) -> Self {
        let (points, length) = directions(states, width);
        let mut search = Search {
            width,
            centres: seeds(&points, width, count),
            points,
            random: SplitMix64::new(SEED),
        };
        for round in 0..ROUNDS {
            search.round(round + LAST < ROUNDS);
        }
        let uses = search.uses(used);
        let scale = if length > 0.0 { 1.0 / length } else { 1.0 };
        let rows = search.centres.iter().map(|x| x * scale).collect();
        Self { rows, uses }
    }
}

/// The states' own parts, each of length one, and how long they are in the mean.
fn directions(mut states: Vec<f32>, width: usize) -> (Vec<f32>, f32) {
    let mut mean = vec![0.0_f64; width];
    for state in states.chunks_exact(width) {
        for (sum, &x) in mean.iter_mut().zip(state) {
            *sum += f64::from(x);
        }
    }
    let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm > 0.0 {
        for x in &mut mean {
            *x /= norm;
        }
    }
    let mut lengths = 0.0;
    for state in states.chunks_exact_mut(width) {
        let along: f64 = state
            .iter()
            .zip(&mean)
            .map(|(&x, m)| f64::from(x) * m)
            .sum();
        for (x, m) in state.iter_mut().zip(&mean) {
            *x = (f64::from(*x) - along * m) as f32;
        }
        lengths += f64::from(make_unit(state));
    }
    let n = (states.len() / width).max(1);
    (states, (lengths / n as f64) as f32)
}

/// Gives `vector` the length one, and returns the one that it had. A vector of zeros stays.
fn make_unit(vector: &mut [f32]) -> f32 {
    let length = vector
        .iter()
        .map(|&x| f64::from(x) * f64::from(x))
        .sum::<f64>()
        .sqrt();
    if length > 0.0 {
        for x in vector {
            *x = (f64::from(*x) / length) as f32;
        }
    }
    length as f32
}

/// In eight sums, which the compiler makes one register of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (a, b) in a.zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Points far from each other: each next one by chance, the likelier the farther it is from those
/// that are there.
fn seeds(points: &[f32], width: usize, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(SEED);
    let rows: Vec<&[f32]> = points.chunks_exact(width).collect();
    let mut far = vec![1.0_f64; rows.len()];
    let mut centres = Vec::with_capacity(count * width);
    for _ in 0..count {
        let mut left = random.part() * far.iter().sum::<f64>();
        let chosen = far.iter().position(|&d| {
            left -= d;
            left < 0.0
        });
        let Some(row) = rows.get(chosen.unwrap_or(0)) else {
            // No states at all: nothing is told apart.
            centres.resize(count * width, 0.0);
            return centres;
        };
        centres.extend_from_slice(row);
        for (distance, point) in far.iter_mut().zip(&rows) {
            *distance = distance.min(f64::from(1.0 - dot(point, row)).max(0.0));
        }
    }
    centres
}

/// K-means under way.
struct Search {
    width: usize,
    points: Vec<f32>,
    centres: Vec<f32>,
    random: SplitMix64,
}

impl Search {
    /// The product of `point` with each centre.
    fn nearness(&self, point: &[f32]) -> impl Iterator<Item = f32> {
        self.centres
            .chunks_exact(self.width)
            .map(|centre| dot(centre, point))
    }

    /// Each point goes to its nearest centre, and each centre to the middle of its points.
    fn round(&mut self, may_restart: bool) {
        let count = self.centres.len() / self.width;
        let mut members = vec![Vec::new(); count];
        for (i, point) in self.points.chunks_exact(self.width).enumerate() {
            let nearest = self.nearness(point).enumerate();
            let nearest = nearest.max_by(|(i, a), (j, b)| a.total_cmp(b).then(j.cmp(i)));
            members[nearest.map_or(0, |(centre, _)| centre)].push(i);
        }
        if may_restart {
            let small = (self.points.len() / self.width / count / SMALL).max(1);
            for at in 0..count {
                if members[at].len() < small {
                    self.split_largest(&mut members, at);
                }
            }
        }
        for (centre, members) in self.centres.chunks_exact_mut(self.width).zip(&members) {
            if members.is_empty() {
                continue;
            }
            let mut sum = vec![0.0_f32; centre.len()];
            for &i in members {
                let point = &self.points[i * self.width..][..self.width];
                sum.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
            }
            if make_unit(&mut sum) > 0.0 {
                centre.copy_from_slice(&sum);
            }
        }
    }

    /// Gives cluster `at` a member of the largest, and those that are nearer to it than to another
    /// member.
    fn split_largest(&mut self, members: &mut [Vec<usize>], at: usize) {
        let largest = (0..members.len()).max_by_key(|&i| (members[i].len(), usize::MAX - i));
        let Some(largest) = largest.filter(|&i| i != at && members[i].len() > 1) else {
            return;
        };
        let from = std::mem::take(&mut members[largest]);
        let mut pick = || from[(self.random.next() % from.len() as u64) as usize];
        let (one, other) = (pick(), pick());
        let point = |i: usize| &self.points[i * self.width..][..self.width];
        let nearer =
            |&i: &usize| i != one && dot(point(i), point(other)) >= dot(point(i), point(one));
        (members[largest], members[at]) = from.iter().copied().partition(nearer);
    }

    /// How often each centre is among the nearest `used` of a point.
    fn uses(&self, used: usize) -> Vec<u32> {
        let mut uses = vec![0; self.centres.len() / self.width];
        for point in self.points.chunks_exact(self.width) {
            let mut order: Vec<_> = self.nearness(point).enumerate().collect();
            order.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
            for &(centre, _) in order.iter().take(used) {
                uses[centre] += 1;
            }
        }
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of four kinds that lie around one common direction.
    fn states(n: usize) -> Vec<f32> {
        let mut random = SplitMix64::new(7);
        let mut noise = || random.part() as f32 - 0.5;
        let state = |i: usize| {
            let mut state = [10.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            state[1 + i % 4] = 3.0;
            state.map(|x| x + 0.4 * noise())
        };
        (0..n).flat_map(state).collect()
    }

    #[test]
    fn centres_tell_kinds_apart_that_share_a_direction() {
        let states = states(400);
        let found = Centres::find(states.clone(), 6, 4, 1);
        assert_eq!(found.uses, [100; 4]);
        // A row's product with a whole state says the same.
        let kind = |i: usize| {
            let products = found
                .rows
                .chunks_exact(6)
                .map(|row| dot(row, &states[i * 6..][..6]));
            let best = products.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
            best.unwrap().0
        };
        for i in 0..400 {
            assert_eq!(kind(i), kind(i % 4), "{i}");
        }
        assert_eq!(found, Centres::find(states, 6, 4, 1));
    }

    #[test]
    fn none_is_dead_where_kinds_are_fewer_than_centres() {
        let found = Centres::find(states(400), 6, 16, 2);
        assert_eq!(found.uses.iter().sum::<u32>(), 800);
        assert!(found.uses.iter().all(|&n| n > 0), "{:?}", found.uses);
    }

    #[test]
    fn states_that_are_all_one_give_numbers() {
        for n in [0, 1, 5] {
            let found = Centres::find(vec![1.0; n * 6], 6, 4, 2);
            assert!(found.rows.iter().all(|x| x.is_finite()), "{n}");
            assert_eq!(found.uses.iter().sum::<u32>(), 2 * n as u32);
        }
    }
}
