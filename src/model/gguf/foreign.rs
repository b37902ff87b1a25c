//! Files that are no GGUF, told by what they begin with; and pieces of a GGUF file that was cut
//! up, told by their names.

use std::fmt;
use std::path::{Path, PathBuf};

/// What a file is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    Safetensors,
    PyTorch,
    /// What llama.cpp read before GGUF.
    OldGgml,
    /// The adapters of that time.
    OldAdapter,
    Hdf5,
    Onnx,
    Json,
    WebPage,
    LfsPointer,
    /// By its program.
    Compressed(&'static str),
    /// Bytes that are all zero: what some programs set aside for a download.
    Zeros,
}

/// Bytes that a file of another kind is told by.
pub(super) const LOOK: usize = 512;

/// First bytes that say what a file is.
const MAGIC: [(&[u8], Foreign); 14] = [
    (b"PK\x03\x04", Foreign::PyTorch),
    (b"\x80\x02", Foreign::PyTorch),
    (b"\x80\x04\x95", Foreign::PyTorch),
    // Written as numbers, so backwards: ggml, ggmf, ggjt; ggla.
    (b"lmgg", Foreign::OldGgml),
    (b"fmgg", Foreign::OldGgml),
    (b"tjgg", Foreign::OldGgml),
    (b"algg", Foreign::OldAdapter),
    (b"\x89HDF\r\n\x1a\n", Foreign::Hdf5),
    (b"version https://git-lfs", Foreign::LfsPointer),
    (b"\x1f\x8b", Foreign::Compressed("gzip")),
    (b"\xfd7zXZ\0", Foreign::Compressed("xz")),
    (b"\x28\xb5\x2f\xfd", Foreign::Compressed("zstd")),
    (b"BZh", Foreign::Compressed("bzip2")),
    (b"7z\xbc\xaf\x27\x1c", Foreign::Compressed("7z")),
];

impl Foreign {
    /// What a file that begins so is, if that can be told.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(LOOK)];
        if let Some((_, found)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Some(*found);
        }
        // A header's length, and the header, which is JSON.
        if let Some((length, header)) = bytes.split_first_chunk::<8>()
            && header.starts_with(b"{")
            && u64::from_le_bytes(*length) < 1 << 32
        {
            return Some(Self::Safetensors);
        }
        let start = bytes.trim_ascii_start();
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        let begins = |text: &[u8]| {
            let head = start.get(..text.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(text))
        };
        if begins(b"<!doctype") || begins(b"<html") || begins(b"<?xml") {
            return Some(Self::WebPage);
        }
        if begins(b"{") || begins(b"[") {
            return Some(Self::Json);
        }
        // The first field of an ONNX file: its version, and who wrote it.
        if bytes.starts_with(&[8]) && bytes.get(2) == Some(&0x12) {
            return Some(Self::Onnx);
        }
        let zeros = bytes.len() >= 16 && bytes.iter().all(|byte| *byte == 0);
        zeros.then_some(Self::Zeros)
    }
}

impl fmt::Display for Foreign {
    /// As the end of a sentence that begins with the file: what it is, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Safetensors => "a safetensors file",
            Self::PyTorch => "a PyTorch file (or another zip archive or pickle)",
            Self::OldGgml => "a ggml file from before GGUF",
            Self::Hdf5 => "an HDF5 file",
            Self::Onnx => "an ONNX file",
            Self::OldAdapter => {
                return f.write_str(
                    "is a LoRA adapter from before GGUF: it holds changes to a model, not a model",
                );
            }
            Self::Json => {
                return f.write_str(
                    "is JSON text, not a model: the weights are in other files, and NMOS reads \
                     those that end in .gguf",
                );
            }
            Self::WebPage => {
                return f.write_str(
                    "is a web page, not a model: what was downloaded is the page about the file, \
                     or a refusal; download the file itself",
                );
            }
            Self::LfsPointer => {
                return f.write_str(
                    "is a pointer of Git LFS, not the model itself: `git lfs pull` in its \
                     repository fetches that",
                );
            }
            Self::Compressed(program) => {
                return write!(f, "is compressed with {program}: unpack it first");
            }
            Self::Zeros => {
                return f.write_str(
                    "begins with zeros, not with \"GGUF\": an unfinished download, as it seems; \
                     wait for it, or fetch it again",
                );
            }
        };
        write!(
            f,
            "is {what}; NMOS reads GGUF: look for a GGUF of the same model, or make one with \
             llama.cpp's convert_hf_to_gguf.py"
        )
    }
}

