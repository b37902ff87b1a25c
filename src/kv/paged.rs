//! The memory under the cells.

use super::cells::CellIdx;
use super::pool::{GRANULE_BYTES, LAYERS_PER_PAGE, PageError, PageId, PagePool, PageSource};
use super::source::{DevicePages, HostPages};
use crate::ggml::{ComputeError, Device, Place};
use crate::io::Arena;
use crate::telemetry::{KvPageView, KvView};
use crate::units::Bytes;

/// How a device's memory is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvMemory {
    /// Page by page as cells are used; whole where the device cannot.
    #[default]
    Paged,
    /// All of it from the start.
    Whole,
}

/// One range a layer; a token's row holds its keys, then its values.
///
/// Units: cells are tokens, a row is `row_bytes` long, a layer's range is `layer_bytes`.
#[derive(Debug)]
pub struct PagedKv {
    /// All layers' ranges, one after the other.
    all: Place,
    /// `None` where memory is held whole from the start.
    pool: Option<PagePool>,
    layers: usize,
    row_bytes: usize,
    layer_bytes: usize,
    on_device: bool,
}

impl PagedKv {
    /// A cache of the host: addresses for `cells` rows of `row_bytes` in each of `layers` layers.
    /// Takes no memory yet.
    ///
    /// # Errors
    /// The system's own, when the address space is exhausted.
    pub fn new(layers: usize, cells: usize, row_bytes: usize) -> std::io::Result<Self> {
        let layer_bytes = Self::layer_bytes(cells, row_bytes);
        let arena = Arena::reserved(layers * layer_bytes)?;
        let all = Place::Host(arena.region(0, layers * layer_bytes));
        let source = Box::new(HostPages(arena));
        Ok(Self::over(
            all,
            Some(source),
            layers,
            layer_bytes,
            row_bytes,
        ))
    }

    /// The same where `device` computes.
    ///
    /// # Errors
    /// When the device has no such memory.
    pub fn on_device(
        device: Device,
        memory: KvMemory,
        layers: usize,
        cells: usize,
        row_bytes: usize,
    ) -> Result<Self, ComputeError> {
        let layer_bytes = Self::layer_bytes(cells, row_bytes);
        let len = layers * layer_bytes;
        if memory == KvMemory::Paged {
            if device.is_cpu() {
                let host = Self::new(layers, cells, row_bytes);
                let kv = host.map_err(|_| ComputeError::OutOfMemory)?;
                return Ok(Self {
                    on_device: true,
                    ..kv
                });
            }
            match device.reserve(len / GRANULE_BYTES, GRANULE_BYTES) {
                Ok(Some((buffer, range))) => {
                    let all = Place::Device(buffer.span(0, len));
                    let source = Box::new(DevicePages(range));
                    return Ok(Self::over(
                        all,
                        Some(source),
                        layers,
                        layer_bytes,
                        row_bytes,
                    ));
                }
                Ok(None) => tracing::info!("this GPU's memory is not mapped by hand"),
                Err(error) => tracing::warn!(%error, "the KV cache takes the GPU's memory whole"),
            }
        }
        let all = Place::Device(device.buffer(len)?.span(0, len));
        Ok(Self::over(all, None, layers, layer_bytes, row_bytes))
    }

    fn over(
        all: Place,
        source: Option<Box<dyn PageSource>>,
        layers: usize,
        layer_bytes: usize,
        row_bytes: usize,
    ) -> Self {
        let columns = layer_bytes / GRANULE_BYTES;
        // What a session sets aside for it.
        let budget = Bytes((layers * layer_bytes) as u64);
        Self {
            on_device: matches!(all, Place::Device(_)),
            all,
            pool: source.map(|source| PagePool::new(source, layers, columns, budget)),
            layers,
            row_bytes,
            layer_bytes,
        }
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
        self.all.part(layer * self.layer_bytes, self.layer_bytes)
    }

    /// Rows that fit into a layer's range.
    pub fn rows(&self) -> usize {
        self.layer_bytes / self.row_bytes
    }

    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Pages of every group that rows `[0, rows)` lie in.
    fn columns_to(&self, rows: usize) -> usize {
        (rows * self.row_bytes).div_ceil(GRANULE_BYTES)
    }

