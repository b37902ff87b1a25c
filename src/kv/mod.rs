//! The KV cache: which cell holds which token, and the memory under the cells.
//!
//! * [`CellMap`]: positions to cells; a pass adds cells for its tree, then some of them are
//!   committed and the rest pruned.
//! * [`PagedKv`]: one contiguous address range a layer, in which memory is mapped in granules
//!   of 2 MiB as cells are used; eight granules (the same tokens of eight consecutive layers)
//!   are a page of 16 MiB, the unit of the page map.
//!
//! ```text
//!            tokens 0..T          T..2T            T = 2 MiB / bytes of a token's K and V
//!  layer 0  [ granule ]         [ granule ]   \
//!   ...                                        >  page (0, 0), page (0, 1)
//!  layer 7  [ granule ]         [ granule ]   /
//!  layer 8  [ granule ] ...                      page (1, 0) ...
//! ```

mod cells;
mod paged;

pub use cells::{CellIdx, CellMap, CellsFull};
pub use paged::{GRANULE_BYTES, LAYERS_PER_PAGE, PagedKv};
