//! The hub over HTTP, as Hugging Face's speaks it:
//!
//! ```text
//!   GET /api/models/OWNER/REPO?blobs=true       names, sizes and LFS hashes of all files
//!   GET /OWNER/REPO/resolve/REVISION/FILE       redirects to where the bytes are
//!       Range: bytes=A-B                        206, or the range is not served
//! ```
//!
//! Every wait has a limit: a hub that cannot be reached is given up after seconds, wherever it
//! hangs (name lookup, connection, TLS, answer, transfer). Proxies are taken from the environment.

use std::fmt::Write as _;
use std::io::Read;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body, Timeout};

use super::{
    Hub, HubError, HubFile, Listing, ReadError, RemoteFile, Sink, Token, TokenSource, Transfer,
};

const PUBLIC: &str = "https://huggingface.co";

/// The most of a listing that is read: a repository of ten thousand files has 2 MB.
const LISTING_BYTES: u64 = 64 << 20;

/// Bytes taken from a connection at a time.
const CHUNK_BYTES: usize = 1 << 17;

/// How long a hub is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For an answer to begin, or a question to be answered.
    pub answer: Duration,
    /// For a transfer that pauses.
    pub stall: Duration,
    /// Nothing is waited for after this.
    pub deadline: Option<Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(8),
            stall: Duration::from_secs(30),
            deadline: None,
        }
    }
}

impl Patience {
    /// How much of `limit` is left, at least a moment.
    fn left(self, limit: Duration) -> Duration {
        let until = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let left = self.deadline.map_or(limit, |d| until(d).min(limit));
        left.max(Duration::from_millis(1))
    }
}

/// The public hub, or the one that `HF_ENDPOINT` names.
#[derive(Clone, Debug)]
pub struct HuggingFace {
    endpoint: String,
    token: Option<Token>,
    patience: Patience,
    transfer: Transfer,
    agent: Agent,
}

impl HuggingFace {
    /// As the environment says, with the user's token.
    pub fn from_env() -> Self {
        let named = std::env::var("HF_ENDPOINT").ok();
        let endpoint = named.filter(|url| !url.is_empty());
        Self {
            token: Token::of_user(),
            ..Self::at(endpoint.unwrap_or_else(|| PUBLIC.to_owned()))
        }
    }

