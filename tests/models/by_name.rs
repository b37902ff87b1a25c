//! Models of a hub's repositories by name: chosen, fetched over several connections, resumed,
//! refused in clear words, and known afterwards.

use std::fs;
use std::time::Duration;

use crate::local_hub::LocalHub;
use crate::pull_fixture::*;
use nmos::model::catalog::{Entry, SourceKind};
use nmos::model::hub::HubName;
use nmos::model::locate::resolve_in;
use nmos::model::pull::hub::{HuggingFace, Patience, Token, TokenSource, Transfer};
use nmos::model::pull::{PullError, Pulled, Puller};
use nmos::model::store::State;

fn pull(cache: &Cache, hub: &HuggingFace, name: &str) -> Result<(Entry, Pulled), PullError> {
    let name: HubName = name.parse().unwrap();
    Puller::new(&cache.store, hub, &NoPackages, &cache.notes).pull_from_hub(&name)
}

fn refused(cache: &Cache, hub: &HuggingFace, name: &str) -> String {
    let text = all_failed(pull(cache, hub, name).unwrap_err());
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// Several connections with small ranges, and a second try at once.
fn eager() -> Transfer {
    Transfer {
        connections: 4,
        range_bytes: (10_000, 40_000),
        checkpoint_bytes: 5_000,
        tries: 2,
        pause: Duration::ZERO,
    }
}

#[test]
fn a_model_is_pulled_by_quantisation_and_known_by_that_name() {
    let (four, eight) = (content(500_001), content(900));
    let hub = LocalHub::serve(&[
        ("README.md", b"x", "abc"),
        ("mmproj-F16.gguf", b"projector", &sha256(b"projector")),
        ("Tiny-Q4_K_M.gguf", &four, &sha256(&four)),
        ("Tiny-Q8_0.gguf", &eight, &sha256(&eight)),
    ]);
    let cache = Cache::new();
    let client = hub.client().with_transfer(eager());
    let (entry, pulled) = pull(&cache, &client, "someone/tiny").unwrap();
    assert_eq!(pulled, Pulled::Fetched(SourceKind::Hub));
    assert_eq!(entry.name, "someone/tiny:Q4_K_M");
    let path = cache.store.path("hub/someone/tiny/Tiny-Q4_K_M.gguf");
    assert_eq!(fs::read(&path).unwrap(), four);
    assert!(hub.transfer_starts().len() > 4, "in ranges");
    assert_eq!(cache.store.state(&entry).unwrap().0, State::Verified);
    assert!(!cache.store.staging(&entry).exists());
    for name in [
        "someone/tiny",
        "someone/tiny:q4_k_m",
        "someone/tiny:Tiny-Q4_K_M",
    ] {
        assert_eq!(resolve_in(name, &cache.store).unwrap(), path, "{name}");
    }
    pull(&cache, &client, "someone/tiny:Q8_0").unwrap();
    assert_eq!(cache.store.hub_models().unwrap().len(), 2);
    // What is here needs no hub.
    let nowhere = HuggingFace::at("http://127.0.0.1:1");
    let (_, pulled) = pull(&cache, &nowhere, "someone/tiny:Q8_0").unwrap();
    assert_eq!(pulled, Pulled::AlreadyThere);
    cache.store.remove(&entry).unwrap();
    assert!(!path.exists());
}

#[test]
fn all_parts_of_a_model_in_a_folder_come_and_the_nearest_quantisation_is_said() {
    let (one, two) = (content(70_000), content(2500));
    let hub = LocalHub::serve(&[
        (
            "Q5_K_S/Tiny-Q5_K_S-00001-of-00002.gguf",
            &one,
            &sha256(&one),
        ),
        (
            "Q5_K_S/Tiny-Q5_K_S-00002-of-00002.gguf",
            &two,
            &sha256(&two),
        ),
        ("Tiny-BF16.gguf", b"large", &sha256(b"large")),
    ]);
    let cache = Cache::new();
    let (entry, _) = pull(&cache, &hub.client(), "someone/tiny").unwrap();
    assert_eq!(entry.name, "someone/tiny:Q5_K_S");
    let notes = cache.notes.0.lock().unwrap().join("\n");
    assert_eq!(
        notes,
        "someone/tiny has no Q4_K_M; taking someone/tiny:Q5_K_S"
    );
    let first = resolve_in("someone/tiny:Q5_K_S", &cache.store).unwrap();
    assert!(first.ends_with("hub/someone/tiny/Q5_K_S/Tiny-Q5_K_S-00001-of-00002.gguf"));
    assert_eq!(
        cache.store.state(&entry).unwrap(),
        (State::Verified, 72_500)
    );
    // One lost part is fetched alone.
    fs::remove_file(&first).unwrap();
    let before = hub.transfer_starts().len();
    pull(&cache, &hub.client(), "someone/tiny:Q5_K_S").unwrap();
    assert_eq!(hub.transfer_starts().len(), before + 1);
    assert_eq!(fs::read(first).unwrap(), one);
}

#[test]
fn an_interrupted_pull_asks_for_what_is_missing() {
    let bytes = content(300_000);
    let hub = LocalHub::serve(&[("Tiny-Q4_K_M.gguf", &bytes, &sha256(&bytes))]);
    let cache = Cache::new();
    hub.cut_next_transfer_at(7000);
    let once = Transfer {
        connections: 1,
        tries: 1,
        ..eager()
    };
    let client = hub.client().with_transfer(once);
    let text = refused(&cache, &client, "someone/tiny");
    assert!(text.contains("broke off"), "{text}");
    let entry = &cache.store.hub_models().unwrap()[0];
    let (state, there) = cache.store.state(entry).unwrap();
    assert_eq!(
        (state, &*entry.name),
        (State::Partial, "someone/tiny:Q4_K_M")
    );
    assert!((7000..400_000).contains(&there), "{there}");
    let error = resolve_in("someone/tiny", &cache.store)
        .unwrap_err()
        .to_string();
    assert!(error.contains("not here yet"), "{error}");
    pull(&cache, &client, "someone/tiny:Q4_K_M").unwrap();
    let path = resolve_in("someone/tiny", &cache.store).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert!(
        hub.transfer_starts().contains(&7000),
        "{:?}",
        hub.transfer_starts()
    );

    // A passing failure is tried again by itself.
    let cache = Cache::new();
    hub.cut_next_transfer_at(3000);
    pull(&cache, &hub.client().with_transfer(eager()), "someone/tiny").unwrap();
}

#[test]
fn what_a_hub_does_not_have_is_told_with_what_it_has() {
    let bytes = content(3000);
    let hub = LocalHub::serve(&[("Tiny-Q8_0.gguf", &bytes, &sha256(&bytes))]);
    let cache = Cache::new();
    let text = refused(&cache, &hub.client(), "someone/tiny:Q2_K");
    assert!(
        text.ends_with("someone/tiny has no Q2_K; there are Q8_0 (3 KiB)"),
        "{text}"
    );
    let text = refused(&cache, &hub.client(), "nobody/nothing");
    assert!(
        text.contains("there is no repository nobody/nothing"),
        "{text}"
    );
    let hub = LocalHub::serve(&[("model.safetensors", &bytes, &sha256(&bytes))]);
    let text = refused(&cache, &hub.client(), "someone/tiny");
    assert!(text.contains("no GGUF model"), "{text}");
    assert!(cache.store.hub_models().unwrap().is_empty());
}

#[test]
fn gates_and_tokens_are_told_apart() {
    let bytes = content(3000);
    let hub = LocalHub::serve(&[("Tiny-Q8_0.gguf", &bytes, &sha256(&bytes))]);
    let cache = Cache::new();
    hub.refuse_files(403, "GatedRepo");
    let text = refused(&cache, &hub.client(), "someone/tiny");
    let page = format!("accept its conditions at {}/someone/tiny", hub.url());
    assert!(text.contains(&page) && text.contains("HF_TOKEN"), "{text}");
    hub.refuse_files(401, "");
    let token = Token::new("hf_secret", TokenSource::Environment);
    let client = hub.client().with_token(token);
    let text = refused(&cache, &client, "someone/tiny");
    assert!(text.contains("refuses the token from HF_TOKEN"), "{text}");
    assert!(!text.contains("hf_secret"), "{text}");
}

#[test]
fn the_token_is_sent_to_the_hub_and_to_no_other_host() {
    let bytes = content(30_000);
    let files = [("Tiny-Q4_0.gguf", &bytes[..], &*sha256(&bytes))];
    let (hub, store) = (LocalHub::serve(&files), LocalHub::serve(&files));
    hub.redirect_files_to(&store);
    let cache = Cache::new();
    let token = Token::new("hf_secret", TokenSource::Environment);
    let client = hub.client().with_token(token);
    pull(&cache, &client, "someone/tiny").unwrap();
    let told = |hub: &LocalHub| {
        let heads = hub.heads();
        let told = heads.iter().filter(|line| line.contains("hf_secret"));
        told.count()
    };
    assert_eq!((told(&hub), told(&store)), (3, 0), "{:?}", store.heads());
    assert_eq!(store.transfer_starts(), [0]);
}

#[test]
fn being_offline_is_said_in_one_line() {
    let cache = Cache::new();
    let text = refused(
        &cache,
        &HuggingFace::at("http://127.0.0.1:1"),
        "someone/tiny",
    );
    assert!(text.contains("cannot reach http://127.0.0.1:1"), "{text}");
    assert!(text.contains("is this machine offline?"), "{text}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let hub = HuggingFace::at(url).with_patience(Patience {
        answer: Duration::from_millis(50),
        ..Patience::default()
    });
    let text = refused(&cache, &hub, "someone/tiny");
    assert!(text.contains("no answer within 0.1 s"), "{text}");
}

