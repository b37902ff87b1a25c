//! What an oracle has besides where it computes on a device: the window that weights come
//! through, and where logits land.

use super::super::Logits;
use crate::ggml::{Device, Event, Stream, Tensor};
use crate::io::Region;
use crate::river::Window;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Blocks of the head that may be on their way to the host: while one is put into its rows,
/// others are computed.
const LANDINGS: usize = 4;

/// Most threads that put a block into its rows. A single one may be slower than the link, and
/// the head of a wide pass would wait for it.
const SORTERS: usize = 8;

/// Bytes of a block for which another thread is worth starting.
const SORTED_ALONE: usize = 512 << 10;

/// See the module's text.
pub(super) struct DeviceSide {
    pub device: Device,
    pub window: Window,
    pub landing: Landing,
}

/// Where logits arrive from the device.
pub(super) struct Landing {
    places: Vec<(Region, Event)>,
    /// Places in use, the oldest first: what rows of the output matrix each holds.
    on_the_way: VecDeque<(usize, Range<usize>)>,
    next: usize,
    threads: usize,
}

impl Landing {
    /// Host memory that it takes for blocks of at most `rows` rows of the output matrix, of
    /// `wanted` tokens.
    pub(super) fn bytes(rows: usize, wanted: usize) -> usize {
        (LANDINGS * Self::block(rows, wanted)).next_multiple_of(2 << 20)
    }

    fn block(rows: usize, wanted: usize) -> usize {
        (rows * wanted * 4).next_multiple_of(256)
    }

    /// As for [`Landing::bytes`]; `threads` is how many may compute.
    pub(super) fn new(
        device: Device,
        rows: usize,
        wanted: usize,
        threads: usize,
    ) -> std::io::Result<Self> {
        let block = Self::block(rows, wanted);
        let arena = device.pinned(LANDINGS * block)?;
        let place = |i| (arena.region(i * block, block), Event::new(device));
        Ok(Self {
            places: (0..LANDINGS).map(place).collect(),
            on_the_way: VecDeque::new(),
            next: 0,
            threads: threads.min(SORTERS),
        })
    }

    /// Memory that the device copies from, while nothing lands in it.
    pub(super) fn room(&self) -> &Region {
        &self.places[0].0
    }

    /// Forgets what a pass that failed left behind.
    pub(super) fn clear(&mut self, stream: &Stream) {
        if !self.on_the_way.is_empty() {
            stream.synchronize();
            self.on_the_way.clear();
        }
    }

    /// Sends `block`, the logits of `rows` of the output matrix, on its way; first makes room by
    /// putting the oldest into `logits`.
    pub(super) fn fetch(
        &mut self,
        stream: &Stream,
        block: &Tensor,
        rows: Range<usize>,
        logits: &mut Logits,
    ) {
        if self.on_the_way.len() == LANDINGS {
            self.land(logits);
        }
        let (region, event) = &self.places[self.next];
        stream.fetch(block, region);
        stream.record(event);
        self.on_the_way.push_back((self.next, rows));
        self.next = (self.next + 1) % LANDINGS;
    }

    /// Puts all that is on its way into `logits`.
    pub(super) fn finish(&mut self, logits: &mut Logits) {
        while !self.on_the_way.is_empty() {
            self.land(logits);
        }
    }

    fn land(&mut self, logits: &mut Logits) {
        let Some((place, rows)) = self.on_the_way.pop_front() else {
            return;
        };
        let (region, event) = &self.places[place];
        event.synchronize();
        let bytes = rows.len() * 4;
        let threads = (logits.nodes().len() * bytes / SORTED_ALONE).min(self.threads);
        let left = Mutex::new(logits.rows_mut().enumerate());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let sort = || {
            while let Some((row, into)) = next() {
                let into = bytemuck::cast_slice_mut(&mut into[rows.clone()]);
                region.part(row * bytes, bytes).read(into);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Those that cannot be started leave the rows to others.
                let _ = std::thread::Builder::new().spawn_scoped(scope, sort);
            }
            sort();
        });
    }
}

/// The device's kernels take this much for themselves while they compute, besides scratch
/// memory: quantised activations of the widest product, and partial sums.
pub(super) fn kernel_bytes(widest: usize, tokens: usize) -> usize {
    2 * widest * tokens + (64 << 20)
}
