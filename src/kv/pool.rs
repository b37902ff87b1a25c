//! Which pages have memory.
//!
//! ```text
//!                 column 0    1    2    3        a column: granules of the same tokens
//!  group 0 (L0-7)    [x]     [x]  [ ]  [ ]       x: eight granules of memory, one in each of
//!  group 1 (L8-15)   [x]     [x]  [ ]  [ ]          the group's layers; fewer in the last group
//! ```
//!
//! Invariants: a page's granules all have memory or none has; a granule is committed once before
//! it is given back, and given back once; what is committed never passes the budget.

use crate::units::Bytes;
use std::fmt::Debug;

/// What is mapped at once, in one layer.
pub const GRANULE_BYTES: usize = 2 << 20;

/// Consecutive layers whose granules of the same tokens make a page.
pub const LAYERS_PER_PAGE: usize = 8;

/// The same tokens of consecutive layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageId {
    /// Of layers.
    pub group: usize,
    /// Of tokens.
    pub column: usize,
}

/// Addresses in granules, under which memory comes and goes.
pub trait PageSource: Debug {
    /// Puts memory of zeros under these granules, all or none.
    ///
    /// # Errors
    /// When there is no more.
    fn commit(&mut self, granules: &[usize]) -> Result<(), SourceError>;

    /// Gives the memory of these granules back.
    fn decommit(&mut self, granules: &[usize]);
}

/// Why a source has no memory.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The cache gets no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error(
        "the KV cache holds {held} of the {budget} that it may: a page of {page} more is too much"
    )]
    Budget {
        held: Bytes,
        budget: Bytes,
        page: Bytes,
    },
    #[error(
        "the KV cache holds {held} and gets no more memory ({source}): close what else uses it, \
         or take a smaller --ctx"
    )]
    Memory { held: Bytes, source: SourceError },
}

/// See the module's text.
#[derive(Debug)]
pub struct PagePool {
    source: Box<dyn PageSource>,
    layers: usize,
    /// Granules in a layer's range.
    columns: usize,
    budget: Bytes,
    /// By group, then column.
    committed: Vec<bool>,
    granules: usize,
}

impl PagePool {
    /// Over `source`, in which layer `l` has granules `[l * columns, (l + 1) * columns)`, none
    /// committed; holds at most `budget`.
    pub fn new(source: Box<dyn PageSource>, layers: usize, columns: usize, budget: Bytes) -> Self {
        Self {
            source,
            layers,
            columns,
            budget,
            committed: vec![false; layers.div_ceil(LAYERS_PER_PAGE) * columns],
            granules: 0,
        }
    }

    /// Groups of layers.
    pub fn groups(&self) -> usize {
        self.layers.div_ceil(LAYERS_PER_PAGE)
    }

    /// Pages in a group.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn is_committed(&self, page: PageId) -> bool {
        self.committed[self.index(page)]
    }

    /// Memory that is committed now.
    pub fn held(&self) -> Bytes {
        bytes(self.granules)
    }

    /// Makes sure that a page has memory; zeros where it had none.
    ///
    /// # Errors
    /// When the budget or the source's memory is used up; then nothing has changed.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn commit(&mut self, page: PageId) -> Result<(), PageError> {
        let index = self.index(page);
        if self.committed[index] {
            return Ok(());
        }
        let granules = self.granules_of(page);
        let held = self.held();
        if bytes(self.granules + granules.len()) > self.budget {
            return Err(PageError::Budget {
                held,
                budget: self.budget,
                page: bytes(granules.len()),
            });
        }
        self.source
            .commit(&granules)
            .map_err(|source| PageError::Memory { held, source })?;
        self.committed[index] = true;
        self.granules += granules.len();
        Ok(())
    }

    /// Gives a page's memory back, if it has any.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn release(&mut self, page: PageId) {
        let index = self.index(page);
        if self.committed[index] {
            let granules = self.granules_of(page);
            self.committed[index] = false;
            self.granules -= granules.len();
            self.source.decommit(&granules);
        }
    }

    fn index(&self, page: PageId) -> usize {
        assert!(
            page.group < self.groups() && page.column < self.columns,
            "no {page:?} in {} by {}",
            self.groups(),
            self.columns
        );
        page.group * self.columns + page.column
    }

    fn granules_of(&self, page: PageId) -> Vec<usize> {
        let first = page.group * LAYERS_PER_PAGE;
        (first..(first + LAYERS_PER_PAGE).min(self.layers))
            .map(|layer| layer * self.columns + page.column)
            .collect()
    }
}

