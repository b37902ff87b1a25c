//! Any bytes as a GGUF file: an error or a checked index, never a panic.
//! `tests/models/gguf_fuzz.rs` makes the same check on a small, reproducible set of inputs.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use nmos::model::gguf::Gguf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::Builder::new().suffix(".gguf").tempfile() else {
        return;
    };
    if file.write_all(bytes).is_err() {
        return;
    }
    if let Ok(gguf) = Gguf::open(file.path()) {
        for tensor in gguf.tensors() {
            assert!(tensor.offset + tensor.bytes <= bytes.len() as u64);
            assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
        }
        // Walks every array of the tokenizer.
        let _ = gguf.has_vocabulary_of(&gguf);
    }
});
