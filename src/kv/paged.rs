//! The memory under the cells.

use super::cells::CellIdx;
use crate::io::{Arena, Region};
use crate::telemetry::{KvPageView, KvView};
use crate::units::Bytes;
use std::sync::Arc;

/// What is mapped at once, in one layer.
pub const GRANULE_BYTES: usize = 2 << 20;

/// Consecutive layers whose granules of the same tokens make a page.
pub const LAYERS_PER_PAGE: usize = 8;

/// One range a layer; a token's row holds its keys, then its values.
///
/// Units: cells are tokens, a row is `row_bytes` long, a layer's range is `layer_bytes`.
#[derive(Debug)]
pub struct PagedKv {
    arena: Arc<Arena>,
    layers: usize,
    row_bytes: usize,
    layer_bytes: usize,
    /// Granules in use from the start of every layer's range: cells fill from the front.
    mapped: usize,
}

impl PagedKv {
    /// Reserves addresses for `cells` rows of `row_bytes` in each of `layers` layers. Takes no
    /// memory yet.
    ///
    /// # Errors
    /// The system's own, when the address space is exhausted.
    pub fn new(layers: usize, cells: usize, row_bytes: usize) -> std::io::Result<Self> {
        let layer_bytes = Self::layer_bytes(cells, row_bytes);
        Ok(Self {
            arena: Arena::new(layers * layer_bytes)?,
            layers,
            row_bytes,
            layer_bytes,
            mapped: 0,
        })
    }

    /// Most bytes that a cache of this size ever holds.
    pub fn max_bytes(layers: usize, cells: usize, row_bytes: usize) -> Bytes {
        Bytes((layers * Self::layer_bytes(cells, row_bytes)) as u64)
    }

    fn layer_bytes(cells: usize, row_bytes: usize) -> usize {
        (cells * row_bytes).next_multiple_of(GRANULE_BYTES)
    }

    /// A layer's whole range.
    pub fn layer(&self, layer: usize) -> Region {
        self.arena
            .region(layer * self.layer_bytes, self.layer_bytes)
    }

    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Makes sure that cells `[0, end)` have memory, and gives back granules behind them.
    pub fn map_to(&mut self, end: usize) {
        let wanted = (end * self.row_bytes).div_ceil(GRANULE_BYTES);
        if wanted < self.mapped {
            for layer in 0..self.layers {
                self.layer(layer)
                    .part(
                        wanted * GRANULE_BYTES,
                        (self.mapped - wanted) * GRANULE_BYTES,
                    )
                    .discard();
            }
        }
        // Anonymous memory is mapped by the first write; nothing to do for growth.
        self.mapped = wanted;
    }

    /// Moves rows in every layer, in the order given.
    pub fn move_rows(&self, moves: &[(CellIdx, CellIdx)]) {
        let mut row = vec![0; self.row_bytes];
        for layer in 0..self.layers {
            let range = self.layer(layer);
            for (from, to) in moves {
                range
                    .part(from.0 * self.row_bytes, self.row_bytes)
                    .read(&mut row);
                range
                    .part(to.0 * self.row_bytes, self.row_bytes)
                    .write(&row);
            }
        }
    }

    /// Bytes mapped at present.
    pub fn mapped_bytes(&self) -> Bytes {
        Bytes((self.mapped * GRANULE_BYTES * self.layers) as u64)
    }

    /// The page map, with `used` cells from the front.
    pub fn view(&self, used: usize, capacity: usize) -> KvView {
        let tokens_per_page = (GRANULE_BYTES / self.row_bytes).max(1);
        let columns = self.layer_bytes / GRANULE_BYTES;
        let row: Vec<_> = (0..columns)
            .map(|column| {
                let here = used
                    .saturating_sub(column * tokens_per_page)
                    .min(tokens_per_page);
                KvPageView {
                    mapped: column < self.mapped,
                    used: here as f32 / tokens_per_page as f32,
                }
            })
            .collect();
        KvView {
            page_bytes: Bytes((GRANULE_BYTES * LAYERS_PER_PAGE) as u64),
            pages: vec![row; self.layers.div_ceil(LAYERS_PER_PAGE)],
            tokens_per_page,
            cells_used: used,
            cells_max: capacity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_the_cells() {
        let row = 1024;
        let mut kv = PagedKv::new(28, 4096, row).expect("addresses");
        assert_eq!(kv.mapped_bytes(), Bytes(0));
        kv.map_to(1);
        assert_eq!(kv.mapped_bytes(), Bytes::mib(56));
        kv.map_to(2049);
        assert_eq!(kv.mapped_bytes(), Bytes::mib(112));
        assert_eq!(PagedKv::max_bytes(28, 4096, row), Bytes::mib(112));
        kv.layer(27).part(3 << 20, 4).write(b"mark");
        kv.map_to(2048);
        let mut back = [1; 4];
        kv.layer(27).part(3 << 20, 4).read(&mut back);
        assert_eq!(back, [0; 4], "a granule that was given back reads as zero");
        let view = kv.view(1024, 4096);
        assert_eq!((view.pages.len(), view.pages[0].len()), (4, 2));
        assert!(view.pages[3][0].mapped && !view.pages[3][1].mapped);
        assert!((view.pages[0][0].used - 0.5).abs() < 1e-6);
    }

    #[test]
    fn rows_move_within_every_layer() {
        let kv = PagedKv::new(2, 16, 64).expect("addresses");
        for layer in 0..2 {
            kv.layer(layer)
                .part(5 * 64, 64)
                .write(&[layer as u8 + 7; 64]);
        }
        kv.move_rows(&[(CellIdx(5), CellIdx(2))]);
        let mut row = [0; 64];
        kv.layer(1).part(2 * 64, 64).read(&mut row);
        assert_eq!(row, [8; 64]);
    }
}
