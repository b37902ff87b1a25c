//! What can be wrong with a model file, in a user's words.

use super::foreign::{Foreign, Piece};
use crate::units::Bytes;
use std::io;
use std::path::{Path, PathBuf};

/// A GGUF file that cannot be used: which one, and its one fault.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct GgufError {
    pub path: PathBuf,
    pub fault: GgufFault,
}

impl GgufError {
    pub(super) fn new(path: &Path, fault: GgufFault) -> Self {
        Self {
            path: path.to_owned(),
            fault,
        }
    }
}

/// The fault itself. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum GgufFault {
    #[error("no such file")]
    NotFound,
    #[error("is a symbolic link to {}, which is not there", .0.display())]
    Dangling(PathBuf),
    #[error("is a directory; name the .gguf file in it")]
    IsDirectory,
    #[error("is a directory without a GGUF model in it")]
    NoModelIn,
    #[error("is a directory without a GGUF model that can be used: {0}")]
    BrokenModelIn(Box<GgufError>),
    #[error("is a directory with {count} models; name one of them, as in {}", first.display())]
    ManyModelsIn { count: usize, first: PathBuf },
    #[error("is not a regular file")]
    NotAFile,
    #[error("may not be read by this user (permission denied)")]
    Unreadable,
    #[error("cannot be read: {0}")]
    Io(io::Error),

    #[error("is empty (an unfinished download?)")]
    Empty,
    #[error("{0}")]
    Foreign(Foreign),
    #[error(
        "is a piece of a file that was cut up, not a model by itself: join all the pieces, in \
         order, into {} (with `cat`), and name that",
        .0.whole.display()
    )]
    Piece(Piece),
    #[error("is {0}, not a model")]
    NoModel(&'static str),
    #[error("is not a GGUF file: it starts with {}, not with \"GGUF\"", printable(.0))]
    BadMagic([u8; 4]),
    #[error("is big-endian GGUF; only little-endian files are supported")]
    BigEndian,
    #[error(
        "has GGUF version {0}; versions 2 and 3 are supported: look for a newer file of the model"
    )]
    Version(u32),

    #[error(
        "ends inside its header: {what} at byte {offset} needs {needed} bytes, {left} are left \
         (an unfinished download?)"
    )]
    Truncated {
        what: String,
        offset: u64,
        needed: u64,
        left: u64,
    },
    #[error(
        "is cut short or damaged: it claims {count} {what}, more than the bytes that are left can \
         hold (an unfinished download?)"
    )]
    Count { what: &'static str, count: u64 },
    #[error("is damaged: {what} at byte {offset} is {length} bytes long; the limit is {limit}")]
    TooLong {
        what: String,
        offset: u64,
        length: u64,
        limit: u64,
    },
    #[error("is damaged: {what} at byte {offset} is not valid UTF-8")]
    NotUtf8 { what: String, offset: u64 },
    #[error("is damaged: '{key}' nests arrays more than {limit} deep")]
    Nesting { key: String, limit: usize },
    #[error("is damaged: '{key}' has value type {id}, which GGUF does not define")]
    ValueType { key: String, id: u32 },
    #[error("is damaged: '{key}' is a bool with the value {value}, not 0 or 1")]
    BadBool { key: String, value: u8 },
    #[error("is damaged: the metadata key '{0}' occurs twice")]
    DuplicateKey(String),
    #[error("is damaged: general.alignment is {0}, not a power of two")]
    Alignment(u64),

    #[error("has no metadata key '{0}', which is required")]
    MissingKey(String),
    #[error("metadata key '{key}' holds {found} where {wanted} is expected")]
    WrongType {
        key: String,
        wanted: &'static str,
        found: String,
    },

    #[error("is damaged: two tensors are named '{0}'")]
    DuplicateTensor(String),
    #[error("is damaged: tensor '{tensor}' has {n_dims} dimensions; 1 to 4 are allowed")]
    DimensionCount { tensor: String, n_dims: u32 },
    #[error("is damaged: the size of tensor '{tensor}' ({dims:?}) is zero or overflows")]
    Dimensions { tensor: String, dims: Vec<u64> },
    #[error(
        "is damaged: tensor '{tensor}' has rows of {row} elements, not a multiple of {ty}'s \
         block of {block}"
    )]
    PartialBlock {
        tensor: String,
        row: u64,
        ty: &'static str,
        block: u64,
    },
    #[error("tensor '{tensor}' has element type {id}, which is not supported")]
    UnsupportedType { tensor: String, id: u32 },
    #[error("is damaged: tensor '{tensor}' at offset {offset} is not aligned to {alignment}")]
    Misaligned {
        tensor: String,
        offset: u64,
        alignment: u64,
    },
    #[error("is damaged: tensor '{tensor}' at bytes {start} to {end} is past any file's end")]
    OutOfRange {
        tensor: String,
        /// Wider than the file's own offsets, so that a sum which overflows still prints.
        start: u128,
        end: u128,
    },
    #[error(
        "is cut short: it has {} of {}, and {} bytes from tensor '{tensor}' on are missing (an \
         unfinished download?)",
        Bytes(*len), Bytes(*needed), needed - len
    )]
    CutShort {
        tensor: String,
        /// Bytes that the file should have at least.
        needed: u64,
        len: u64,
    },
    #[error("is damaged: tensors '{first}' and '{second}' overlap")]
    Overlap { first: String, second: String },

    #[error("is damaged: its number among {count} parts (split.no) is {found}")]
    SplitNumber { found: String, count: u64 },
    #[error("part {number} of {count} is missing: {} is not there", missing.display())]
    SplitMissing {
        number: u64,
        count: u64,
        missing: PathBuf,
    },
    #[error("part {number} of {count} is missing: no file in the same folder says that it is that")]
    SplitNowhere { number: u64, count: u64 },
    #[error(
        "part {number} of {count} is there twice: {} and {}; give the right one a name like that \
         of the other parts",
        one.display(), other.display()
    )]
    SplitTwice {
        number: u64,
        count: u64,
        one: PathBuf,
        other: PathBuf,
    },
    #[error("does not belong to this set of parts: {key} is {found}, expected {expected}")]
    SplitMismatch {
        key: &'static str,
        found: String,
        expected: u64,
    },
}

impl GgufFault {
    /// Whether a file that is only a piece of one would have this fault.
    pub(super) fn may_be_of_a_piece(&self) -> bool {
        matches!(
            self,
            Self::BadMagic(_)
                | Self::Foreign(Foreign::Zeros)
                | Self::Empty
                | Self::Truncated { .. }
                | Self::Count { .. }
                | Self::CutShort { .. }
        )
    }

    pub(super) fn from_open(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied => Self::Unreadable,
            io::ErrorKind::IsADirectory => Self::IsDirectory,
            _ => Self::Io(error),
        }
    }
}

fn printable(magic: &[u8; 4]) -> String {
    format!("\"{}\"", magic.escape_ascii())
}
