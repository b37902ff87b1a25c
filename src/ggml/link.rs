//! How fast a device copies from the host.

use super::{ComputeError, Device, Stream};
use std::time::Instant;

/// Bytes that are copied, many times what any cache holds.
const COPIED: usize = 4 << 30;

/// Pieces that are in memory at a time.
const PIECES: usize = 4;

/// Decimal gigabytes a second from memory that `device` copies from fastest, in pieces of
/// `piece` bytes.
///
/// # Errors
/// When there is no memory for a few pieces, on either side.
pub fn link_gb_s(device: Device, piece: usize) -> Result<f64, ComputeError> {
    let piece = piece.max(1);
    let host = device
        .pinned(PIECES * piece)
        .map_err(|_| ComputeError::OutOfMemory)?;
    let buffer = device.buffer(PIECES * piece)?;
    let stream = Stream::new(device)?;
    let copy = |times: usize| {
        for i in 0..times {
            let at = i % PIECES * piece;
            stream.send(&host.region(at, piece), &buffer.span(at, piece));
        }
        stream.synchronize();
    };
    // The first pages and the clocks of an idle device are no part of it.
    copy(PIECES);
    let times = (COPIED / piece).max(PIECES);
    let began = Instant::now();
    copy(times);
    Ok((times * piece) as f64 / began.elapsed().as_secs_f64() / 1e9)
}
