//! A bounds-checked reader over a mapped GGUF header.
//!
//! Every read says what it reads, so that a file that ends early gives an error naming the
//! field. Nothing is allocated for a length before the bytes of that length are known to be
//! in the file.

use super::error::GgufFault;

/// The longest metadata string kept: far above any chat template, far below memory.
pub(super) const MAX_STRING_BYTES: u64 = 16 << 20;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = Result<T, GgufFault>;

impl<'a> Cursor<'a> {
    /// Reads from byte `at` of `bytes` on.
    pub(super) fn new(bytes: &'a [u8], at: u64) -> Self {
        let at = usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
        Self { bytes, at }
    }

    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: u64, what: &str) -> Read<&'a [u8]> {
        if n > self.left() {
            return Err(GgufFault::Truncated {
                what: what.to_owned(),
                offset: self.offset(),
                needed: n,
                left: self.left(),
            });
        }
        // `n` is at most what is left of a slice, so that it fits a usize.
        let start = self.at;
        self.at += n as usize;
        Ok(&self.bytes[start..self.at])
    }

    fn array<const N: usize>(&mut self, what: &str) -> Read<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub(super) fn magic(&mut self) -> Read<[u8; 4]> {
        self.array("the magic number")
    }

    pub(super) fn u8(&mut self, what: &str) -> Read<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn u16(&mut self, what: &str) -> Read<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Read<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Read<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `least` bytes each; checked against what is left.
    pub(super) fn count(&mut self, least: u64, what: &'static str) -> Read<u64> {
        let count = self.u64(what)?;
        if count > self.left() / least.max(1) {
            return Err(GgufFault::Count { what, count });
        }
        Ok(count)
    }

    /// A length-prefixed string, borrowed from the file.
    pub(super) fn string(&mut self, limit: u64, what: &str) -> Read<&'a str> {
        let offset = self.offset();
        let bytes = self.bytes(limit, what)?;
        std::str::from_utf8(bytes).map_err(|_| GgufFault::NotUtf8 {
            what: what.to_owned(),
            offset,
        })
    }

    /// The bytes of a length-prefixed string, which need not be UTF-8.
    pub(super) fn bytes(&mut self, limit: u64, what: &str) -> Read<&'a [u8]> {
        let offset = self.offset();
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        if length > limit {
            return Err(GgufFault::TooLong {
                what: what.to_owned(),
                offset,
                length,
                limit,
            });
        }
        Ok(bytes)
    }

    /// Passes over a length-prefixed string.
    pub(super) fn skip_string(&mut self, what: &str) -> Read<()> {
        let length = self.u64(what)?;
        self.take(length, what).map(drop)
    }
}
