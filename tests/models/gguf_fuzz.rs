//! Hostile bytes: the index may refuse them, but must neither panic nor promise anything that
//! is not in the file.

use std::fs;

use crate::gguf_builder::sample;
use nmos::model::gguf::Gguf;
use proptest::prelude::*;

/// Opens `bytes`; where that succeeds, every promise of the index is checked.
fn check(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fuzzed.gguf");
    fs::write(&path, bytes).unwrap();
    let gguf = match Gguf::open(&path) {
        Ok(gguf) => gguf,
        Err(error) => {
            assert!(error.to_string().contains("fuzzed.gguf"), "{error}");
            return;
        }
    };
    let file = &gguf.files[0];
    assert_eq!(file.len, bytes.len() as u64);
    let mut spans = Vec::new();
    for tensor in gguf.tensors() {
        assert!(tensor.offset >= file.data_offset);
        assert!(tensor.offset + tensor.bytes <= file.len);
        let rows: u64 = tensor.dims[1..].iter().product();
        assert_eq!(
            tensor.ty.row_bytes(tensor.dims[0]),
            Some(tensor.row_bytes())
        );
        assert_eq!(tensor.row_bytes() * rows, tensor.bytes);
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
        spans.push((tensor.offset, tensor.offset + tensor.bytes));
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    for (key, _) in gguf.metadata.iter() {
        // Any of these may be an error of type; none may panic.
        let _ = (gguf.str(key), gguf.u32(key), gguf.u64(key), gguf.f32(key));
        let _ = gguf.array_len(key);
    }
    // Walks every array of the tokenizer.
    let _ = gguf.has_vocabulary_of(&gguf);
}

#[test]
fn every_byte_set_to_extremes() {
    let bytes = sample().build();
    let header = bytes.len() - 1024;
    for at in 0..header {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            check(&bytes);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        check(&bytes);
    }

    #[test]
    fn random_bytes_after_a_valid_start(
        version in 2u32..=3,
        n_tensors in 0u64..4,
        n_entries in 0u64..4,
        rest in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(n_tensors.to_le_bytes());
        bytes.extend(n_entries.to_le_bytes());
        bytes.extend(rest);
        check(&bytes);
    }

    #[test]
    fn mutated_and_cut(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        keep_length in any::<bool>(),
    ) {
        let mut bytes = sample().build();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !keep_length {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(&bytes);
    }

    #[test]
    fn whole_fields_replaced(
        at in any::<prop::sample::Index>(),
        value in prop_oneof![Just(u64::MAX), Just(1 << 63), Just(1 << 32), any::<u64>(), 0u64..64],
    ) {
        let mut bytes = sample().build();
        let at = at.index(bytes.len() - 8);
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        check(&bytes);
    }
}
