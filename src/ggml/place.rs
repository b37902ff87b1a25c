//! Memory of the host or of a device, where it does not matter which.

use super::device::Span;
use crate::io::Region;

/// Where a tensor's data can lie.
#[derive(Clone, Debug)]
pub enum Place {
    Host(Region),
    Device(Span),
}

impl Place {
    /// As [`Region::part`] and [`Span::part`].
    ///
    /// # Panics
    /// If it does not lie within.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Self {
        match self {
            Self::Host(region) => Self::Host(region.part(offset, len)),
            Self::Device(span) => Self::Device(span.part(offset, len)),
        }
    }

    /// Copies from its start into `bytes`.
    ///
    /// # Panics
    /// If it is shorter.
    pub fn read(&self, bytes: &mut [u8]) {
        match self {
            Self::Host(region) => region.read(bytes),
            Self::Device(span) => span.read(bytes),
        }
    }

    /// Copies `bytes` to its start.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, bytes: &[u8]) {
        match self {
            Self::Host(region) => region.write(bytes),
            Self::Device(span) => span.write(bytes),
        }
    }
}
