//! What commands print, what they refuse, and their exit codes.

use crate::home::{Home, code, err, out};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

#[test]
fn version_has_the_number_the_commit_and_the_backends() {
    let output = Home::new().run(["--version"]);
    let text = out(&output);
    assert_eq!(code(&output), 0);
    assert!(
        text.starts_with(concat!("nmos ", env!("CARGO_PKG_VERSION"), " (")),
        "{text}"
    );
    assert!(
        text.contains("backends: ") && text.contains("cpu"),
        "{text}"
    );
    assert!(err(&output).is_empty());
}

#[test]
fn help_names_every_command_and_shared_option() {
    let output = Home::new().run(["--help"]);
    let text = out(&output);
    assert_eq!(code(&output), 0);
    // A word at the beginning of a line: "run" is also in "prune", "man" in "many".
    let first_words: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for word in [
        "run",
        "replay",
        "bench",
        "models",
        "shot",
        "plan",
        "doctor",
        "config",
        "completions",
        "man",
        "--record",
        "--oracle",
        "--draft",
        "--scout",
        "--ram",
        "--ctx",
        "--threads",
        "--config",
        "--log-level",
        "--log-file",
    ] {
        assert!(first_words.contains(&word), "{word} is not in\n{text}");
    }
}

#[test]
fn the_readme_lists_every_command() {
    let readme = include_str!("../../README.md");
    for command in [
        "run",
        "replay",
        "bench",
        "models",
        "plan",
        "doctor",
        "shot",
        "config",
        "completions",
        "man",
    ] {
        let listed = readme
            .lines()
            .filter(|line| line.starts_with("| `nmos"))
            .flat_map(|line| line.split('`'))
            .any(|code| code.split(' ').take(2).eq(["nmos", command]));
        assert!(listed, "{command} is not in README.md");
    }
}

#[test]
fn what_cannot_be_understood_exits_with_2() {
    let home = Home::new();
    for (line, says) in [
        ("frobnicate", "frobnicate"),
        ("run", "PROMPT"),
        ("run hello --ram 12parsecs", "512MiB"),
        ("run hello --ram 0", "4GiB"),
        ("run hello --ctx 3", "256"),
        ("run hello --threads none", "'none'"),
        ("run hello --temp -1", "-1"),
        ("run hello --top-p 95", "0 to 1"),
        ("run hello --scout smollm2", "'heuristic'"),
        ("run hello --oracle none", "oracle"),
        ("run -", "empty"),
        ("doctor --log-level loud", "trace"),
        ("completions tcsh", "bash"),
        ("shot --size 40x10", "at least 60x18"),
        ("shot picture.gif", ".svg or .png"),
    ] {
        let output = home.run(line.split(' '));
        assert_eq!(code(&output), 2, "{line}: {}", err(&output));
        assert!(err(&output).contains(says), "{line}: {}", err(&output));
        assert!(out(&output).is_empty(), "{line}");
    }
}

#[test]
fn a_model_that_is_not_there_exits_with_1() {
    let output = Home::new().run(["run", "hello", "--oracle", "/nowhere/model.gguf"]);
    assert_eq!(code(&output), 1);
    let text = err(&output);
    assert!(
        text.starts_with("error: ") && text.contains("/nowhere/model.gguf"),
        "{text}"
    );
}

#[test]
fn a_prompt_that_is_not_text_exits_with_1() {
    let mut child = Home::new()
        .nmos(["run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"ab\xff").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("byte 2"), "{}", err(&output));
}

#[test]
fn a_models_name_is_no_file_of_that_name() {
    let home = Home::new();
    fs::write(home.path().join("smollm2-135m"), "no model").unwrap();
    let run = |oracle: &str| {
        let output = home
            .nmos(["run", "hi", "--draft", "none", "--oracle", oracle])
            .current_dir(home.path())
            .output()
            .unwrap();
        assert_eq!(code(&output), 1);
        err(&output)
    };
    let named = run("smollm2-135m");
    assert!(named.contains("nmos models pull smollm2-135m"), "{named}");
    let file = run("./smollm2-135m");
    assert!(file.contains("not a GGUF file"), "{file}");
}

#[test]
fn the_first_run_says_how_to_get_all_that_it_needs() {
    let output = Home::new().run(["run", "hi"]);
    assert_eq!(code(&output), 1);
    let text = err(&output);
    assert!(text.contains("run `nmos models pull` (1.6 GB"), "{text}");
}

#[test]
fn completions_and_manual_know_the_options() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = home.run(["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("log-level"), "{shell}");
    }
    let output = home.run(["man"]);
    assert_eq!(code(&output), 0);
    let text = out(&output);
    assert!(
        text.contains(".TH nmos 1") && text.contains("nmos-run"),
        "{text}"
    );
    assert!(
        text.contains("repeat\\-penalty"),
        "the pages of commands are missing"
    );
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for arguments in [
        &["completions", "bash"][..],
        &["man"],
        &["--help"],
        &["config", "show"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Nobody reads: every write fails from the first on.
        drop(reader);
        let mut child = Home::new()
            .nmos(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        assert_eq!(
            child.wait().unwrap().code(),
            Some(0),
            "{arguments:?}: {text}"
        );
        assert!(text.is_empty(), "{arguments:?}: {text}");
    }
}

#[test]
fn a_log_file_that_was_asked_for_must_be_writable() {
    let home = Home::new();
    // There is a directory where the file would be: not even root can write it.
    let output = home.run([
        OsStr::new("run"),
        OsStr::new("hello"),
        OsStr::new("--log-file"),
        home.path().as_os_str(),
    ]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("log file"), "{}", err(&output));
}

#[test]
fn a_run_is_logged_to_the_file_asked_for() {
    let home = Home::new();
    let log = home.path().join("here/run.log");
    let output = home.run([
        OsStr::new("run"),
        OsStr::new("hello"),
        OsStr::new("--oracle=/nowhere.gguf"),
        OsStr::new("--log-file"),
        log.as_os_str(),
    ]);
    assert_eq!(code(&output), 1);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("started"), "{text}");
}
