//! Names of models cut into several files: `name-00001-of-00003.gguf`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes of what a part's name ends in.
const ENDING: usize = "-00001-of-00003.gguf".len();

/// A part's name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitName {
    /// Directory and name up to the part number.
    prefix: PathBuf,
    /// From 1.
    pub number: u32,
    pub count: u32,
}

impl SplitName {
    /// `None` where `path` is not named as a part.
    pub fn parse(path: &Path) -> Option<Self> {
        // The end of the name, which is ASCII; what is before it need not be UTF-8.
        let name = path.file_name()?.as_bytes();
        let (prefix, end) = name.split_at_checked(name.len().checked_sub(ENDING)?)?;
        let end = str::from_utf8(end).ok()?.strip_suffix(".gguf")?;
        let (number, count) = end.strip_prefix('-')?.split_once("-of-")?;
        let prefix = OsStr::from_bytes(prefix);
        let five_digits = |text: &str| {
            (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit()))
                .then(|| text.parse::<u32>().ok())?
        };
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        (1..=count).contains(&number).then(|| Self {
            prefix: path.with_file_name(prefix),
            number,
            count,
        })
    }

    /// The path of part `number`, from 1.
    pub fn part(&self, number: u32) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(format!("-{number:05}-of-{:05}.gguf", self.count));
        name.into()
    }

    /// The path that the model would have in one piece.
    pub fn undivided(&self) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(".gguf");
        name.into()
    }

    /// The first part of the model that `path` is a part of, where it is there; else `path`.
    pub fn first_part(path: &Path) -> PathBuf {
        let first = Self::parse(path).map(|name| name.part(1));
        let there = first.filter(|first| first.is_file());
        there.unwrap_or_else(|| path.to_owned())
    }

    /// The paths of all parts in order.
    pub fn parts(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (1..=self.count).map(|number| self.part(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_are_taken_apart_and_rebuilt() {
        let path = Path::new("/m/qwen-72b-00002-of-00010.gguf");
        let name = SplitName::parse(path).unwrap();
        assert_eq!((name.number, name.count), (2, 10));
        assert_eq!(name.part(2), path);
        assert_eq!(name.part(10), Path::new("/m/qwen-72b-00010-of-00010.gguf"));
        assert_eq!(name.parts().count(), 10);
        assert_eq!(
            SplitName::parse(Path::new("a-00001-of-00001.gguf"))
                .unwrap()
                .part(1),
            Path::new("a-00001-of-00001.gguf")
        );
        let strange = Path::new(OsStr::from_bytes(b"/m/\xff-00002-of-00003.gguf"));
        let name = SplitName::parse(strange).unwrap();
        assert_eq!(name.part(2), strange);
        for not in [
            "model.gguf",
            "m-1-of-2.gguf",
            "m-00000-of-00002.gguf",
            "m-00003-of-00002.gguf",
            "m-00001-of-00002.bin",
            "m-0000x-of-00002.gguf",
            "m-+0001-of-00002.gguf",
            "",
        ] {
            assert_eq!(SplitName::parse(Path::new(not)), None, "{not}");
        }
    }
}