/// A piece of a GGUF file that was cut by bytes, whatever is in it: `m.gguf.part1of3`,
/// `m.gguf-split-a`, `m.gguf.001`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The name of the file that was cut.
    pub whole: PathBuf,
}

impl Piece {
    /// `None` for a file that is not named so.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let at = name.to_ascii_lowercase().rfind(".gguf")?;
        let (whole, ending) = name.split_at(at + ".gguf".len());
        let ending = ending.strip_prefix(['.', '-', '_'])?.to_ascii_lowercase();
        let number = ["part", "split"]
            .iter()
            .find_map(|word| ending.strip_prefix(word))
            .map_or(ending.as_str(), |rest| {
                rest.trim_start_matches(['.', '-', '_'])
            });
        let (number, count) = number.split_once("of").unwrap_or((number, "1"));
        let is_number = |text: &str| {
            !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
        };
        // As `split` names them: aa, ab, ...
        let is_letters = |text: &str| match text.as_bytes() {
            [letter] | [b'a', letter] => letter.is_ascii_lowercase(),
            _ => false,
        };
        let named = (is_number(number) || is_letters(number)) && is_number(count);
        named.then(|| Self {
            whole: PathBuf::from(whole),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_are_told_by_their_first_bytes() {
        let zeros = [0; 64];
        let safetensors = [&20_u64.to_le_bytes()[..], b"{\"weight\":{}}"].concat();
        for (bytes, what) in [
            (&b"PK\x03\x04\x00\x00"[..], Some(Foreign::PyTorch)),
            (b"\x80\x02}q\x00", Some(Foreign::PyTorch)),
            (b"tjgg\x03\0\0\0", Some(Foreign::OldGgml)),
            (b"algg\x01\0\0\0", Some(Foreign::OldAdapter)),
            (&safetensors, Some(Foreign::Safetensors)),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:",
                Some(Foreign::LfsPointer),
            ),
            (b"\n <!DOCTYPE html><html>", Some(Foreign::WebPage)),
            (b"{\"weight_map\": {}}", Some(Foreign::Json)),
            (b"\x1f\x8b\x08\0", Some(Foreign::Compressed("gzip"))),
            (b"\x08\x07\x12\x07pytorch", Some(Foreign::Onnx)),
            (&zeros, Some(Foreign::Zeros)),
            (b"\0\0\0\0", None),
            (b"nothing known", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::of(bytes), what, "{bytes:?}");
        }
    }

    #[test]
    fn pieces_of_a_file_are_told_by_their_names() {
        for (name, whole) in [
            ("m.Q4_K_M.gguf.part1of3", Some("m.Q4_K_M.gguf")),
            ("m.gguf-split-a", Some("m.gguf")),
            ("M.GGUF.PART2OF2", Some("M.GGUF")),
            ("m.gguf.part-00001", Some("m.gguf")),
            ("m.gguf.aa", Some("m.gguf")),
            ("m.gguf.001", Some("m.gguf")),
            ("m-00001-of-00002.gguf", None),
            ("m.gguf", None),
            ("m.gguf.part", None),
            ("m.gguf.download", None),
            ("m.gguf.bak", None),
            ("m.gguf.gz", None),
            ("part1of3", None),
        ] {
            let found = Piece::of(Path::new(name)).map(|piece| piece.whole);
            assert_eq!(found, whole.map(PathBuf::from), "{name}");
        }
    }
}
