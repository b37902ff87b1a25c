//! Where settings come from, as `nmos config` shows them, and those that are refused.

use crate::home::{Home, code, err, out};
use std::fs;

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
