//! Where the elements of a source's dimension go in a larger one.
//!
//! ```text
//!  source heads, 2 groups of 3      0 1 2 | 3 4 5
//!                                   | | |   \ \ \
//!  target heads, 3 groups of 4      0 1 2 . | 3 4 5 . | . . . .
//! ```
//!
//! A query head attends with the keys of its group, so that heads move only into groups that
//! hold their own keys; what is not covered is filler.

/// Elements of one dimension that stay together, counted in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
    pub len: u64,
}

/// A dimension of `size` elements and the real ones in it.
///
/// Invariant: spans are in the order of `to`, apart, inside `size`, and joined where they
/// continue one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisMap {
    pub size: u64,
    spans: Vec<Span>,
}

impl AxisMap {
    /// The first `real` of `size` elements are the source's.
    pub fn padded(real: u64, size: u64) -> Self {
        Self::new(
            size,
            [Span {
                from: 0,
                to: 0,
                len: real,
            }],
        )
    }

    /// All elements are the source's, in place.
    pub fn same(size: u64) -> Self {
        Self::padded(size, size)
    }

    /// None are.
    pub fn filler(size: u64) -> Self {
        Self::new(size, [])
    }

    /// Makes a map of spans in the order of `to`.
    fn new(size: u64, spans: impl IntoIterator<Item = Span>) -> Self {
        let mut joined: Vec<Span> = Vec::new();
        for span in spans {
            match joined.last_mut() {
                Some(last)
                    if last.from + last.len == span.from && last.to + last.len == span.to =>
                {
                    last.len += span.len;
                }
                _ => joined.push(span),
            }
        }
        Self {
            size,
            spans: joined,
        }
    }

    /// The same `times` times, one after the other, each from elements of the source that begin
    /// `step` after those of the one before: 0 where all are copies.
    #[must_use]
    pub fn repeated(&self, times: u64, step: u64) -> Self {
        let spans = (0..times).flat_map(|i| {
            self.spans.iter().map(move |span| Span {
                from: span.from + i * step,
                to: span.to + i * self.size,
                len: span.len,
            })
        });
        Self::new(self.size.saturating_mul(times), spans)
    }

    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether every element is the source's, in place.
    pub fn is_same(&self) -> bool {
        self.spans
            == [Span {
                from: 0,
                to: 0,
                len: self.size,
            }]
    }
}

/// Attention heads: `query` of them share `key_value` heads evenly, each of `dim` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    pub query: u64,
    pub key_value: u64,
    pub dim: u64,
}

impl Heads {
    fn group(self) -> u64 {
        self.query / self.key_value
    }
}

/// Where query heads and key-value heads go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadMaps {
    pub query: AxisMap,
    pub key_value: AxisMap,
}

/// Why heads do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadsError {
    #[error(
        "groups of {group} heads become groups of {wanted}, but heads move only {unit} at a time, \
         in whole blocks; choose heads and KV heads in the source's ratio"
    )]
    Unit { group: u64, wanted: u64, unit: u64 },
    #[error("more KV heads are needed: {needed} hold the source's, and {given} are asked for")]
    Groups { needed: u64, given: u64 },
}

