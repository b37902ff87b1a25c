//! The parts of a split model: which files they are.
//!
//! What a part's header says of the split decides; names only help to find the others:
//!
//! ```text
//!  any part:  split.no 1, split.count 3, split.tensors.count 291
//!    |  for each other number
//!    |    a file named like this one, but for the number:  m-00002-of-00003.gguf -> m-00003-of-...
//!    |    else any file of the folder whose header says it is that part of such a split
//!    v
//!  the files in order
//! ```
//!
//! Only the folder of the part that was named is searched, and of the files there only those that
//! begin as GGUF does.

use super::error::{GgufError, GgufFault};
use super::metadata::{Metadata, Value};
use super::{Part, mismatch};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Most parts that a model is taken to have: llama.cpp counts in 16 bits.
const MOST: u64 = u16::MAX as u64;

/// What the header of a part says of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// From 0; `None` where the header does not say.
    pub number: Option<u64>,
    pub count: u64,
    /// Of all parts together.
    pub tensors: Option<u64>,
}

impl Split {
    /// `None` for a file that is a model by itself.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let integer = |key| {
            let value = metadata.get(key).and_then(Value::integer)?;
            u64::try_from(value).ok()
        };
        let count = integer("split.count").filter(|&count| count > 1)?;
        Some(Self {
            number: integer("split.no"),
            count,
            tensors: integer("split.tensors.count"),
        })
    }

    /// Whether a part of split `other` can be a part of the same model.
    fn is_of(&self, other: &Self) -> bool {
        let tensors = self.tensors.zip(other.tensors);
        self.count == other.count && tensors.is_none_or(|(mine, theirs)| mine == theirs)
    }
}

/// All parts of the model that `asked` is a part of, in order: the first and the others.
///
/// # Errors
/// The first part that is missing, or that is there and says of itself that it is another.
pub(super) fn find(asked: Part, split: Split) -> Result<(Part, Vec<Part>), GgufError> {
    let path = asked.file.path.clone();
    let number = match split.number {
        Some(number) if number < split.count && split.count <= MOST => number,
        found => {
            let found = found.map_or("absent".to_owned(), |number| number.to_string());
            let count = split.count;
            return Err(GgufError::new(
                &path,
                GgufFault::SplitNumber { found, count },
            ));
        }
    };
    let mut search = Search {
        path: &path,
        number,
        split,
        folder: None,
    };
    let mut parts = Vec::new();
    for wanted in 0..split.count {
        let mut part = if wanted == number {
            asked.clone()
        } else {
            search.part(wanted)?
        };
        for tensor in &mut part.tensors {
            tensor.file = parts.len();
        }
        parts.push(part);
    }
    let others = parts.split_off(1);
    Ok((parts.remove(0), others))
}

/// A search for the other parts of part `number` of a split, the file at `path`.
struct Search<'a> {
    path: &'a Path,
    number: u64,
    split: Split,
    /// The parts of such splits in its folder, once they had to be looked for.
    folder: Option<Vec<Part>>,
}

impl Search<'_> {
    fn part(&mut self, wanted: u64) -> Result<Part, GgufError> {
        let mut misfit = None;
        let names = named_like(self.path, self.number, wanted);
        for name in names.iter().filter(|name| name.exists()) {
            let checked = Part::open(name).and_then(|part| match part.check(&self.split, wanted) {
                Ok(()) => Ok(part),
                Err(fault) => Err(GgufError::new(name, fault)),
            });
            match checked {
                Ok(part) => return Ok(part),
                Err(error) => misfit = misfit.or(Some(error)),
            }
        }
        if let Some(part) = self.in_folder(wanted)? {
            return Ok(part);
        }
        // A file of that name that cannot be read, or is another part, says why itself.
        Err(misfit.unwrap_or_else(|| {
            let (number, count) = (wanted + 1, self.split.count);
            let fault = match names.into_iter().next() {
                Some(missing) => GgufFault::SplitMissing {
                    number,
                    count,
                    missing,
                },
                None => GgufFault::SplitNowhere { number, count },
            };
            GgufError::new(self.path, fault)
        }))
    }

    /// The one part of the folder that says it is the wanted one.
    fn in_folder(&mut self, wanted: u64) -> Result<Option<Part>, GgufError> {
        let (path, split) = (self.path, self.split);
        let parts = self
            .folder
            .get_or_insert_with(|| parts_in(path.parent(), &split));
        let mut fitting = parts.iter().filter(|p| p.check(&split, wanted).is_ok());
        match (fitting.next(), fitting.next()) {
            (Some(one), Some(other)) => {
                let fault = GgufFault::SplitTwice {
                    number: wanted + 1,
                    count: split.count,
                    one: one.file.path.clone(),
                    other: other.file.path.clone(),
                };
                Err(GgufError::new(path, fault))
            }
            (part, _) => Ok(part.cloned()),
        }
    }
}

