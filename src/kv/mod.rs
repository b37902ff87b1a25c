//! The KV cache: which cell holds which token, and the memory under the cells.
//!
//! * [`CellMap`]: positions to cells; a pass adds cells for its tree, then some of them are
//!   committed and the rest pruned.
//! * [`PagedKv`]: one contiguous address range a layer, in which memory is mapped in granules
//!   of 2 MiB as cells are used; eight granules (the same tokens of eight consecutive layers)
//!   are a page of 16 MiB, the unit of the page map.
//! * [`PagePool`]: which pages have memory, and that they stay within the budget. Memory comes
//!   from a [`PageSource`]: the host's, or CUDA's virtual memory.
//!
//! Attention sees contiguous tensors and knows nothing of pages. It reads whole runs of cells,
//! also such as hold no token and are masked: a pass has memory under all that it reads, which
//! is zero where nothing was written (what a masked cell holds must be finite).
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
mod pool;
mod source;

pub use cells::{CellIdx, CellMap, CellsFull};
pub use paged::{KvMemory, PagedKv};
pub use pool::{
    GRANULE_BYTES, LAYERS_PER_PAGE, PageError, PageId, PagePool, PageSource, SourceError,
};
