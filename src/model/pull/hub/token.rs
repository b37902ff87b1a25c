//! The user's own token for the hub, from where Hugging Face's tools keep it.
//!
//! ```text
//!   HF_TOKEN                              the token itself
//!   HF_TOKEN_PATH                         the file that holds it
//!   HF_HOME/token                         where that file is otherwise
//!   XDG_CACHE_HOME/huggingface/token, ~/.cache/huggingface/token
//! ```
//!
//! (Environment variables as in `huggingface_hub`'s documentation.) It is sent to the hub's own
//! address and to no host that the hub redirects to.

use std::fmt;
use std::path::PathBuf;

/// A token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    secret: String,
    pub source: TokenSource,
}

/// Where a token was found, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    Environment,
    File(PathBuf),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("HF_TOKEN"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.source)
    }
}

impl Token {
    /// `None` for what cannot be one: no header may hold it.
    pub fn new(text: &str, source: TokenSource) -> Option<Self> {
        let secret = text.trim();
        let sound = !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic());
        sound.then(|| Self {
            secret: secret.to_owned(),
            source,
        })
    }

    /// The user's, if there is one.
    pub fn of_user() -> Option<Self> {
        Self::find(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// [`Token::of_user`] with another environment.
    fn find(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if let Some(text) = variable("HF_TOKEN") {
            return Self::new(&text, TokenSource::Environment);
        }
        let home = || Some(PathBuf::from(variable("HOME")?).join(".cache"));
        let cache = || variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let hub_home = || {
            let named = variable("HF_HOME").map(PathBuf::from);
            named.or_else(|| Some(cache()?.join("huggingface")))
        };
        let named = variable("HF_TOKEN_PATH").map(PathBuf::from);
        let path = named.or_else(|| Some(hub_home()?.join("token")))?;
        let text = std::fs::read_to_string(&path).ok()?;
        Self::new(&text, TokenSource::File(path))
    }

    /// The value of the header that carries it.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_where_the_hubs_own_tools_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let named = at("elsewhere", "hf_named\n");
        at("hub/token", "hf_hub_home");
        at("home/.cache/huggingface/token", "hf_home");
        let find = |variables: &[(&str, &str)]| {
            let found = Token::find(|name| {
                let value = variables.iter().find(|(n, _)| *n == name);
                value.map(|(_, value)| (*value).to_owned())
            });
            found.map(|token| token.bearer())
        };
        let inside = |path: &str| dir.path().join(path).to_str().unwrap().to_owned();
        let (home, hub) = (inside("home"), inside("hub"));
        let token = |secret: &str| Some(format!("Bearer {secret}"));
        let all = [
            ("HF_TOKEN", "hf_direct"),
            ("HF_TOKEN_PATH", &*named),
            ("HF_HOME", &*hub),
            ("HOME", &*home),
        ];
        assert_eq!(find(&all), token("hf_direct"));
        assert_eq!(find(&all[1..]), token("hf_named"));
        assert_eq!(find(&all[2..]), token("hf_hub_home"));
        assert_eq!(find(&all[3..]), token("hf_home"));
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[("HF_TOKEN", "two\nlines")]), None);
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::new(" hf_secret\n", TokenSource::Environment).unwrap();
        assert_eq!(format!("{token:?}"), "Token(from HF_TOKEN)");
        assert_eq!(token.bearer(), "Bearer hf_secret");
    }
}
