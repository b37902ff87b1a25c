//! Every dependency's licence is one that `configs/licences.toml` allows.
//!
//! Licences are SPDX expressions as `cargo metadata` gives them:
//!
//! ```text
//!  either  = both ("OR" | "/") both ...
//!  both    = one "AND" one ...
//!  one     = "(" either ")" | name | name "WITH" name
//! ```

use serde::Deserialize;
use std::collections::BTreeSet;
use std::process::Command;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    allow: BTreeSet<String>,
    #[serde(default)]
    exception: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    name: String,
    licence: String,
    reason: String,
}

impl Rules {
    fn read() -> Self {
        toml::from_str(include_str!("../../configs/licences.toml")).unwrap()
    }

    /// Whether a crate with this expression may be used; an error where it cannot be read.
    fn allows(&self, name: &str, expression: &str) -> Result<bool, String> {
        let excepted = |licence: &str| {
            let mut exceptions = self.exception.iter();
            exceptions.any(|e| e.name == name && e.licence == licence)
        };
        let allowed = |licence: &str| self.allow.contains(licence) || excepted(licence);
        let spaced = expression
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace('/', " OR ");
        let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
        let holds = either(&mut words, &allowed)?;
        match words.pop() {
            None => Ok(holds),
            Some(word) => Err(format!("'{word}' is not expected in '{expression}'")),
        }
    }
}

/// Words still to read are a stack, the next one last.
type Words<'a> = Vec<&'a str>;

fn either(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let mut holds = both(words, allowed)?;
    while words.last() == Some(&"OR") {
        words.pop();
        holds |= both(words, allowed)?;
    }
    Ok(holds)
}

fn both(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let mut holds = one(words, allowed)?;
    while words.last() == Some(&"AND") {
        words.pop();
        holds &= one(words, allowed)?;
    }
    Ok(holds)
}

fn one(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    match words.pop() {
        Some("(") => {
            let holds = either(words, allowed)?;
            match words.pop() {
                Some(")") => Ok(holds),
                _ => Err("a ')' is missing".into()),
            }
        }
        None | Some(")" | "OR" | "AND" | "WITH") => Err("a licence's name is missing".into()),
        Some(name) if words.last() == Some(&"WITH") => {
            words.pop();
            let exception = words.pop().ok_or("the name after WITH is missing")?;
            Ok(allowed(&format!("{name} WITH {exception}")))
        }
        Some(name) => Ok(allowed(name)),
    }
}

/// Name, version and licence of every package but our own.
fn dependencies() -> Vec<(String, String, Option<String>)> {
    // All it needs is there after `cargo fetch`, so that this works without a network.
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata failed; `cargo fetch` gets what it needs:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    packages
        .iter()
        // A package without a source is part of this repository.
        .filter(|p| !p["source"].is_null())
        .map(|p| {
            let (name, version) = (text(&p["name"]), text(&p["version"]));
            (name.unwrap(), version.unwrap(), text(&p["license"]))
        })
        .collect()
}

#[test]
fn every_dependency_may_be_used() {
    let rules = Rules::read();
    let dependencies = dependencies();
    assert!(
        dependencies.len() > 100,
        "only {} found",
        dependencies.len()
    );
    let mut refused = Vec::new();
    for (name, version, licence) in &dependencies {
        match licence.as_deref().map(|text| rules.allows(name, text)) {
            Some(Ok(true)) => {}
            Some(Ok(false)) => refused.push(format!("{name} {version}: {licence:?}")),
            Some(Err(error)) => refused.push(format!("{name} {version}: {error}")),
            None => refused.push(format!("{name} {version}: names no licence")),
        }
    }
    assert!(
        refused.is_empty(),
        "not allowed by configs/licences.toml:\n  {}",
        refused.join("\n  ")
    );
    for exception in &rules.exception {
        assert!(
            dependencies
                .iter()
                .any(|(name, ..)| *name == exception.name),
            "{} is no dependency any more: its exception ({}) can go",
            exception.name,
            exception.reason
        );
    }
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let rules = Rules {
        allow: ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]
            .map(str::to_owned)
            .into(),
        exception: vec![Exception {
            name: "odd".into(),
            licence: "MPL-2.0".into(),
            reason: String::new(),
        }],
    };
    for (expression, allowed) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND ISC", true),
        // AND binds tighter than OR.
        ("MIT OR GPL-3.0 AND ISC", true),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("Apache-2.0 WITH Other", false),
        ("MPL-2.0", false),
    ] {
        assert_eq!(rules.allows("any", expression), Ok(allowed), "{expression}");
    }
    assert_eq!(rules.allows("odd", "MPL-2.0"), Ok(true));
    for broken in [
        "", "MIT OR", "(MIT", "MIT)", "MIT ISC", "OR MIT", "MIT WITH",
    ] {
        assert!(rules.allows("any", broken).is_err(), "{broken}");
    }
}
