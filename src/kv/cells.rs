//! Which cells of the cache hold the committed tokens, and which the present tree.

/// A token's place in every layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellIdx(pub usize);

/// No cells are left.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the context of {capacity} tokens is full: {needed} more do not fit")]
pub struct CellsFull {
    pub capacity: usize,
    pub needed: usize,
}

/// Cells of the committed tokens in order of position, and of the tree under way.
///
/// Invariant: committed cells strictly increase, and a tree's cells lie after all of them.
/// Attention sums over cells in ascending order, so that a token's result has the same bits
/// whether its ancestors lie side by side or with pruned cells between them.
#[derive(Clone, Debug)]
pub struct CellMap {
    capacity: usize,
    committed: Vec<CellIdx>,
    tree: Vec<CellIdx>,
}

impl CellMap {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            committed: Vec::new(),
            tree: Vec::new(),
        }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Committed tokens: the position of the next one.
    pub fn len(&self) -> usize {
        self.committed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    /// Cells of the committed tokens, by position.
    pub fn committed(&self) -> &[CellIdx] {
        &self.committed
    }

    /// One past the last cell in use.
    pub fn end(&self) -> usize {
        let last = self.tree.last().or(self.committed.last());
        last.map_or(0, |cell| cell.0 + 1)
    }

    /// Gives cells to a tree of `nodes` nodes. What an earlier tree left is pruned.
    ///
    /// # Errors
    /// When that many cells are not left after the committed ones.
    pub fn begin_tree(&mut self, nodes: usize) -> Result<&[CellIdx], CellsFull> {
        self.tree.clear();
        let start = self.end();
        if start + nodes > self.capacity {
            return Err(CellsFull {
                capacity: self.capacity,
                needed: nodes,
            });
        }
        self.tree.extend((start..start + nodes).map(CellIdx));
        Ok(&self.tree)
    }

    /// Keeps the tree's nodes of `path` (in order) as the next positions, prunes the rest.
    ///
    /// # Panics
    /// If `path` does not strictly increase or leaves the tree.
    pub fn commit(&mut self, path: &[usize]) {
        assert!(
            path.is_sorted_by(|a, b| a < b),
            "a path leads from parents to children"
        );
        self.committed
            .extend(path.iter().map(|&node| self.tree[node]));
        self.tree.clear();
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.tree.clear();
        self.committed.truncate(len);
    }

    /// Whether pruned cells lie between committed ones.
    pub fn has_holes(&self) -> bool {
        self.committed
            .last()
            .is_some_and(|last| last.0 + 1 > self.committed.len())
    }

    /// Moves that close all holes, as (from, to) in the order in which they must be made; the
    /// map then counts them as made.
    pub fn close_holes(&mut self) -> Vec<(CellIdx, CellIdx)> {
        self.tree.clear();
        let moves = self
            .committed
            .iter()
            .enumerate()
            .filter(|(to, from)| from.0 != *to)
            .map(|(to, from)| (*from, CellIdx(to)))
            .collect();
        self.committed = (0..self.committed.len()).map(CellIdx).collect();
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_accepted_path_stays_where_it_is() {
        let mut cells = CellMap::new(16);
        cells.begin_tree(3).expect("enough cells");
        cells.commit(&[0, 1, 2]);
        cells.begin_tree(4).expect("enough cells");
        cells.commit(&[0, 2]);
        assert_eq!(cells.committed(), [0, 1, 2, 3, 5].map(CellIdx));
        assert!(cells.has_holes());
        assert_eq!(cells.close_holes(), [(CellIdx(5), CellIdx(4))]);
        assert_eq!((cells.end(), cells.has_holes()), (5, false));
        assert_eq!(
            cells.begin_tree(12),
            Err(CellsFull {
                capacity: 16,
                needed: 12
            })
        );
    }

    proptest! {
        #[test]
        fn committed_cells_increase_and_a_tree_never_touches_them(
            steps in prop::collection::vec((1usize..8, any::<u8>(), 0usize..40), 1..60)
        ) {
            let mut cells = CellMap::new(256);
            for (nodes, keep, cut) in steps {
                if cells.begin_tree(nodes).is_err() {
                    cells.close_holes();
                    cells.truncate(cut);
                    continue;
                }
                let start = cells.end() - nodes;
                prop_assert!(cells.committed().iter().all(|c| c.0 < start));
                let path: Vec<_> = (0..nodes).filter(|n| keep >> n & 1 == 1).collect();
                let before = cells.len();
                cells.commit(&path);
                prop_assert_eq!(cells.len(), before + path.len());
                prop_assert!(cells.committed().is_sorted_by(|a, b| a < b));
            }
        }
    }
}
