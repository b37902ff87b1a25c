//! `nmos bench` as a program: what it refuses before it loads anything.

use std::process::Output;

fn bench(home: &std::path::Path, arguments: &[&str]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_nmos"))
        .arg("bench")
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .output()
        .unwrap()
}

#[test]
fn what_cannot_be_run_is_refused_in_words() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.jsonl"), "{\"version\":1}\n").unwrap();
    for (arguments, code, words) in [
        (&["bad.jsonl"][..], 1, "bad.jsonl, line 1"),
        (&["none.jsonl"], 1, "none.jsonl"),
        (&[], 2, "TRACE"),
        (&["bad.jsonl", "--limit", "0"], 2, "--limit"),
        (&["bad.jsonl", "--speed", "0"], 2, "--speed"),
        (&["bad.jsonl", "-n", "0"], 2, "--tokens"),
    ] {
        let output = bench(home.path(), arguments);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
}
