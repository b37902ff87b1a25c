//! The beginning of a file whose rest is not here: what has come of its header.
//!
//! ```text
//!   "GGUF" | version | n_tensors | n_kv | key, value | key, val
//!   `-- read ----------------------------------------'`- not whole yet
//! ```

use super::cursor::Cursor;
use super::metadata::{Metadata, Value};
use super::{GgufFault, require_version, tensor};

/// What the first bytes of a file tell.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// As many as the header says there are.
    pub tensors: u64,
    /// The entries that are whole.
    pub metadata: Metadata,
    /// Bytes of the header, once all of it is there.
    pub header_bytes: Option<u64>,
}

impl Beginning {
    /// Reads what is whole in `bytes`.
    ///
    /// # Errors
    /// What no further byte would mend.
    pub fn read(bytes: &[u8]) -> Result<Self, GgufFault> {
        let mut beginning = Self::default();
        match beginning.parse(bytes) {
            // A length that leaves the bytes there are: more of them have to come.
            Err(GgufFault::Truncated { .. } | GgufFault::Count { .. }) => Ok(beginning),
            Err(fault) => Err(fault),
            Ok(header_bytes) => {
                beginning.header_bytes = Some(header_bytes);
                Ok(beginning)
            }
        }
    }

    /// A text, where one of this key has come.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A number that is not negative, where one of this key has come.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.metadata.get(key)?.integer()?.try_into().ok()
    }

    /// Fills in what there is; the header's length.
    fn parse(&mut self, bytes: &[u8]) -> Result<u64, GgufFault> {
        let mut cursor = Cursor::new(bytes, 0);
        require_version(&mut cursor, bytes)?;
        self.tensors = cursor.u64("the number of tensors")?;
        let entries = cursor.u64("the number of metadata entries")?;
        for _ in 0..entries {
            self.metadata.parse_entry(&mut cursor)?;
        }
        for _ in 0..self.tensors {
            tensor::parse(&mut cursor)?;
        }
        Ok(cursor.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one number, one array of strings and one tensor.
    fn header() -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        let string =
            |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend([&string("n")[..], &4u32.to_le_bytes(), &7u32.to_le_bytes()].concat());
        bytes.extend(
            [
                &string("words")[..],
                &9u32.to_le_bytes(),
                &8u32.to_le_bytes(),
            ]
            .concat(),
        );
        bytes.extend([&2u64.to_le_bytes()[..], &string("one"), &string("two")].concat());
        bytes.extend([&string("w")[..], &1u32.to_le_bytes(), &32u64.to_le_bytes()].concat());
        bytes.extend([&0u32.to_le_bytes()[..], &0u64.to_le_bytes()].concat());
        bytes
    }

    #[test]
    fn every_prefix_tells_what_is_whole_in_it() {
        let bytes = header();
        for end in 0..bytes.len() {
            let beginning = Beginning::read(&bytes[..end]).unwrap();
            assert_eq!(beginning.header_bytes, None, "{end}");
            assert_eq!(
                beginning.metadata.get("n").is_some(),
                end >= 24 + 9 + 4 + 4,
                "{end}"
            );
        }
        let with_weights = [&bytes[..], &[0; 200]].concat();
        for bytes in [&bytes[..], &with_weights] {
            let all = Beginning::read(bytes).unwrap();
            assert_eq!(all.header_bytes, Some(header().len() as u64));
            assert_eq!((all.tensors, all.metadata.iter().count()), (1, 2));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        assert!(matches!(
            Beginning::read(b"<!DOCTYPE html>"),
            Err(GgufFault::BadMagic(_) | GgufFault::Foreign(_))
        ));
        let mut other = header();
        other[4] = 9;
        assert!(matches!(
            Beginning::read(&other),
            Err(GgufFault::Version(9))
        ));
        let mut unknown = header();
        unknown[33] = 99;
        assert!(matches!(
            Beginning::read(&unknown),
            Err(GgufFault::ValueType { id: 99, .. })
        ));
    }
}
