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
        (self.count, self.tensors) == (other.count, other.tensors)
    }
}

/// All parts of the model that `asked` is a part of, in order: the first and the others.
///
/// # Errors
/// The first part that is missing, or that is there and says of itself that it is another.
pub(super) fn find(asked: Part, split: Split) -> Result<(Part, Vec<Part>), GgufError> {
    let path = asked.file.path.clone();
    let fail = |fault| Err(GgufError::new(&path, fault));
    let number = match split.number {
        Some(number) if number < split.count && split.count <= MOST => number,
        found => {
            let found = found.map_or("absent".to_owned(), |number| number.to_string());
            return fail(GgufFault::SplitNumber {
                found,
                count: split.count,
            });
        }
    };
    let mut folder: Option<Vec<Part>> = None;
    let mut parts = Vec::new();
    for wanted in 0..split.count {
        if wanted == number {
            parts.push(asked.clone());
            continue;
        }
        let names = named_like(&path, number, wanted);
        let mut misfit = None;
        let named = names.iter().find_map(|name| {
            let part = Part::open(name).ok()?;
            match part.check(&split, wanted) {
                Ok(()) => Some(part),
                Err(fault) => {
                    misfit.get_or_insert(GgufError::new(name, fault));
                    None
                }
            }
        });
        if let Some(part) = named {
            parts.push(part);
            continue;
        }
        let others = folder.get_or_insert_with(|| parts_in(path.parent(), &split));
        let mut fitting = others.iter().filter(|p| p.check(&split, wanted).is_ok());
        match (fitting.next(), fitting.next()) {
            (Some(part), None) => parts.push(part.clone()),
            (Some(one), Some(other)) => {
                return fail(GgufFault::SplitTwice {
                    number: wanted + 1,
                    count: split.count,
                    one: one.file.path.clone(),
                    other: other.file.path.clone(),
                });
            }
            (None, _) => {
                // A file of that name that cannot be read, or is another part, says why itself.
                let there = names.iter().find(|name| name.exists());
                let broken = there.and_then(|name| Part::open(name).err());
                if let Some(error) = broken.or(misfit) {
                    return Err(error);
                }
                let number = wanted + 1;
                let count = split.count;
                return fail(match names.into_iter().next() {
                    Some(missing) => GgufFault::SplitMissing {
                        number,
                        count,
                        missing,
                    },
                    None => GgufFault::SplitNowhere { number, count },
                });
            }
        }
    }
    for (part, number) in parts.iter_mut().zip(0..) {
        part.tensors
            .iter_mut()
            .for_each(|tensor| tensor.file = number);
    }
    let others = parts.split_off(1);
    let first = parts.remove(0);
    Ok((first, others))
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
    let mut runs: Vec<_> = starts
        .map(|start| (start, (start..).find(|&at| !is_digit(at)).unwrap_or(start)))
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