    /// A hub at an address, without a token.
    pub fn at(endpoint: impl Into<String>) -> Self {
        // Statuses are judged here; the token goes to no host that the hub redirects to.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("nmos/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            endpoint: endpoint.into().trim_end_matches('/').to_owned(),
            token: None,
            patience: Patience::default(),
            transfer: Transfer::default(),
            agent: config.into(),
        }
    }

    #[must_use]
    pub fn with_token(mut self, token: Option<Token>) -> Self {
        self.token = token;
        self
    }

    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    #[must_use]
    pub fn with_transfer(mut self, transfer: Transfer) -> Self {
        self.transfer = transfer;
        self
    }

    fn source(&self) -> Option<TokenSource> {
        self.token.as_ref().map(|token| token.source.clone())
    }

    fn get(&self, url: &str, range: Option<&Range<u64>>) -> Result<Response<Body>, HubError> {
        let patience = self.patience;
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", token.bearer());
        }
        let config = request.config();
        let config = match range {
            // A whole question has its limit; of a transfer, what comes before its first byte.
            None => config.timeout_global(Some(patience.left(patience.answer))),
            Some(_) => config
                .timeout_global(patience.deadline.map(|_| patience.left(Duration::MAX)))
                .timeout_resolve(Some(patience.left(patience.answer)))
                .timeout_connect(Some(patience.left(patience.answer)))
                .timeout_recv_response(Some(patience.left(patience.answer)))
                .timeout_per_read(Some(patience.left(patience.stall))),
        };
        let mut request = config.build();
        if let Some(range) = range {
            request = request
                .header("Range", format!("bytes={}-{}", range.start, range.end - 1))
                .header("Accept-Encoding", "identity");
        }
        request.call().map_err(|error| self.unanswered(&error))
    }

    fn unanswered(&self, error: &ureq::Error) -> HubError {
        let endpoint = self.endpoint.clone();
        match error {
            ureq::Error::Timeout(_) => HubError::NoAnswer {
                endpoint,
                within: self.patience.answer,
            },
            ureq::Error::HostNotFound => HubError::Unreachable {
                endpoint,
                why: "its name is not known here".to_owned(),
            },
            ureq::Error::Io(error) => HubError::Unreachable {
                endpoint,
                why: error.to_string(),
            },
            other => HubError::Unreachable {
                endpoint,
                why: other.to_string(),
            },
        }
    }

    /// What a status other than success means. The hub says more in headers of its own.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, file: &Asked<'_>) -> HubError {
        let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let endpoint = self.endpoint.clone();
        let repository = file.repository.to_owned();
        let message = told("x-error-message").unwrap_or_default();
        match (status.as_u16(), told("x-error-code").unwrap_or_default()) {
            (401 | 403, "GatedRepo") => HubError::Gated {
                page: format!("{endpoint}/{repository}"),
                repository,
                token: self.source(),
            },
            (404, "EntryNotFound") if file.name.is_some() => self.no_file(file),
            (401, code) if code != "RepoNotFound" && self.token.is_some() => match self.source() {
                Some(token) => HubError::BadToken { endpoint, token },
                None => self.no_repository(file),
            },
            // A hub does not tell those who may not see a repository that it is there.
            (401, _) | (404, "RepoNotFound") => self.no_repository(file),
            (404, _) if file.name.is_some() => self.no_file(file),
            (404, _) => self.no_repository(file),
            (status @ (429 | 500..=599), _) => HubError::Busy { endpoint, status },
            (status, _) => HubError::Refused {
                endpoint,
                status,
                message: message.chars().filter(|c| !c.is_control()).collect(),
            },
        }
    }

    fn no_repository(&self, asked: &Asked<'_>) -> HubError {
        HubError::NoRepository {
            repository: asked.repository.to_owned(),
            token: self.source(),
        }
    }

    fn no_file(&self, asked: &Asked<'_>) -> HubError {
        HubError::NoFile {
            repository: asked.repository.to_owned(),
            file: asked.name.unwrap_or_default().to_owned(),
        }
    }

    fn not_understood(&self, what: impl ToString) -> HubError {
        HubError::NotUnderstood {
            endpoint: self.endpoint.clone(),
            what: what.to_string(),
        }
    }
}

/// What a refusal is about.
struct Asked<'a> {
    repository: &'a str,
    name: Option<&'a str>,
}

#[derive(Deserialize)]
struct Info {
    /// The newest commit.
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl From<Sibling> for HubFile {
    fn from(file: Sibling) -> Self {
        let lfs = file.lfs.as_ref();
        let is_sha256 =
            |tag: &String| tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit());
        let tag = lfs.and_then(|lfs| Some(lfs.sha256.as_ref()?.to_lowercase()));
        Self {
            size: lfs.and_then(|lfs| lfs.size).or(file.size),
            sha256: tag.filter(is_sha256),
            name: file.rfilename,
        }
    }
}

impl Hub for HuggingFace {
    fn list(&self, repository: &str) -> Result<Listing, HubError> {
        let url = format!("{}/api/models/{repository}?blobs=true", self.endpoint);
        let mut answer = self.get(&url, None)?;
        if !answer.status().is_success() {
            let asked = Asked {
                repository,
                name: None,
            };
            return Err(self.refusal(answer.status(), answer.headers(), &asked));
        }
        let body = answer.body_mut().with_config().limit(LISTING_BYTES);
        let body = body
            .read_to_vec()
            .map_err(|error| self.unanswered(&error))?;
        let info: Info = serde_json::from_slice(&body).map_err(|e| self.not_understood(e))?;
        let is_name = |sha: &String| sha.bytes().all(|b| b.is_ascii_alphanumeric());
        let revision = info.sha.filter(|sha| !sha.is_empty() && is_name(sha));
        Ok(Listing {
            revision: revision.unwrap_or_else(|| "main".to_owned()),
            files: info.siblings.into_iter().map(HubFile::from).collect(),
        })
    }