#[test]
fn space_is_asked_for_before_the_first_byte() {
    let bytes = content(100_000);
    let hub = LocalHub::serve(&[("Tiny-Q4_0.gguf", &bytes, &sha256(&bytes))]);
    let cache = Cache::new();
    let client = hub.client();
    let error = Puller::new(&cache.store, &client, &NoPackages, &cache.notes)
        .with_free_space(|_| Ok(99_999))
        .pull_from_hub(&"someone/tiny".parse().unwrap())
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PullError::NoSpace { .. }), "{text}");
    assert!(text.contains("someone/tiny:Q4_0"), "{text}");
    assert!(hub.transfer_starts().is_empty());
}

#[test]
fn the_command_pulls_lists_checks_and_removes_by_name() {
    let bytes = content(30_000);
    let hub = LocalHub::serve(&[("Tiny-Q4_0.gguf", &bytes, &sha256(&bytes))]);
    let home = tempfile::tempdir().unwrap();
    let nmos = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nmos"))
            .arg("models")
            .args(arguments)
            .env("HOME", home.path())
            .env("NMOS_CACHE", home.path().join("cache"))
            .env("HF_ENDPOINT", hub.url())
            .env("HF_TOKEN", "hf_secret")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (ok, out, err) = nmos(&["pull", "someone/tiny"]);
    assert!(ok, "{err}");
    assert_eq!(
        out,
        "someone/tiny:Q4_0: fetched from Hugging Face and checked; use it with --oracle \
         someone/tiny:Q4_0\n"
    );
    let sent = |line: &String| line == "authorization: bearer hf_secret";
    assert!(hub.heads().iter().any(sent), "{:?}", hub.heads());
    let (_, out, _) = nmos(&["list"]);
    let line = out
        .lines()
        .find(|line| line.starts_with("someone/tiny:Q4_0"));
    let line = line.unwrap();
    assert!(line.contains("verified") && line.contains("fits"), "{line}");
    let (ok, out, _) = nmos(&["verify", "someone/tiny"]);
    assert!(ok && out.contains("someone/tiny:Q4_0: ok"), "{out}");
    let (ok, out, _) = nmos(&["rm", "someone/tiny"]);
    assert!(ok && out.contains("removed, 29 KiB freed"), "{out}");
    let (ok, out, _) = nmos(&["verify", "someone/tiny"]);
    assert!(
        !ok && out.contains("run `nmos models pull someone/tiny`"),
        "{out}"
    );
}
