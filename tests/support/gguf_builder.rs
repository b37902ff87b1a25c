//! Builds small GGUF files in memory, right or wrong as a test wants them.
#![allow(dead_code, reason = "each test program uses its part")]

/// A file under construction. Defaults give a valid version 3 file.
#[derive(Clone)]
pub struct Builder {
    pub magic: [u8; 4],
    pub version: u32,
    /// Overrides of the true counts.
    pub n_tensors: Option<u64>,
    pub n_entries: Option<u64>,
    entries: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    next_offset: u64,
    alignment: u64,
    data_len: Option<u64>,
    /// Where tensors' own bytes go in the data section.
    contents: Vec<(u64, Vec<u8>)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_entries: None,
            entries: Vec::new(),
            tensors: Vec::new(),
            next_offset: 0,
            alignment: 32,
            data_len: None,
            contents: Vec::new(),
        }
    }
}

pub fn string(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text.as_bytes());
    out
}

impl Builder {
    /// With the one key that every model needs.
    pub fn model() -> Self {
        Self::default().text("general.architecture", "qwen2")
    }

    /// An entry with a value type's number and the value's raw bytes.
    pub fn raw(mut self, key: &str, ty: u32, value: &[u8]) -> Self {
        let mut entry = string(key);
        entry.extend(ty.to_le_bytes());
        entry.extend(value);
        self.entries.push(entry);
        self
    }

    pub fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &string(value))
    }

    pub fn u16(self, key: &str, value: u16) -> Self {
        self.raw(key, 2, &value.to_le_bytes())
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub fn i32(self, key: &str, value: i32) -> Self {
        self.raw(key, 5, &value.to_le_bytes())
    }

    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut body = 8u32.to_le_bytes().to_vec();
        body.extend((values.len() as u64).to_le_bytes());
        for value in values {
            body.extend(string(value));
        }
        self.raw(key, 9, &body)
    }

    pub fn alignment(mut self, alignment: u32) -> Self {
        self.alignment = alignment.into();
        self.u32("general.alignment", alignment)
    }

    /// A tensor of `bytes` bytes after the ones before it.
    pub fn tensor(mut self, name: &str, ty: u32, dims: &[u64], bytes: u64) -> Self {
        let offset = self.next_offset;
        self.next_offset = (offset + bytes).next_multiple_of(self.alignment);
        self.data_len = Some(self.next_offset);
        self.tensor_at(name, ty, dims, offset)
    }

    /// A tensor of these bytes after the ones before it.
    pub fn tensor_of(mut self, name: &str, ty: u32, dims: &[u64], bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u64;
        self.contents.push((self.next_offset, bytes));
        self.tensor(name, ty, dims, len)
    }

    /// A tensor entry at any offset; adds no data.
    pub fn tensor_at(mut self, name: &str, ty: u32, dims: &[u64], offset: u64) -> Self {
        let mut entry = string(name);
        entry.extend((dims.len() as u32).to_le_bytes());
        for dim in dims {
            entry.extend(dim.to_le_bytes());
        }
        entry.extend(ty.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    /// Length of the data section, where it is not what the tensors need.
    pub fn data(mut self, len: u64) -> Self {
        self.data_len = Some(len);
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        let n_tensors = self.n_tensors.unwrap_or(self.tensors.len() as u64);
        let n_entries = self.n_entries.unwrap_or(self.entries.len() as u64);
        out.extend(n_tensors.to_le_bytes());
        out.extend(n_entries.to_le_bytes());
        for part in self.entries.iter().chain(&self.tensors) {
            out.extend(part);
        }
        if let Some(len) = self.data_len {
            let start = (out.len() as u64).next_multiple_of(self.alignment);
            out.resize((start + len) as usize, 0xA5);
            for (offset, bytes) in &self.contents {
                let at = (start + offset) as usize;
                out[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        out
    }
}

/// A valid file that has one of everything.
pub fn sample() -> Builder {
    Builder::model()
        .text("general.name", "sample")
        .u32("qwen2.block_count", 2)
        .i32("a.i32", -5)
        .f32("qwen2.rope.freq_base", 1e6)
        .raw("a.bool", 7, &[1])
        .raw("a.u64", 10, &u64::MAX.to_le_bytes())
        .raw("a.f64", 12, &2.5f64.to_le_bytes())
        .texts("tokenizer.ggml.tokens", &["a", "bc", "", "Ġé"])
        .raw("a.nested", 9, &nested(2))
        .tensor("token_embd.weight", 8, &[64, 4], 272)
        .tensor("blk.0.attn_norm.weight", 0, &[64], 256)
        .tensor("blk.0.ffn_down.weight", 12, &[256, 3], 432)
}

/// The body of an array that holds arrays `depth` deep and a u8 at the end.
pub fn nested(depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 1..depth {
        out.extend(9u32.to_le_bytes());
        out.extend(1u64.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.push(7);
    out
}
