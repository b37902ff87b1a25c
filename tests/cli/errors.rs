//! What goes wrong with models and budgets, as the executable says it: one message that names
//! what, where and what to do, and exit code 1.

use crate::common::{self, DRAFT, ORACLE, SMOL, least_in, model};
use crate::program::nmos;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Output;

/// `nmos run` with a home of its own.
fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let home = tempfile::tempdir().unwrap();
    nmos(home.path())
        .arg("run")
        .args(arguments)
        .output()
        .unwrap()
}

/// The one message of a run that must fail with code 1 and print nothing else.
fn refusal(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.matches("error:").count(), 1, "{text}");
    assert!(text.lines().count() <= 3, "{text}");
    text
}

fn refusal_of(oracle: &Path) -> String {
    let oracle = oracle.to_str().unwrap();
    refusal(&run([
        "--draft", "none", "--oracle", oracle, "-n", "1", "hi",
    ]))
}

#[test]
fn files_that_are_no_model_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.gguf");
    let message = refusal_of(&missing);
    assert!(message.contains(missing.to_str().unwrap()), "{message}");

    let message = refusal_of(dir.path());
    assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
    assert!(message.contains("directory"), "{message}");

    let text = dir.path().join("text.gguf");
    std::fs::write(&text, "Dear reader, this is a letter and no model at all.").unwrap();
    let message = refusal_of(&text);
    assert!(message.contains(text.to_str().unwrap()), "{message}");
    assert!(message.contains("GGUF"), "{message}");

    let empty = dir.path().join("empty.gguf");
    std::fs::write(&empty, "").unwrap();
    let message = refusal_of(&empty);
    assert!(message.contains(empty.to_str().unwrap()), "{message}");
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed.gguf");
    std::fs::write(&closed, "GGUF").unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();
    let message = refusal_of(&closed);
    assert!(message.contains(closed.to_str().unwrap()), "{message}");
    // Root may read everything, and is then told that it is no model.
    if std::fs::File::open(&closed).is_err() {
        assert!(message.to_lowercase().contains("permission"), "{message}");
    }
}

#[test]
fn a_model_that_was_cut_off_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let cut = dir.path().join("cut.gguf");
    let mut start = Vec::new();
    let source = std::fs::File::open(model(SMOL)).unwrap();
    source.take(50 << 20).read_to_end(&mut start).unwrap();
    std::fs::File::create(&cut)
        .unwrap()
        .write_all(&start)
        .unwrap();
    let message = refusal_of(&cut);
    assert!(message.contains(cut.to_str().unwrap()), "{message}");

    // Cut within its index.
    std::fs::write(&cut, &start[..1000]).unwrap();
    let message = refusal_of(&cut);
    assert!(message.contains(cut.to_str().unwrap()), "{message}");
}

/// The least budget that the message names is enough.
#[test]
fn too_small_a_budget_names_one_that_works() {
    let _turn = common::turn();
    for (oracle, draft) in [(DRAFT, None), (ORACLE, Some(DRAFT))] {
        let oracle = model(oracle);
        let draft = draft.map_or_else(|| "none".into(), |d| model(d).display().to_string());
        let with = |ram: &str| {
            run([
                "--oracle",
                oracle.to_str().unwrap(),
                "--draft",
                &draft,
                "--ram",
                ram,
                "--ctx",
                "512",
                "-n",
                "2",
                "hi",
            ])
        };
        let message = refusal(&with("64MiB"));
        assert!(
            message.contains("64 MiB") && message.contains("--ram"),
            "{message}"
        );
        let least = least_in(&message);
        let output = with(&least.0.to_string());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "with {least}: {said}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn a_draft_that_speaks_of_other_tokens_is_refused() {
    let (oracle, draft) = (model(DRAFT), model(SMOL));
    let message = refusal(&run([
        "--oracle",
        oracle.to_str().unwrap(),
        "--draft",
        draft.to_str().unwrap(),
        "hi",
    ]));
    for part in [
        draft.to_str().unwrap(),
        "vocabulary",
        "token 0 is",
        "--draft none",
    ] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// `nmos` with the models of the tests as its cache, and nothing else of the user's.
fn with_models(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let cache = model(DRAFT).ancestors().nth(2).unwrap().to_owned();
    nmos(home.path())
        .args(arguments)
        .env("NMOS_CACHE", cache)
        .output()
        .unwrap()
}

#[test]
fn a_default_draft_that_does_not_fit_is_left_out() {
    let _turn = common::turn();
    let oracle = model(SMOL);
    let oracle = oracle.to_str().unwrap();
    let ask = ["run", "--oracle", oracle, "-n", "2", "hi"];
    // Another vocabulary; and a cache in which it is not at all.
    for (output, why) in [
        (with_models(&ask), "cannot draft for"),
        (run(&ask[1..]), "is not here yet"),
    ] {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!output.stdout.is_empty());
        assert!(
            said.contains("note: no draft") && said.contains(why),
            "{said}"
        );
    }

    let output = with_models(&["plan", "--oracle", oracle, "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(plan["draft"].is_null());
    let why = plan["draft_left_out"].as_str().unwrap();
    assert!(why.contains("cannot draft for"), "{why}");

    // Asked for, the same draft is a failure.
    let draft = model(DRAFT);
    let asked = [
        "--oracle",
        oracle,
        "--draft",
        draft.to_str().unwrap(),
        "--json",
    ];
    let grade = |more: &[&str]| {
        let output = with_models(&[&["doctor"][..], more].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|c| c["name"] == "draft").unwrap();
        assert!(
            check["found"].as_str().unwrap().contains("cannot draft"),
            "{check}"
        );
        check["grade"].as_str().unwrap().to_owned()
    };
    assert_eq!(grade(&asked), "fail");
    assert_eq!(grade(&["--oracle", oracle, "--json"]), "warn");
    let output = with_models(&[&["plan"][..], &asked[..]].concat());
    assert!(refusal(&output).contains("token 0 is"));
}

#[test]
fn a_prompt_longer_than_the_context_is_refused() {
    let oracle = model(SMOL);
    let prompt = "word ".repeat(400);
    let message = refusal(&run([
        "--oracle",
        oracle.to_str().unwrap(),
        "--draft",
        "none",
        "--ctx",
        "256",
        &prompt,
    ]));
    assert!(
        message.contains("256") && message.contains("--ctx"),
        "{message}"
    );
}
