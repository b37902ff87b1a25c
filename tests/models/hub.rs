//! Pulling models from a hub on this machine, through the real client.

use std::fs;
use std::time::Duration;

use crate::local_hub::LocalHub;
use crate::pull_fixture::*;
use nmos::model::catalog::SourceKind;
use nmos::model::pull::Pulled;
use nmos::model::pull::hub::{HuggingFace, Patience};
use nmos::model::store::State;

#[test]
fn an_unreachable_hub_is_named() {
    let cache = Cache::new();
    // Port 1 of this machine: refused at once.
    let refused = HuggingFace::at("http://127.0.0.1:1");
    let text = all_failed(cache.pull_from_hub(&hub_entry(), &refused).unwrap_err());
    assert!(text.contains("Hugging Face"), "{text}");

    // One that accepts and says nothing: given up after the limit.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let hub = HuggingFace::at(url).with_patience(Patience {
        answer: Duration::from_millis(50),
        ..Patience::default()
    });
    let text = all_failed(cache.pull_from_hub(&hub_entry(), &hub).unwrap_err());
    assert!(text.contains("no answer within"), "{text}");
}

#[test]
fn a_file_named_token_is_nobodys_token() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "secret").unwrap();
    let hub = LocalHub::serve(&[]);
    // A process of its own, since the working directory is the whole process's.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nmos"))
        .args(["models", "pull", "--source", "hub", "smollm2-135m"])
        .current_dir(home.path())
        .env("HOME", home.path())
        .env_remove("HF_TOKEN")
        .env_remove("HF_TOKEN_PATH")
        .env_remove("HF_HOME")
        .env_remove("XDG_CACHE_HOME")
        .env("NMOS_CACHE", home.path().join("cache"))
        .env("HF_ENDPOINT", hub.url())
        .output()
        .unwrap();
    assert!(!output.status.success(), "this hub has no such model");
    let heads = hub.heads();
    let asked = heads.iter().any(|line| line.starts_with("get /api/models"));
    assert!(asked, "{heads:?}");
    let told = |line: &String| line.starts_with("authorization") || line.contains("secret");
    assert!(!heads.iter().any(told), "{heads:?}");
}

#[test]
fn a_transfer_sends_no_token_either() {
    let bytes = content(3000);
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, &sha256(&bytes))]);
    let cache = Cache::new();
    // Next to the client's own cache, where it would look.
    let staging = cache.store.staging(&hub_entry());
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("token"), "secret").unwrap();
    cache.pull_from_hub(&hub_entry(), &hub.client()).unwrap();
    assert_eq!(hub.transfer_starts().len(), 1);
    let heads = hub.heads();
    let told = heads.iter().any(|line| line.starts_with("authorization"));
    assert!(!told, "{heads:?}");
}

#[test]
fn a_hub_file_is_fetched_and_checked_against_its_declared_hash() {
    let bytes = content(300_000);
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, &sha256(&bytes))]);
    for entry in [hub_entry(), entry(&bytes)] {
        let cache = Cache::new();
        let pulled = cache.pull_from_hub(&entry, &hub.client()).unwrap();
        assert_eq!(pulled, Pulled::Fetched(SourceKind::Hub));
        assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
        assert_eq!(cache.store.state(&entry).unwrap().0, State::Verified);
        assert!(!cache.store.staging(&entry).exists());
        let again = cache.pull_from_hub(&entry, &hub.client()).unwrap();
        assert_eq!(again, Pulled::AlreadyThere);
    }
}

#[test]
fn a_hub_file_that_is_not_what_was_declared_is_refused() {
    let bytes = content(5000);
    let declared = sha256(b"something else");
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, &declared)]);
    let cache = Cache::new();
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(
        text.contains(&declared) && text.contains(&sha256(&bytes)),
        "{text}"
    );
    // Another version than the pinned one is refused before it is fetched.
    let text = all_failed(
        cache
            .pull_from_hub(&entry(&bytes), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("another version"), "{text}");
    assert!(cache.in_place().is_empty());
    // No hash at all: nothing to trust it by.
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, "5d41402abc")]);
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("no SHA-256"), "{text}");
    let hub = LocalHub::serve(&[("Other.gguf", &bytes, &declared)]);
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("Tiny.gguf"), "{text}");
}

#[test]
fn an_interrupted_hub_transfer_is_resumed() {
    let bytes = content(300_000);
    let sha = sha256(&bytes);
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, &sha)]);
    let cache = Cache::new();
    hub.cut_next_transfer_at(100_000);
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("Hugging Face"), "{text}");
    assert!(cache.in_place().is_empty());
    assert_eq!(cache.store.state(&hub_entry()).unwrap().0, State::Partial);
    cache.pull_from_hub(&hub_entry(), &hub.client()).unwrap();
    assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
    let starts = hub.transfer_starts();
    assert_eq!(starts.len(), 2);
    assert!(starts[0] == 0 && starts[1] > 0, "{starts:?}");
}

#[test]
fn a_split_model_comes_in_parts() {
    let (one, two) = (content(4000), content(2500));
    let hub = LocalHub::serve(&[
        ("README.md", b"x", "abc"),
        ("Tiny-00001-of-00002.gguf", &one, &sha256(&one)),
        ("Tiny-00002-of-00002.gguf", &two, &sha256(&two)),
    ]);
    let mut entry = hub_entry();
    entry.file = "Tiny.gguf".into();
    let cache = Cache::new();
    cache.pull_from_hub(&entry, &hub.client()).unwrap();
    let parts = ["Tiny-00001-of-00002.gguf", "Tiny-00002-of-00002.gguf"];
    assert_eq!(cache.in_place(), parts);
    assert_eq!(cache.store.state(&entry).unwrap(), (State::Verified, 6500));
    assert_eq!(
        cache.pull_from_hub(&entry, &hub.client()).unwrap(),
        Pulled::AlreadyThere
    );
    // One lost part is fetched alone.
    fs::remove_file(cache.store.path(parts[0])).unwrap();
    let before = hub.transfer_starts().len();
    cache.pull_from_hub(&entry, &hub.client()).unwrap();
    assert_eq!(hub.transfer_starts().len(), before + 1);
    assert_eq!(fs::read(cache.store.path(parts[0])).unwrap(), one);
}