    fn read(
        &self,
        file: RemoteFile<'_>,
        range: Range<u64>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ReadError> {
        let RemoteFile {
            repository,
            revision,
            name,
        } = file;
        let endpoint = &self.endpoint;
        let path = encoded(name);
        let url = format!("{endpoint}/{repository}/resolve/{revision}/{path}");
        let answer = self.get(&url, Some(&range))?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let told = answer.headers().get("content-range");
                let told = told.and_then(|value| value.to_str().ok()).unwrap_or("");
                let wanted = format!("bytes {}-{}/", range.start, range.end - 1);
                if !told.starts_with(&wanted) {
                    return Err(self.not_understood(format!("the range '{told}'")).into());
                }
            }
            StatusCode::OK => {
                let endpoint = endpoint.clone();
                return Err(HubError::NoRanges { endpoint }.into());
            }
            status => {
                let asked = Asked {
                    repository,
                    name: Some(name),
                };
                return Err(self.refusal(status, answer.headers(), &asked).into());
            }
        }
        let broke_off = |why: String| HubError::BrokeOff {
            file: name.to_owned(),
            why,
        };
        let mut body = answer.into_body().into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = range.end - range.start;
        while left > 0 {
            let most = left.min(CHUNK_BYTES as u64) as usize;
            match body.read(&mut chunk[..most]) {
                Ok(0) => return Err(broke_off(format!("{left} bytes too early")).into()),
                Ok(n) => {
                    sink(&chunk[..n]).map_err(ReadError::Sink)?;
                    left -= n as u64;
                }
                Err(error) => {
                    let inner = error.get_ref().and_then(|e| e.downcast_ref());
                    let why = match inner {
                        Some(ureq::Error::Timeout(Timeout::PerRead)) => {
                            format!("nothing came for {} s", self.patience.stall.as_secs())
                        }
                        _ => error.to_string(),
                    };
                    return Err(broke_off(why).into());
                }
            }
        }
        Ok(())
    }

    fn transfer(&self) -> Transfer {
        self.transfer
    }
}

/// A file's name for an address; its folders stay folders.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(b.into());
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, token: bool, name: Option<&str>) -> String {
        let token = token
            .then(|| Token::new("hf_x", TokenSource::Environment))
            .flatten();
        let hub = HuggingFace::at("http://hub/").with_token(token);
        let mut headers = HeaderMap::new();
        headers.insert("x-error-code", code.parse().unwrap());
        headers.insert("x-error-message", "No.".parse().unwrap());
        let asked = Asked {
            repository: "o/r",
            name,
        };
        let status = StatusCode::from_u16(status).unwrap();
        hub.refusal(status, &headers, &asked).to_string()
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_eq!(
            refused(401, "GatedRepo", false, Some("m.gguf")),
            "o/r is gated: accept its conditions at http://hub/o/r, then log in with `hf auth \
             login` or set HF_TOKEN"
        );
        assert_eq!(
            refused(403, "GatedRepo", true, None),
            "o/r is gated: accept its conditions at http://hub/o/r, with the account of the token \
             from HF_TOKEN"
        );
        let unseen = refused(401, "RepoNotFound", false, None);
        assert!(
            unseen.contains("no repository o/r, or it is private"),
            "{unseen}"
        );
        assert_eq!(refused(401, "", false, None), unseen);
        let token = refused(404, "RepoNotFound", true, None);
        assert!(
            token.contains("the token from HF_TOKEN may not see it"),
            "{token}"
        );
        let expired = refused(401, "", true, None);
        assert!(
            expired.contains("refuses the token from HF_TOKEN"),
            "{expired}"
        );
        let file = refused(404, "EntryNotFound", false, Some("m.gguf"));
        assert_eq!(file, "o/r has no file m.gguf");
        assert!(refused(503, "", false, None).contains("busy (status 503)"));
        assert_eq!(
            refused(403, "RepoDisabled", false, None),
            "http://hub refused (status 403: No.)"
        );
    }

    #[test]
    fn names_are_made_fit_for_addresses() {
        assert_eq!(encoded("Q4_K_M/a-b.gguf"), "Q4_K_M/a-b.gguf");
        assert_eq!(encoded("a b#?%é.gguf"), "a%20b%23%3F%25%C3%A9.gguf");
    }
}
