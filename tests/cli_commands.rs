//! The executable itself: output, messages and exit codes.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A home of its own, so that nothing of the user's is read or written.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn nmos<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nmos"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("NMOS_") || name.starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("HOME", self.path())
            .stdin(Stdio::null());
        command
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.nmos(arguments).output().unwrap()
    }

    fn config(&self) -> std::path::PathBuf {
        self.path().join(".config/nmos/config.toml")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

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
    for word in [
        "run",
        "replay",
        "models",
        "shot",
        "plan",
        "doctor",
        "config",
        "completions",
        "man",
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
        assert!(text.contains(word), "{word} is not in\n{text}");
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
fn a_bad_file_names_the_line_and_exits_with_2() {
    let home = Home::new();
    fs::create_dir_all(home.config().parent().unwrap()).unwrap();
    fs::write(home.config(), "ctx = 4096\norcale = \"x\"\n").unwrap();
    let output = home.run(["config", "show"]);
    assert_eq!(code(&output), 2);
    let text = err(&output);
    assert!(
        text.contains("config.toml:2:1") && text.contains("'oracle'"),
        "{text}"
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let home = Home::new();
    for output in [
        home.run(["config", "show", "--config", "/nowhere.toml"]),
        home.nmos(["config", "show"])
            .env("NMOS_CONFIG", "/nowhere.toml")
            .output()
            .unwrap(),
    ] {
        assert_eq!(code(&output), 2);
        let text = err(&output);
        assert!(
            text.contains("/nowhere.toml") && text.contains("cause:"),
            "{text}"
        );
    }
}

#[test]
fn a_bad_variable_is_named_and_exits_with_2() {
    let output = Home::new()
        .nmos(["config", "show"])
        .env("NMOS_CTX", "lots")
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("NMOS_CTX"), "{}", err(&output));
}

#[test]
fn show_says_where_each_value_came_from() {
    let home = Home::new();
    fs::create_dir_all(home.config().parent().unwrap()).unwrap();
    fs::write(home.config(), "ctx = 2048\nthreads = 3\nram = \"1GiB\"\n").unwrap();
    let output = home
        .nmos(["config", "show", "--ram", "2GiB"])
        .env("NMOS_THREADS", "5")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    let line = |key: &str| {
        let found = text.lines().find(|l| l.starts_with(key));
        found.unwrap_or_else(|| panic!("no {key} in\n{text}"))
    };
    for (key, value, origin) in [
        ("ram", "\"2GiB\"", "# flag"),
        ("threads", "5", "# environment"),
        ("ctx", "2048", "# file"),
        ("scout", "\"heuristic\"", "# default"),
    ] {
        let line = line(&format!("{key} = {value} "));
        assert!(line.ends_with(origin), "{line}");
    }
}

#[test]
fn init_writes_the_default_file_once() {
    let home = Home::new();
    assert_eq!(
        out(&home.run(["config", "path"])).trim(),
        home.config().to_str().unwrap()
    );
    assert!(!home.config().exists(), "path must not write");
    assert_eq!(code(&home.run(["config", "init"])), 0);
    let written = fs::read_to_string(home.config()).unwrap();
    assert_eq!(written, nmos::config::DEFAULT_FILE);
    fs::write(home.config(), "ctx = 999\n").unwrap();
    let again = home.run(["config", "init"]);
    assert_eq!(code(&again), 1);
    assert!(err(&again).contains("stays as it is"), "{}", err(&again));
    assert_eq!(fs::read_to_string(home.config()).unwrap(), "ctx = 999\n");
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
fn doctor_says_that_models_are_absent_and_exits_with_1() {
    let home = Home::new();
    let output = home.run(["doctor", "--oracle", "/nowhere/m.gguf", "--json"]);
    assert_eq!(code(&output), 1, "{}", err(&output));
    let report: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(report["fit"], false);
    assert!(report["read_gb_s"].is_null());
    assert!(report["memory"]["total"].as_u64().unwrap() > 0);
    let checks = report["checks"].as_array().unwrap();
    let oracle = checks.iter().find(|c| c["name"] == "oracle").unwrap();
    assert_eq!(oracle["grade"], "fail");
    assert!(oracle["advice"].as_str().unwrap().contains("models pull"));
}

#[test]
fn doctor_measures_the_oracles_file() {
    let home = Home::new();
    let model = home.path().join("m.gguf");
    let mut bytes = b"GGUF".to_vec();
    bytes.resize(1 << 20, 0);
    fs::write(&model, bytes).unwrap();
    let output = home.run([
        OsStr::new("doctor"),
        OsStr::new("--draft=none"),
        OsStr::new("--oracle"),
        model.as_os_str(),
    ]);
    let text = out(&output);
    assert!(text.contains("GB/s (1 MiB in order"), "{text}");
    assert_eq!(code(&output), 0, "{text}");
    assert!(text.contains("\nfit to run"), "{text}");
}

#[test]
fn doctor_refuses_more_memory_than_there_is() {
    let output = Home::new().run(["doctor", "--ram", "900T"]);
    assert_eq!(code(&output), 1);
    let text = out(&output);
    assert!(
        text.contains("FAIL  memory") && text.contains("more than can be had"),
        "{text}"
    );
}

#[test]
fn a_log_file_that_was_asked_for_must_be_writable() {
    let home = Home::new();
    // A directory stands where the file would be: not even root can write it.
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
