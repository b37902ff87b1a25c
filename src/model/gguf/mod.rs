//! The GGUF index: what a model file holds and where, without reading its weights.
//!
//! ```text
//!   "GGUF" | version | n_tensors | n_kv      u32 u32 u64 u64, little-endian
//!   n_kv      x { key | type | value }       metadata
//!   n_tensors x { name | dims | type | at }  tensor table, `at` relative to the data section
//!   padding to general.alignment (32)
//!   data section                             never touched here
//! ```
//!
//! [`Gguf::open`] maps the file, parses the header, and drops the mapping, so that no file page
//! stays in the process. What it hands out has been checked: every tensor lies inside its file,
//! aligned, apart from the others, with whole blocks. A file that is not so gives one
//! [`GgufError`] that names it and its fault; nothing is allocated beyond a small multiple of
//! the header bytes that are really there.
//!
//! A model cut into several files is one `Gguf` with all of them; any part's path opens it,
//! whatever the parts are named (`parts`). Metadata is that of the first part.

mod beginning;
mod cursor;
mod error;
mod folder;
mod foreign;
mod metadata;
mod parts;
mod split;
mod tensor;
mod typed;
mod vocabulary;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

pub use crate::ggml::GgmlType;
pub use beginning::Beginning;
pub use error::{GgufError, GgufFault};
pub use folder::only_model_in;
pub use foreign::{Foreign, Piece};
pub use metadata::{ArrayRef, Metadata, Value, ValueType};
pub use split::SplitName;
pub use tensor::TensorInfo;

use crate::ggml::ModelFiles;
use crate::io::map::map_readonly;
use cursor::Cursor;
use parts::Split;

/// Alignment of tensor data where `general.alignment` is absent.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A model's index.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// One, or all parts in order.
    pub files: Vec<GgufFile>,
    /// Of the first file.
    pub metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufFile {
    pub path: PathBuf,
    /// Bytes of the file.
    pub len: u64,
    /// Where the data section starts.
    pub data_offset: u64,
}

impl Gguf {
    /// Reads the index of the model at `path`: a file, or any part of a split model, whose other
    /// parts must lie next to it.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let asked = Part::open(path)?;
        let split = Split::of(&asked.metadata);
        let (first, others) = match split {
            Some(split) => parts::find(asked, split)?,
            None => (asked, Vec::new()),
        };
        let mut gguf = Self::from_parts(first, others);
        let fail = |fault| Err(GgufError::new(gguf.path(), fault));
        if gguf.metadata.get("general.architecture").is_none() {
            return fail(match kind_of_headless(&gguf.metadata) {
                Some(what) => GgufFault::NoModel(what),
                None => GgufFault::MissingKey("general.architecture".into()),
            });
        }
        let total = gguf.tensors.len() as u64;
        if split.is_some()
            && let Some(said) = gguf.u64("split.tensors.count")?
            && said != total
        {
            return fail(mismatch("split.tensors.count", &said, total));
        }
        gguf.index()?;
        Ok(gguf)
    }

    fn from_parts(first: Part, others: Vec<Part>) -> Self {
        let mut gguf = Self {
            files: vec![first.file],
            metadata: first.metadata,
            tensors: first.tensors,
            by_name: HashMap::new(),
        };
        for part in others {
            gguf.files.push(part.file);
            gguf.tensors.extend(part.tensors);
        }
        gguf
    }

    fn index(&mut self) -> Result<(), GgufError> {
        for (i, tensor) in self.tensors.iter().enumerate() {
            if self.by_name.insert(tensor.name.clone(), i).is_some() {
                return Err(GgufError::new(
                    &self.files[tensor.file].path,
                    GgufFault::DuplicateTensor(tensor.name.clone()),
                ));
            }
        }
        Ok(())
    }

    /// The first (or only) file's path, by which errors name the model.
    pub fn path(&self) -> &Path {
        &self.files[0].path
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// All tensors in the order of the files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// `general.architecture`, as in `qwen2`.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        self.require_str("general.architecture")
    }

    /// `general.name`, or the file's name where the model does not say.
    pub fn name(&self) -> String {
        match self.str("general.name") {
            Ok(Some(name)) => name.to_owned(),
            _ => self
                .path()
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }
}

impl From<&Gguf> for ModelFiles {
    fn from(gguf: &Gguf) -> Self {
        let others = gguf.paths().skip(1).map(Path::to_owned).collect();
        Self::new(gguf.path(), others)
    }
}