fn bytes(granules: usize) -> Bytes {
    Bytes((granules * GRANULE_BYTES) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::rc::Rc;

    /// Has memory for so many granules, and panics when one is committed or given back twice.
    #[derive(Debug)]
    struct Strict {
        owned: Rc<RefCell<BTreeSet<usize>>>,
        memory: usize,
    }

    impl PageSource for Strict {
        fn commit(&mut self, granules: &[usize]) -> Result<(), SourceError> {
            let mut owned = self.owned.borrow_mut();
            if owned.len() + granules.len() > self.memory {
                return Err("none left".into());
            }
            for &granule in granules {
                assert!(owned.insert(granule), "{granule} is committed twice");
            }
            Ok(())
        }

        fn decommit(&mut self, granules: &[usize]) {
            for granule in granules {
                let was = self.owned.borrow_mut().remove(granule);
                assert!(was, "{granule} is given back without being committed");
            }
        }
    }

    #[test]
    fn the_last_group_has_as_many_granules_as_layers() {
        let owned = Rc::default();
        let source = Strict {
            owned: Rc::clone(&owned),
            memory: 100,
        };
        let mut pool = PagePool::new(Box::new(source), 11, 3, Bytes::mib(1000));
        let (group, column) = (1, 2);
        pool.commit(PageId { group, column }).expect("memory");
        assert_eq!(
            *owned.borrow(),
            BTreeSet::from([8 * 3 + 2, 9 * 3 + 2, 10 * 3 + 2])
        );
        assert_eq!(pool.held(), Bytes::mib(6));
    }

    proptest! {
        #[test]
        fn no_page_is_owned_twice_none_leaks_and_the_budget_holds(
            layers in 1usize..20,
            columns in 1usize..6,
            budget_granules in 0usize..80,
            memory in 0usize..80,
            steps in prop::collection::vec((any::<bool>(), 0usize..3, 0usize..6), 1..120),
        ) {
            let owned = Rc::default();
            let source = Strict { owned: Rc::clone(&owned), memory };
            let budget = bytes(budget_granules);
            let mut pool = PagePool::new(Box::new(source), layers, columns, budget);
            let mut expected = BTreeSet::new();
            for (commits, group, column) in steps {
                let page = PageId { group: group % pool.groups(), column: column % columns };
                let first = page.group * LAYERS_PER_PAGE;
                let size = (layers - first).min(LAYERS_PER_PAGE);
                let granules = (first..first + size).map(|layer| layer * columns + page.column);
                let held = expected.len();
                if commits {
                    let fits = held + size <= budget_granules && held + size <= memory;
                    let there = pool.is_committed(page);
                    match pool.commit(page) {
                        Ok(()) => {
                            prop_assert!(fits || there);
                            expected.extend(granules);
                        }
                        Err(PageError::Budget { .. }) => {
                            prop_assert!(held + size > budget_granules);
                        }
                        Err(PageError::Memory { .. }) => prop_assert!(held + size > memory),
                    }
                } else {
                    pool.release(page);
                    granules.for_each(|granule| { expected.remove(&granule); });
                }
                prop_assert_eq!(&*owned.borrow(), &expected);
                prop_assert_eq!(pool.held(), bytes(expected.len()));
                prop_assert!(pool.held() <= budget);
            }
            for group in 0..pool.groups() {
                for column in 0..columns {
                    pool.release(PageId { group, column });
                }
            }
            prop_assert!(owned.borrow().is_empty(), "leaked");
            prop_assert_eq!(pool.held(), Bytes(0));
        }
    }
}
