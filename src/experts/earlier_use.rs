//! What earlier sessions have learnt of a mixture's experts.

use super::mixture::Mixture;
use super::model_key::ModelKey;
use super::profile::Profile;
use super::profile_file::{self, ProfileError};
use super::routing::Header;
use crate::model::Gguf;
use crate::system::cache::cache_dir;
use std::path::PathBuf;

/// See the module's text.
#[derive(Debug)]
pub struct EarlierUse {
    pub header: Header,
    /// Where the profile is kept; none without a place for it.
    pub path: Option<PathBuf>,
    /// What it holds; none where it holds nothing yet, or nothing that can be used.
    pub profile: Option<Profile>,
    /// Why it cannot be used, to be said once.
    pub fault: Option<ProfileError>,
}

impl EarlierUse {
    /// Of the `mixture` in `index`, from the cache directory.
    pub fn find(mixture: &Mixture, index: &Gguf) -> Self {
        let key = ModelKey::of_mixture(index, &mixture.groups);
        let path = cache_dir().map(|dir| profile_file::path(&dir, key));
        Self::of(mixture.routing_header(key), path)
    }

    /// Of the mixture in `header`, from the profile at `path`.
    pub fn of(header: Header, path: Option<PathBuf>) -> Self {
        let empty = Profile::of(&header);
        let kept = path.as_deref().map(|path| profile_file::load(path, &empty));
        let (profile, fault) = match kept.transpose() {
            Ok(kept) => (kept.flatten(), None),
            Err(fault) => {
                tracing::warn!(%fault, "what experts were used is not known");
                (None, Some(fault))
            }
        };
        Self {
            header,
            path,
            profile,
            fault,
        }
    }
}