impl HeadMaps {
    /// Maps the source's heads into the target's, `unit` neighbours at a time (as many as
    /// share a quantised block). A group that the target's smaller groups cannot hold is cut,
    /// and its keys and values are copied for each part.
    ///
    /// # Errors
    /// Heads that do not fit.
    pub fn new(source: Heads, target: Heads, unit: u64) -> Result<Self, HeadsError> {
        let dim = source.dim;
        let (size_q, size_kv) = (target.query * dim, target.key_value * dim);
        let (group, wanted) = (source.group(), target.group());
        if group == wanted && target.query >= source.query {
            return Ok(Self {
                query: AxisMap::padded(source.query * dim, size_q),
                key_value: AxisMap::padded(source.key_value * dim, size_kv),
            });
        }
        let misfit = HeadsError::Unit {
            group,
            wanted,
            unit,
        };
        if !group.is_multiple_of(unit) {
            return Err(misfit);
        }
        let (mut query, mut key_value) = (Vec::new(), Vec::new());
        let mut next = 0;
        for kv in 0..source.key_value {
            let mut placed = 0;
            while placed < group {
                let before = placed;
                // Units begin at multiples of their size, and stay inside the group.
                let mut at = (next * wanted).next_multiple_of(unit);
                while placed < group && at + unit <= (next + 1) * wanted {
                    query.push(Span {
                        from: (kv * group + placed) * dim,
                        to: at * dim,
                        len: unit * dim,
                    });
                    placed += unit;
                    at += unit;
                }
                if placed > before {
                    key_value.push(Span {
                        from: kv * dim,
                        to: next * dim,
                        len: dim,
                    });
                } else if wanted < unit {
                    return Err(misfit);
                }
                next += 1;
            }
        }
        if next > target.key_value {
            return Err(HeadsError::Groups {
                needed: next,
                given: target.key_value,
            });
        }
        Ok(Self {
            query: AxisMap::new(size_q, query),
            key_value: AxisMap::new(size_kv, key_value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heads(query: u64, key_value: u64, dim: u64) -> Heads {
        Heads {
            query,
            key_value,
            dim,
        }
    }

    /// The source element at each place of the target.
    fn places(map: &AxisMap) -> Vec<Option<u64>> {
        let mut places = vec![None; map.size as usize];
        for span in map.spans() {
            for i in 0..span.len {
                places[(span.to + i) as usize] = Some(span.from + i);
            }
        }
        places
    }

    #[test]
    fn a_map_is_repeated_over_parts_of_the_source_or_over_copies() {
        let wider = AxisMap::padded(2, 3);
        let parts = wider.repeated(2, 2);
        let (none, some) = (None, Some);
        assert_eq!(
            places(&parts),
            [some(0), some(1), none, some(2), some(3), none]
        );
        let copies = wider.repeated(2, 0);
        assert_eq!(
            places(&copies),
            [some(0), some(1), none, some(0), some(1), none]
        );
        assert!(AxisMap::same(2).repeated(3, 2).is_same());
        assert!(!AxisMap::same(2).repeated(3, 0).is_same());
        assert_eq!(places(&AxisMap::filler(2).repeated(2, 2)), [none; 4]);
    }

    #[test]
    fn qwen_15b_fits_the_heads_of_its_family() {
        let source = heads(12, 2, 128);
        for (query, key_value) in [(16, 2), (28, 4), (40, 8), (64, 8)] {
            HeadMaps::new(source, heads(query, key_value, 128), 2).unwrap();
        }
        // Groups of five take two pairs: each of the two groups is cut in two.
        let maps = HeadMaps::new(source, heads(40, 8, 128), 2).unwrap();
        let keys = places(&maps.key_value);
        let from: Vec<_> = keys.iter().step_by(128).copied().collect();
        assert_eq!(from[..4], [Some(0), Some(0), Some(128), Some(128)]);
        assert_eq!(from[4..], [None; 4]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let source = heads(12, 2, 128);
        assert_eq!(
            HeadMaps::new(source, heads(24, 3, 128), 4),
            Err(HeadsError::Unit {
                group: 6,
                wanted: 8,
                unit: 4
            })
        );
        assert_eq!(
            HeadMaps::new(source, heads(12, 3, 128), 2),
            Err(HeadsError::Groups {
                needed: 4,
                given: 3
            })
        );
    }

    proptest! {
        #[test]
        fn every_head_keeps_its_keys(
            group in 1u64..9, kv in 1u64..5, wanted in 1u64..12, more in 0u64..9, unit in 0u32..3,
        ) {
            let (source, target) = (heads(group * kv, kv, 8), heads(wanted * (kv + more), kv + more, 8));
            if let Ok(maps) = HeadMaps::new(source, target, 1 << unit) {
                let (query, keys) = (places(&maps.query), places(&maps.key_value));
                for head in 0..source.query {
                    let at: Vec<_> = (0..query.len()).filter(|&i| query[i] == Some(head * 8)).collect();
                    prop_assert_eq!(at.len(), 1, "head {} is there once", head);
                    prop_assert_eq!(at[0] % 8, 0);
                    let target_group = at[0] as u64 / 8 / wanted;
                    let own = keys[(target_group * 8) as usize];
                    prop_assert_eq!(own, Some(head / group * 8), "the keys of head {}", head);
                }
            }
        }
    }
}
