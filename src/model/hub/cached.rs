//! What the cache holds of hubs' repositories.
//!
//! ```text
//!   models/hub/OWNER/REPO/<path in the repository>            in place
//!   models/.staging/hub/OWNER/REPO/<path>.gguf/               what an interrupted pull left
//! ```
//!
//! There is no list of them: the folders say what is there, and names are read as the repository's
//! are ([`super::pick`]).

use std::fs;
use std::path::Path;

use super::HubName;
use super::pick::{self, Model};
use crate::model::catalog::{Entry, Role, Source};
use crate::model::store::{Store, StoreError, contents};

/// The folder of the cache that holds repositories.
const FOLDER: &str = "hub";

impl Entry {
    /// A model of a repository: `model`, one of `all` that are there.
    pub fn of_hub(name: &HubName, model: &Model, all: &[Model]) -> Self {
        let repository = name.repository();
        let name = name.with_pick(model.label(all)).to_string();
        Self {
            title: name.clone(),
            name,
            role: Role::Oracle,
            default: false,
            file: format!("{FOLDER}/{repository}/{}", model.file),
            size: None,
            sha256: None,
            facts: None,
            sources: vec![Source::Hub {
                repository,
                file: model.file.clone(),
            }],
        }
    }
}

impl Store {
    /// Every model of a hub's repository that is here, whole or in part, by name.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn hub_models(&self) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        for name in self.hub_repositories()? {
            let all = self.hub_models_of(&name)?;
            found.extend(all.iter().map(|model| Entry::of_hub(&name, model, &all)));
        }
        Ok(found)
    }

    /// Of these, the ones that `name` means: several where it leaves the choice.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn hub_models_named(&self, name: &HubName) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        for repository in self.hub_repositories()? {
            if !repository.is_same_repository(name) {
                continue;
            }
            let all = self.hub_models_of(&repository)?;
            let meant: Vec<_> = match &name.pick {
                Some(asked) => pick::matching(&all, asked),
                None => all.iter().collect(),
            };
            found.extend(
                meant
                    .into_iter()
                    .map(|m| Entry::of_hub(&repository, m, &all)),
            );
        }
        Ok(found)
    }

    /// The repositories of which there is anything.
    fn hub_repositories(&self) -> Result<Vec<HubName>, StoreError> {
        let mut names = Vec::new();
        for root in self.hub_roots() {
            for owner in contents(&root)? {
                for repository in contents(&root.join(&owner))? {
                    names.extend(format!("{owner}/{repository}").parse::<HubName>());
                }
            }
        }
        names.sort_by_key(HubName::to_string);
        names.dedup();
        Ok(names)
    }

    /// Where repositories are in place, and where what is unfinished of them is.
    fn hub_roots(&self) -> [std::path::PathBuf; 2] {
        [self.path(FOLDER), self.staging_root().join(FOLDER)]
    }

    fn hub_models_of(&self, name: &HubName) -> Result<Vec<Model>, StoreError> {
        let [placed, staged] = self.hub_roots().map(|root| root.join(name.repository()));
        let mut files = Vec::new();
        walk(&placed, "", &mut files)?;
        let mut all = pick::models(&files);
        let mut unfinished = Vec::new();
        walk_folders(&staged, "", &mut unfinished)?;
        // As if they were whole: what they are called is all that matters.
        let unfinished: Vec<_> = unfinished.into_iter().map(|file| (file, None)).collect();
        for model in pick::models(&unfinished) {
            if !all.iter().any(|there| there.file == model.file) {
                all.push(model);
            }
        }
        Ok(all)
    }
}

/// The files below `dir`, with their bytes, by their path from where it began.
fn walk(
    dir: &Path,
    prefix: &str,
    found: &mut Vec<(String, Option<u64>)>,
) -> Result<(), StoreError> {
    for name in contents(dir)? {
        let (path, full) = (dir.join(&name), format!("{prefix}{name}"));
        // Links are not followed: a folder must not hold itself.
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => walk(&path, &format!("{full}/"), found)?,
            Ok(meta) => found.push((full, Some(meta.len()))),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The folders below `dir` that are named as models.
fn walk_folders(dir: &Path, prefix: &str, found: &mut Vec<String>) -> Result<(), StoreError> {
    for name in contents(dir)? {
        let (path, full) = (dir.join(&name), format!("{prefix}{name}"));
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        if full.ends_with(".gguf") {
            found.push(full);
        } else {
            walk_folders(&path, &format!("{full}/"), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::store::State;

    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"weights").unwrap();
    }

    #[test]
    fn models_are_found_by_name_whole_in_parts_and_unfinished() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        assert!(store.hub_models().unwrap().is_empty());
        for file in [
            "hub/Own/Repo-GGUF/m-Q4_K_M.gguf",
            "hub/Own/Repo-GGUF/Q8_0/m-Q8_0-00001-of-00002.gguf",
            "hub/Own/Repo-GGUF/Q8_0/m-Q8_0-00002-of-00002.gguf",
            "hub/Own/Repo-GGUF/m-Q6_K-00001-of-00002.gguf",
            "hub/Other/x/m-Q4_K_M.gguf",
            ".staging/hub/Own/Repo-GGUF/m-Q2_K.gguf/m-Q2_K.gguf.partial",
        ] {
            put(&dir.path().join(file));
        }
        let named = |text: &str| {
            let found = store.hub_models_named(&text.parse().unwrap()).unwrap();
            found.into_iter().map(|e| e.name).collect::<Vec<_>>()
        };
        assert_eq!(named("own/repo-gguf:q4_k_m"), ["Own/Repo-GGUF:Q4_K_M"]);
        assert_eq!(named("Own/Repo-GGUF:m-Q8_0"), ["Own/Repo-GGUF:Q8_0"]);
        assert_eq!(named("Own/Repo-GGUF").len(), 3);
        assert_eq!(named("Other/x"), ["Other/x:Q4_K_M"]);
        assert!(named("Own/Repo-GGUF:Q6_K").is_empty());
        assert!(named("nobody/x").is_empty());
        let state = |text: &str| {
            let found = store.hub_models_named(&text.parse().unwrap()).unwrap();
            store.state(&found[0]).unwrap()
        };
        assert_eq!(state("Own/Repo-GGUF:Q4_K_M"), (State::Present, 7));
        assert_eq!(state("Own/Repo-GGUF:Q8_0"), (State::Present, 14));
        assert_eq!(state("Own/Repo-GGUF:Q2_K").0, State::Partial);
        let whole = &store
            .hub_models_named(&"Own/Repo-GGUF:Q8_0".parse().unwrap())
            .unwrap()[0];
        store.remove(whole).unwrap();
        assert!(named("Own/Repo-GGUF:Q8_0").is_empty());
        assert_eq!(named("Own/Repo-GGUF").len(), 2);
        let other = &store.hub_models_named(&"Other/x".parse().unwrap()).unwrap()[0];
        store.remove(other).unwrap();
        assert!(!dir.path().join("hub/Other").exists());
        assert!(dir.path().join("hub/Own").exists());
    }

    #[test]
    fn files_of_one_name_from_two_repositories_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        for owner in ["a", "b"] {
            put(&dir.path().join(format!("hub/{owner}/r/m-Q4_K_M.gguf")));
        }
        let entries = store.hub_models().unwrap();
        let check = crate::model::store::Check {
            sha256: "abc".into(),
            right: true,
        };
        store.record(&store.path(&entries[0].file), check).unwrap();
        let states: Vec<_> = entries.iter().map(|e| store.state(e).unwrap().0).collect();
        assert_eq!(states, [State::Verified, State::Present]);
    }
}
