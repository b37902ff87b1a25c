//! The memory under the cells.

use super::cells::CellIdx;
use crate::ggml::{ComputeError, Device, Place, Span};
use crate::io::Arena;
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
    memory: Memory,
    layers: usize,
    row_bytes: usize,
    layer_bytes: usize,
    /// Granules in use from the start of every layer's range: cells fill from the front.
    mapped: usize,
}

#[derive(Debug)]
enum Memory {
    /// Addresses; memory follows the cells.
    Host(Arc<Arena>),
    /// Memory on a device, held whole from the start.
    Device(Span),
}

impl PagedKv {
    /// A cache in the memory of `device`, which is taken whole.
    ///
    /// # Errors
    /// When the device has no such memory.
    pub fn on_device(
        device: Device,
        layers: usize,
        cells: usize,
        row_bytes: usize,
    ) -> Result<Self, ComputeError> {
        let layer_bytes = Self::layer_bytes(cells, row_bytes);
        let len = layers * layer_bytes;
        Ok(Self {
            memory: Memory::Device(device.buffer(len)?.span(0, len)),
            layers,
            row_bytes,
            layer_bytes,
            mapped: layer_bytes / GRANULE_BYTES,
        })
    }

    /// Reserves addresses for `cells` rows of `row_bytes` in each of `layers` layers. Takes no
    /// memory yet.
    ///
    /// # Errors
    /// The system's own, when the address space is exhausted.
    pub fn new(layers: usize, cells: usize, row_bytes: usize) -> std::io::Result<Self> {
        let layer_bytes = Self::layer_bytes(cells, row_bytes);
        Ok(Self {
            memory: Memory::Host(Arena::new(layers * layer_bytes)?),
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
    pub fn layer(&self, layer: usize) -> Place {
        let (at, len) = (layer * self.layer_bytes, self.layer_bytes);
        match &self.memory {
            Memory::Host(arena) => Place::Host(arena.region(at, len)),
            Memory::Device(all) => Place::Device(all.part(at, len)),
        }
    }

    /// Rows that a layer's range has room for.
    pub fn rows(&self) -> usize {
        self.layer_bytes / self.row_bytes
    }

    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Makes sure that cells `[0, end)` have memory, and gives back granules behind them.
    pub fn map_to(&mut self, end: usize) {
        let Memory::Host(arena) = &self.memory else {
            return;
        };
        let wanted = (end * self.row_bytes).div_ceil(GRANULE_BYTES);
        if wanted < self.mapped {
            for layer in 0..self.layers {
                let at = layer * self.layer_bytes + wanted * GRANULE_BYTES;
                let len = (self.mapped - wanted) * GRANULE_BYTES;
                arena.region(at, len).discard();
            }
        }
        // Anonymous memory is mapped by the first write; nothing to do for growth.
        self.mapped = wanted;
    }

    /// Moves rows in every layer, in the order given.
    pub fn move_rows(&self, moves: &[(CellIdx, CellIdx)]) {
        let rows = moves.iter().flat_map(|(from, to)| [from.0, to.0]);
        let Some((first, last)) = rows.clone().min().zip(rows.max()) else {
            return;
        };
        // All that moves is taken out and put back at once: a copy to or from a device costs
        // the same for a row as for thousands.
        let size = self.row_bytes;
        let mut part = vec![0; (last + 1 - first) * size];
        for layer in 0..self.layers {
            let place = self.layer(layer).part(first * size, part.len());
            place.read(&mut part);
            for (from, to) in moves {
                let from = (from.0 - first) * size;
                part.copy_within(from..from + size, (to.0 - first) * size);
            }
            place.write(&part);
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