    /// Makes sure that rows `[0, rows)` have memory in every layer. What had none is zero.
    ///
    /// # Errors
    /// When there is no more; what there was stays.
    ///
    /// # Panics
    /// If there are not as many rows.
    pub fn reach(&mut self, rows: usize) -> Result<(), PageError> {
        let columns = self.columns_to(rows);
        let Some(pool) = &mut self.pool else {
            return Ok(());
        };
        for column in 0..columns {
            for group in 0..pool.groups() {
                pool.commit(PageId { group, column })?;
            }
        }
        Ok(())
    }

    /// Gives back the pages that lie after rows `[0, rows)`. Nothing may be computing there.
    pub fn release_after(&mut self, rows: usize) {
        let kept = self.columns_to(rows);
        if let Some(pool) = &mut self.pool {
            for column in kept..pool.columns() {
                for group in 0..pool.groups() {
                    pool.release(PageId { group, column });
                }
            }
        }
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
        match &self.pool {
            Some(pool) => pool.held(),
            None => Bytes((self.layers * self.layer_bytes) as u64),
        }
    }

    /// The page map, with `used` cells from the front.
    pub fn view(&self, used: usize, capacity: usize) -> KvView {
        let tokens_per_page = (GRANULE_BYTES / self.row_bytes).max(1);
        let page = |group, column| {
            let here = used.saturating_sub(column * tokens_per_page);
            KvPageView {
                mapped: (self.pool.as_ref())
                    .is_none_or(|pool| pool.is_committed(PageId { group, column })),
                used: here.min(tokens_per_page) as f32 / tokens_per_page as f32,
            }
        };
        let columns = self.layer_bytes / GRANULE_BYTES;
        KvView {
            page_bytes: Bytes((GRANULE_BYTES * LAYERS_PER_PAGE) as u64),
            pages: (0..self.layers.div_ceil(LAYERS_PER_PAGE))
                .map(|group| (0..columns).map(|column| page(group, column)).collect())
                .collect(),
            tokens_per_page,
            cells_used: used,
            cells_max: capacity,
            mapped_bytes: self.mapped_bytes(),
            on_device: self.on_device,
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
        kv.reach(1).expect("memory");
        assert_eq!(kv.mapped_bytes(), Bytes::mib(56));
        kv.reach(2049).expect("memory");
        assert_eq!(kv.mapped_bytes(), Bytes::mib(112));
        assert_eq!(PagedKv::max_bytes(28, 4096, row), Bytes::mib(112));
        kv.layer(27).part(3 << 20, 4).write(b"mark");
        kv.reach(1).expect("memory");
        let mut back = [1; 4];
        kv.layer(27).part(3 << 20, 4).read(&mut back);
        assert_eq!(&back, b"mark", "reaching less gives nothing back");
        kv.release_after(2048);
        let view = kv.view(1024, 4096);
        assert_eq!((view.pages.len(), view.pages[0].len()), (4, 2));
        assert!(view.pages[3][0].mapped && !view.pages[3][1].mapped);
        assert!((view.pages[0][0].used - 0.5).abs() < 1e-6);
        assert_eq!(view.mapped_bytes, Bytes::mib(56));
        kv.reach(4096).expect("memory");
        kv.layer(27).part(3 << 20, 4).read(&mut back);
        assert_eq!(
            back, [0; 4],
            "what was given back is zero when it is there again"
        );
    }

    #[test]
    fn a_row_across_a_border_has_memory_on_both_sides() {
        // 2 MiB are 2730.67 rows.
        let mut kv = PagedKv::new(3, 6000, 768).expect("addresses");
        kv.reach(2731).expect("memory");
        assert_eq!(kv.mapped_bytes(), Bytes::mib(12));
        for layer in 0..3 {
            kv.layer(layer).part(2730 * 768, 768).write(&[7; 768]);
        }
        kv.release_after(2730);
        assert_eq!(kv.mapped_bytes(), Bytes::mib(6));
    }

    #[test]
    fn memory_that_is_held_whole_stays() {
        crate::ggml::init().expect("ggml starts");
        let cpu = Device::cpu().expect("a processor");
        let mut kv = PagedKv::on_device(cpu, KvMemory::Whole, 2, 100, 64).expect("memory");
        assert_eq!(kv.mapped_bytes(), Bytes::mib(4));
        kv.release_after(0);
        kv.reach(100).expect("nothing to do");
        let view = kv.view(0, 100);
        assert!(view.on_device && view.pages[0][0].mapped);
    }

    #[test]
    fn rows_move_within_every_layer() {
        let mut kv = PagedKv::new(2, 16, 64).expect("addresses");
        kv.reach(16).expect("memory");
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
