//! A transfer that failed for good.

use super::{Direction, Request};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A read or write that failed, also when it was tried again.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{}: {direction} {bytes} bytes at offset {offset} failed: {why}",
    path.display()
)]
pub struct TransferFailure {
    pub direction: Direction,
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: usize,
    pub why: Arc<io::Error>,
}

impl TransferFailure {
    /// Of `request`.
    pub fn of<R: Request>(request: &R, why: io::Error) -> Self {
        Self {
            direction: R::DIRECTION,
            path: request.file().path().to_owned(),
            offset: request.offset(),
            bytes: request.memory().len(),
            why: Arc::new(why),
        }
    }

    /// Whether it failed since the disk is full, or as much of it as we may use.
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.why.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
        })
    }
}