/// One parsed file.
#[derive(Clone)]
struct Part {
    file: GgufFile,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
}

impl Part {
    /// Parses a file by itself: its tensors are of file 0.
    fn open(path: &Path) -> Result<Self, GgufError> {
        let map = open_mapped(path)?;
        Self::parse(&map, path).map_err(|fault| {
            // What is left of a header, or none at all, says less than such a name.
            let piece = fault.may_be_of_a_piece().then(|| Piece::of(path)).flatten();
            GgufError::new(path, piece.map_or(fault, GgufFault::Piece))
        })
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, GgufFault> {
        if bytes.is_empty() {
            return Err(GgufFault::Empty);
        }
        let mut cursor = Cursor::new(bytes, 0);
        require_version(&mut cursor, bytes)?;
        let n_tensors = cursor.count(tensor::MIN_TENSOR_BYTES, "tensors")?;
        let n_entries = cursor.count(metadata::MIN_ENTRY_BYTES, "metadata entries")?;
        let metadata = Metadata::parse(&mut cursor, n_entries)?;
        let mut tensors = Vec::new();
        for _ in 0..n_tensors {
            tensors.push(tensor::parse(&mut cursor)?);
        }
        let alignment = alignment(&metadata)?;
        let data_offset = cursor.offset().next_multiple_of(alignment);
        let len = bytes.len() as u64;
        tensor::place(&mut tensors, data_offset, alignment, len)?;
        Ok(Self {
            file: GgufFile {
                path: path.to_owned(),
                len,
                data_offset,
            },
            metadata,
            tensors,
        })
    }
}

/// Reads magic number and version at the beginning of `bytes`, and refuses those that are not ours.
fn require_version(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<(), GgufFault> {
    let magic = cursor.magic()?;
    if magic != *b"GGUF" {
        return Err(match Foreign::of(bytes) {
            Some(foreign) => GgufFault::Foreign(foreign),
            None => GgufFault::BadMagic(magic),
        });
    }
    match cursor.u32("the format version")? {
        2 | 3 => Ok(()),
        // A version is small: with its bytes reversed, its low half is empty.
        version if version != 0 && version & 0xffff == 0 => Err(GgufFault::BigEndian),
        version => Err(GgufFault::Version(version)),
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufFault> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let integer = value.integer().ok_or_else(|| GgufFault::WrongType {
        key: "general.alignment".into(),
        wanted: "an integer",
        found: value.describe(),
    })?;
    // ggml stores it in 32 bits.
    match u32::try_from(integer) {
        Ok(n) if n.is_power_of_two() => Ok(n.into()),
        _ => Err(GgufFault::Alignment(integer.try_into().unwrap_or(0))),
    }
}

/// Checks that `path` is a regular file that exists; says nothing of its content. Opening a
/// pipe would wait for a writer, so this comes before opening.
pub fn require_file(path: &Path) -> Result<(), GgufError> {
    let fail = |fault| GgufError::new(path, fault);
    let kind = match std::fs::metadata(path) {
        Ok(meta) => meta.file_type(),
        Err(error) => {
            let link = std::fs::read_link(path).ok();
            let link = link.filter(|_| error.kind() == std::io::ErrorKind::NotFound);
            return Err(fail(match link {
                Some(to) => GgufFault::Dangling(to),
                None => GgufFault::from_open(error),
            }));
        }
    };
    if kind.is_dir() {
        return Err(fail(GgufFault::IsDirectory));
    }
    if !kind.is_file() {
        return Err(fail(GgufFault::NotAFile));
    }
    Ok(())
}

fn open_mapped(path: &Path) -> Result<memmap2::Mmap, GgufError> {
    let fail = |fault| GgufError::new(path, fault);
    require_file(path)?;
    let file = File::open(path).map_err(|e| fail(GgufFault::from_open(e)))?;
    map_readonly(&file).map_err(|e| fail(GgufFault::Io(e)))
}

/// What a file without an architecture is, where its metadata says.
fn kind_of_headless(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.get("general.type");
    let is_imatrix = matches!(kind, Some(Value::String(text)) if text == "imatrix")
        || metadata.iter().any(|(key, _)| key.starts_with("imatrix."));
    is_imatrix.then_some("an importance matrix, by which models are quantised")
}

fn mismatch(key: &'static str, found: &dyn std::fmt::Display, expected: u64) -> GgufFault {
    GgufFault::SplitMismatch {
        key,
        found: found.to_string(),
        expected,
    }
}
