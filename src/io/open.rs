//! Which way of transferring blocks this system grants.

use super::{BlockReader, BlockWriter, PreadReader, PwriteWriter, UringReader, UringWriter};

/// The best reader that this system grants: io_uring, or `pread` where that is refused
/// (old kernels, containers that forbid it).
pub fn open_reader(depth: usize) -> Box<BlockReader> {
    match UringReader::new(depth) {
        Ok(reader) => Box::new(reader),
        Err(error) => {
            tracing::info!(%error, "io_uring is refused here; reading with pread");
            Box::new(PreadReader::default())
        }
    }
}

/// The best writer that this system grants: io_uring, or `pwrite` where that is refused.
pub fn open_writer(depth: usize) -> Box<BlockWriter> {
    match UringWriter::new(depth) {
        Ok(writer) => Box::new(writer),
        Err(error) => {
            tracing::info!(%error, "io_uring is refused here; writing with pwrite");
            Box::new(PwriteWriter::default())
        }
    }
}
