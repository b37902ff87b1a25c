//! Names of models cut into several files: `name-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

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
        let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
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
