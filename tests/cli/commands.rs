//! The executable itself: output, messages and exit codes.

use crate::program::nmos;
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
        let mut command = nmos(self.path());
        command.args(arguments);
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
fn show_prints_every_key() {
    let home = Home::new();
    fs::create_dir_all(home.config().parent().unwrap()).unwrap();
    fs::write(
        home.config(),
        "[keys.global]\nquit = [\"ctrl-q\", \"f10\"]\nfreeze = []\n",
    )
    .unwrap();
    let output = home.run(["config", "show"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    for (line, origin) in [
        ("keys.global.quit = [\"ctrl-q\", \"f10\"]", "# file"),
        ("keys.global.freeze = []", "# file"),
        ("keys.global.help = \"f1\"", "# default"),
        ("keys.pane.scroll-end = [\"end\", \"shift-g\"]", "# default"),
    ] {
        let found = text.lines().find(|l| l.starts_with(line));
        let found = found.unwrap_or_else(|| panic!("no {line} in\n{text}"));
        assert!(found.ends_with(origin), "{found}");
    }
}

#[test]
fn keys_and_themes_that_the_workbench_would_refuse_are_refused() {
    let home = Home::new();
    let themes = home.config().with_file_name("themes");
    fs::create_dir_all(&themes).unwrap();
    fs::write(
        themes.join("own.toml"),
        "inherits = \"nmos-dark\"\ncolour = 1\n",
    )
    .unwrap();
    for (text, says) in [
        (
            "[keys.global]\nfly = \"x\"\n",
            "config.toml:2:1: keys.global.fly",
        ),
        ("theme = \"nmos-drak\"\n", "nmos-dark"),
        ("theme = \"own\"\n", "own.toml:2:1: colour"),
    ] {
        fs::write(home.config(), text).unwrap();
        let shown = home.run(["config", "show"]);
        assert_eq!(code(&shown), 2, "{text}: {}", err(&shown));
        assert!(err(&shown).contains(says), "{text}: {}", err(&shown));
        if text.starts_with("theme") {
            assert!(err(&shown).contains("set by theme in "), "{}", err(&shown));
        }
        let examined = home.run(["doctor", "--json"]);
        assert_eq!(code(&examined), 1, "{text}");
        let report: serde_json::Value = serde_json::from_str(&out(&examined)).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let check = checks
            .iter()
            .find(|c| c["name"] == "configuration")
            .unwrap();
        assert_eq!(check["grade"], "fail", "{check}");
        assert!(check["found"].as_str().unwrap().contains(says), "{check}");
    }
    fs::write(home.config(), "").unwrap();
    let output = home
        .nmos(["config", "show"])
        .env("NMOS_THEME", "nmos-drak")
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    assert!(
        err(&output).contains("set by NMOS_THEME"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_variable_that_means_nothing_is_warned_of() {
    let output = Home::new()
        .nmos(["config", "show"])
        .env("NMOS_ORCALE", "x")
        .env("NMOS_CTX", "2048")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        err(&output),
        "warning: there is no variable NMOS_ORCALE: did you mean NMOS_ORACLE?\n"
    );
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
fn doctor_measures_the_oracles_file_and_keeps_what_it_finds() {
    let home = Home::new();
    let model = home.path().join("m.gguf");
    let mut bytes = b"GGUF".to_vec();
    bytes.resize(1 << 20, 0);
    fs::write(&model, bytes).unwrap();
    let kept = home.path().join(".cache/nmos/disks.json");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    // Whatever broke it, it is written again.
    fs::write(&kept, b"{\"version\": 1, \"di").unwrap();
    let doctor = |more: &[&str]| {
        let arguments = [
            OsStr::new("doctor"),
            OsStr::new("--draft=none"),
            OsStr::new("--oracle"),
            model.as_os_str(),
        ];
        home.run(arguments.into_iter().chain(more.iter().map(OsStr::new)))
    };
    let output = doctor(&[]);
    let text = out(&output);
    for words in [
        "in flight (",
        "with pread",
        "memory speed",
        "huge pages",
        "gpu ",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    // It is a file of zeros, so that nothing can be said of its passes.
    assert!(text.contains("speed limit    not known"), "{text}");
    assert_eq!(code(&output), 0, "{text}");
    assert!(text.contains("\nfit to run"), "{text}");

    let report: serde_json::Value = serde_json::from_str(&out(&doctor(&["--json"]))).unwrap();
    assert!(report["passes"].is_null());
    assert!(report["bandwidth"]["copy_gb_s"].as_f64().unwrap() > 0.0);
    let disk = &report["disk"];
    assert_eq!(disk["pread"]["depth"], 1);
    let tuning = &disk["tuning"];
    let file: serde_json::Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    let disks = file["disks"].as_object().unwrap();
    assert_eq!(disks.values().collect::<Vec<_>>(), [tuning]);
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
