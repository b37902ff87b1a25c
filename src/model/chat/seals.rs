//! Names of control tokens as one character each, while a function of a template works on a text
//! in which some are real and some could be made of typed text.

use super::marks::{ControlNames, FIRST_SEAL, SEALS};

/// Which names have a seal: the longest first.
#[derive(Default)]
pub(super) struct Seals {
    names: Vec<String>,
}

impl Seals {
    /// Gives each name in `text` a seal.
    pub(super) fn add(&mut self, names: &ControlNames, text: &str) {
        for (place, _) in names.find(text) {
            let name = &text[place];
            if self.names.len() < SEALS && !self.names.iter().any(|known| known == name) {
                self.names.push(name.to_owned());
            }
        }
        // A name may be within another.
        self.names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    }

    pub(super) fn seal(&self, text: &str) -> String {
        let seals = self.names.iter().zip(seals());
        seals.fold(text.to_owned(), |text, (name, seal)| {
            text.replace(name.as_str(), seal.encode_utf8(&mut [0; 4]))
        })
    }

    pub(super) fn open(&self, text: &str) -> String {
        let seals = self.names.iter().zip(seals());
        seals.fold(text.to_owned(), |text, (name, seal)| {
            text.replace(seal, name)
        })
    }
}

fn seals() -> impl Iterator<Item = char> {
    (FIRST_SEAL..).filter_map(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::TokenId;

    #[test]
    fn seals_are_names_again() {
        let names = ["<s>", "</s>", "<|im_end|>"].map(str::to_owned);
        let names = ControlNames::new(names.into_iter().zip((0..).map(TokenId)).collect());
        let text = "<s>a<|im_end|><s></s>";
        let mut seals = Seals::default();
        seals.add(&names, text);
        let sealed = seals.seal(text);
        assert!(!names.any_in(&sealed));
        assert_eq!(sealed.chars().count(), 5);
        assert_eq!(seals.open(&sealed), text);
    }
}
