//! Models that are looked into while they are still at their hub: headers alone, within limits.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::gguf_builder::Builder;
use crate::local_hub::LocalHub;
use crate::pull_fixture::sha256;
use crate::tiny_model::Tiny;
use nmos::model::Gguf;
use nmos::model::pull::hub::{HuggingFace, Token, TokenSource};
use nmos::model::pull::remote_header::{self, Limits, RemoteHeader, RemoteModel};

const WEIGHTS: u64 = 4 << 20;

/// A model with far more weights than header.
fn heavy() -> Vec<u8> {
    let model = Builder::model().text("general.name", "Heavy");
    let model = model.u32("qwen2.block_count", 3);
    let words: Vec<_> = (0..30_000).map(|i| format!("word{i}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let model = model.texts("tokenizer.ggml.tokens", &words);
    model.tensor("w", 0, &[WEIGHTS / 4], WEIGHTS).build()
}

fn look(hub: &LocalHub, limits: Limits) -> RemoteModel {
    remote_header::read(&hub.client(), &"someone/tiny".parse().unwrap(), limits).unwrap()
}

/// Bytes of files that were asked for.
fn asked_for(hub: &LocalHub) -> u64 {
    let heads = hub.heads();
    let ranges = heads
        .iter()
        .filter_map(|line| line.strip_prefix("range: bytes="));
    let bytes = |range: &str| {
        let (start, end) = range.split_once('-').unwrap();
        end.parse::<u64>().unwrap() + 1 - start.parse::<u64>().unwrap()
    };
    ranges.map(bytes).sum()
}

#[test]
fn a_header_is_opened_as_the_files_own_without_its_weights() {
    let bytes = heavy();
    let hub = LocalHub::serve(&[("Heavy-Q8_0.gguf", &bytes, &sha256(&bytes))]);
    let model = look(&hub, Limits::default());
    assert_eq!(model.name, "someone/tiny:Q8_0");
    assert_eq!((model.size, model.read), (bytes.len() as u64, 1 << 20));
    assert_eq!(asked_for(&hub), 1 << 20);
    let RemoteHeader::Whole(files) = &model.header else {
        panic!("{:?}", model.header);
    };
    let here = Gguf::open(files.path()).unwrap();
    assert_eq!(
        (here.name(), here.file_bytes()),
        ("Heavy".into(), bytes.len() as u64)
    );
    assert_eq!(here.tensors().len(), 1);
    let path = files.path().to_owned();
    drop(model);
    assert!(!path.exists());
}

#[test]
fn every_part_gives_its_own_header() {
    let part = |number: u16| {
        let part = Builder::model()
            .u16("split.no", number)
            .u16("split.count", 2);
        let part = part.i32("split.tensors.count", 2);
        part.tensor(&format!("w{number}"), 0, &[50_000], 200_000)
            .build()
    };
    let (one, two) = (part(0), part(1));
    let hub = LocalHub::serve(&[
        ("Q4_0/T-Q4_0-00001-of-00002.gguf", &one, &sha256(&one)),
        ("Q4_0/T-Q4_0-00002-of-00002.gguf", &two, &sha256(&two)),
    ]);
    let model = look(&hub, Limits::default());
    let RemoteHeader::Whole(files) = &model.header else {
        panic!("{:?}", model.header);
    };
    let here = Gguf::open(files.path()).unwrap();
    assert_eq!((here.files.len(), here.tensors().len()), (2, 2));
    assert_eq!(model.size, (one.len() + two.len()) as u64);
}

#[test]
fn a_header_longer_than_the_limit_tells_its_beginning() {
    let bytes = heavy();
    let hub = LocalHub::serve(&[("Heavy-Q8_0.gguf", &bytes, &sha256(&bytes))]);
    let limits = Limits {
        bytes: 100_000,
        ..Limits::default()
    };
    let model = look(&hub, limits);
    let RemoteHeader::Beginning(beginning) = &model.header else {
        panic!("{:?}", model.header);
    };
    assert_eq!(beginning.text("general.name"), Some("Heavy"));
    assert_eq!(beginning.u64("qwen2.block_count"), Some(3));
    assert_eq!((beginning.tensors, model.read), (1, 100_000));
    assert_eq!(asked_for(&hub), 100_000);
}

#[test]
fn what_is_no_model_and_who_may_not_see_it_is_told() {
    let page = b"<!DOCTYPE html><html></html>................................";
    let hub = LocalHub::serve(&[("Page-Q8_0.gguf", page, &sha256(page))]);
    let name = "someone/tiny".parse().unwrap();
    let error = remote_header::read(&hub.client(), &name, Limits::default()).unwrap_err();
    assert!(error.to_string().starts_with("Page-Q8_0.gguf "), "{error}");
    hub.refuse_files(403, "GatedRepo");
    let token = Token::new("hf_secret", TokenSource::Environment);
    let client = hub.client().with_token(token);
    let error = remote_header::read(&client, &name, Limits::default()).unwrap_err();
    assert!(
        error.to_string().contains("someone/tiny is gated"),
        "{error}"
    );
    assert!(
        hub.heads()
            .iter()
            .any(|line| line.contains("bearer hf_secret"))
    );
}

#[test]
fn a_hub_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hub = HuggingFace::at(format!("http://{}", silent.local_addr().unwrap()));
    let limits = Limits {
        time: Duration::from_millis(50),
        ..Limits::default()
    };
    let name = "someone/tiny".parse().unwrap();
    let error = remote_header::read(&hub, &name, limits).unwrap_err();
    assert!(error.to_string().contains("did not come within"), "{error}");
}

fn inspect(home: &Path, endpoint: &str, arguments: &[&str]) -> Output {
    let mut nmos = Command::new(env!("CARGO_BIN_EXE_nmos"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["NMOS_", "XDG_", "HF_"]
            .iter()
            .any(|begin| text.starts_with(begin))
        {
            nmos.env_remove(name);
        }
    }
    nmos.args(["models", "inspect"]).args(arguments);
    nmos.args(["--ram", "1GiB", "--vram", "0", "--threads", "1"]);
    nmos.env("HOME", home).env("HF_ENDPOINT", endpoint);
    nmos.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_command_says_of_a_model_at_its_hub_what_it_says_of_its_file() {
    let home = tempfile::tempdir().unwrap();
    let bytes = Tiny::default().build();
    let hub = LocalHub::serve(&[("Tiny-F32.gguf", &bytes, &sha256(&bytes))]);
    let file = home.path().join("Tiny-F32.gguf");
    std::fs::write(&file, &bytes).unwrap();
    let text = |name: &str| {
        let output = inspect(home.path(), &hub.url(), &[name]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let local = text(file.to_str().unwrap());
    let remote = text("someone/tiny:F32");
    assert_eq!(
        remote,
        local.replace(file.to_str().unwrap(), "someone/tiny:F32")
    );

    let output = inspect(home.path(), "http://127.0.0.1:1", &["someone/tiny"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(said.lines().count(), 1, "{said}");
    let expected = "cannot inspect someone/tiny: cannot reach http://127.0.0.1:1";
    assert!(
        said.contains(expected) && said.contains("offline?"),
        "{said}"
    );
}