impl Part {
    /// Checks that this is part `number`, from 0, of a split like `split`.
    fn check(&self, split: &Split, number: u64) -> Result<(), GgufFault> {
        let value = |key| self.metadata.get(key);
        for (key, expected) in [
            ("split.count", Some(split.count)),
            ("split.no", Some(number)),
            ("split.tensors.count", split.tensors),
        ] {
            let (Some(expected), found) = (expected, value(key)) else {
                continue;
            };
            // Later parts need not say how many tensors all have together.
            if found.is_none() && key == "split.tensors.count" {
                continue;
            }
            if found.and_then(Value::integer) != Some(expected.into()) {
                let found = found.map_or("absent".to_owned(), Value::describe);
                return Err(mismatch(key, &found, expected));
            }
        }
        Ok(())
    }
}

/// Paths that differ from `path`, part `number`, only in that they name part `wanted`: counted
/// from one, as most do, or from zero.
fn named_like(path: &Path, number: u64, wanted: u64) -> Vec<PathBuf> {
    let Some(name) = path.file_name().map(OsStrExt::as_bytes) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for first in [1, 0] {
        for (start, end) in digit_runs(name) {
            let digits = &name[start..end];
            let value = std::str::from_utf8(digits)
                .ok()
                .and_then(|d| d.parse().ok());
            if value != Some(number + first) {
                continue;
            }
            let mut other = name[..start].to_vec();
            let width = digits.len();
            other.extend(format!("{:0width$}", wanted + first).bytes());
            other.extend(&name[end..]);
            names.push(path.with_file_name(OsString::from_vec(other)));
        }
    }
    names
}

/// Where `name` has digits, start and end of each run: first those before a count (`1of3`,
/// `00001-of-00003`), then the others from the end of the name on, and counts last.
fn digit_runs(name: &[u8]) -> Vec<(usize, usize)> {
    let name = name.to_ascii_lowercase();
    let is_digit = |at: usize| name.get(at).is_some_and(u8::is_ascii_digit);
    let starts = (0..name.len()).filter(|&at| is_digit(at) && (at == 0 || !is_digit(at - 1)));
    let end = |start: usize| (start..name.len()).find(|&at| !is_digit(at));
    let mut runs: Vec<_> = starts
        .map(|start| (start, end(start).unwrap_or(name.len())))
        .collect();
    let is_mark = |byte: &u8| matches!(byte, b'-' | b'_' | b'.' | b' ');
    let order = |&(start, end): &(usize, usize)| {
        let before = name[..start].iter().rev().find(|byte| !is_mark(byte));
        let after: Vec<_> = name[end..].iter().filter(|byte| !is_mark(byte)).collect();
        match (after.as_slice(), before) {
            ([b'o', b'f', next, ..], _) if next.is_ascii_digit() => 0,
            (_, Some(b'f')) if name[..start].windows(2).any(|two| two == b"of") => 2,
            _ => 1,
        }
    };
    runs.reverse();
    runs.sort_by_key(order);
    runs
}

/// The files of a folder whose headers say that they are parts of such a split.
fn parts_in(folder: Option<&Path>, split: &Split) -> Vec<Part> {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let Ok(entries) = std::fs::read_dir(folder.unwrap_or(Path::new("."))) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let parts = paths.iter().filter(|path| begins_as_gguf(path));
    let parts = parts.filter_map(|path| Part::open(path).ok());
    parts
        .filter(|part| Split::of(&part.metadata).is_some_and(|other| split.is_of(&other)))
        .collect()
}

/// Whether it is a file, not a pipe that would be waited for, with GGUF's first bytes.
fn begins_as_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"GGUF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_parts_follow_from_any_naming() {
        for (path, number, wanted, first) in [
            ("/m/q-00001-of-00003.gguf", 0, 2, "/m/q-00003-of-00003.gguf"),
            ("/m/Q-00002-OF-00003.GGUF", 1, 0, "/m/Q-00001-OF-00003.GGUF"),
            ("q.gguf.part3of3", 2, 0, "q.gguf.part1of3"),
            ("q8-part-1.gguf", 0, 1, "q8-part-2.gguf"),
            ("q_0.gguf", 0, 1, "q_1.gguf"),
            ("q2.part09.gguf", 8, 9, "q2.part10.gguf"),
            ("2-00002-of-00002.gguf", 1, 0, "2-00001-of-00002.gguf"),
            (
                "q-00001-of-00003 (1).gguf",
                0,
                1,
                "q-00002-of-00003 (1).gguf",
            ),
            ("q-00003-of-00003.gguf", 2, 0, "q-00001-of-00003.gguf"),
        ] {
            let names = named_like(Path::new(path), number, wanted);
            assert_eq!(names.first(), Some(&PathBuf::from(first)), "{path}");
        }
        assert!(named_like(Path::new("q-a.gguf"), 0, 1).is_empty());
    }
}
