//! Models of a hub's repositories by name: `OWNER/REPO[:QUANT]`.
//!
//! The same name pulls a model, is given to `--oracle` afterwards, and is what lists call it.
//!
//! ```text
//!   name --pick--> the files of one model, of a repository's or of those in the cache
//!     cached       what is in the cache of any repository
//! ```

mod cached;
pub mod pick;

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// What may stand before the name where a page's address was pasted.
const ADDRESSES: [&str; 3] = ["https://huggingface.co/", "huggingface.co/", "hf.co/"];

/// A repository, and which of its models.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HubName {
    owner: String,
    repository: String,
    /// A quantisation such as `Q4_K_M`, or a file's name; `None` leaves the choice to
    /// [`pick::pick`].
    pub pick: Option<String>,
}

/// What cannot be a hub's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not OWNER/REPO or OWNER/REPO:QUANT")]
pub struct NotAHubName;

impl HubName {
    /// `OWNER/REPO`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.repository)
    }

    /// Whether both mean the same repository. Hubs do not tell cases apart.
    pub fn is_same_repository(&self, other: &Self) -> bool {
        self.owner.eq_ignore_ascii_case(&other.owner)
            && self.repository.eq_ignore_ascii_case(&other.repository)
    }

    /// The same repository with another choice.
    #[must_use]
    pub fn with_pick(&self, pick: &str) -> Self {
        Self {
            pick: Some(pick.to_owned()),
            ..self.clone()
        }
    }
}

impl FromStr for HubName {
    type Err = NotAHubName;

    fn from_str(text: &str) -> Result<Self, NotAHubName> {
        let text = ADDRESSES
            .iter()
            .find_map(|address| text.strip_prefix(address))
            .unwrap_or(text);
        let (path, pick) = match text.split_once(':') {
            Some((path, pick)) => (path, Some(pick)),
            None => (text, None),
        };
        let (owner, repository) = path.split_once('/').ok_or(NotAHubName)?;
        let is_part = |part: &str| {
            // Neither `..` nor anything else that means more than itself in a path.
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let is_pick = |pick: &str| pick.split('/').all(is_part);
        let is_file = repository.to_ascii_lowercase().ends_with(".gguf");
        let sound = is_part(owner) && is_part(repository) && pick.is_none_or(is_pick);
        if !sound || is_file {
            return Err(NotAHubName);
        }
        Ok(Self {
            owner: owner.to_owned(),
            repository: repository.to_owned(),
            pick: pick.map(str::to_owned),
        })
    }
}

impl TryFrom<String> for HubName {
    type Error = NotAHubName;

    fn try_from(text: String) -> Result<Self, NotAHubName> {
        text.parse()
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.repository)?;
        match &self.pick {
            Some(pick) => write!(f, ":{pick}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["Qwen/Qwen3-8B-GGUF", "a/b:Q4_K_M", "a_b/c.d-e:UD-Q4_K_XL"] {
            assert_eq!(text.parse::<HubName>().unwrap().to_string(), text);
        }
        let pasted: HubName = "https://huggingface.co/Qwen/Qwen3-8B-GGUF".parse().unwrap();
        assert_eq!(pasted.to_string(), "Qwen/Qwen3-8B-GGUF");
        let in_folder: HubName = "a/b:Q4/model.gguf".parse().unwrap();
        assert_eq!(in_folder.pick.as_deref(), Some("Q4/model.gguf"));
    }

    #[test]
    fn paths_are_no_names() {
        for text in [
            "",
            "name",
            "a/",
            "/b",
            "./b",
            "../b",
            "a/..",
            "a/b/c",
            "a/b.gguf",
            "~/b",
            "a/b:",
            "a/b:../../c",
            "a b/c",
            "/a/b",
            "a/b:x:y",
            "a//b",
            "a/b?x",
        ] {
            assert_eq!(text.parse::<HubName>(), Err(NotAHubName), "{text}");
        }
    }
}
