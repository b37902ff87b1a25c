//! What `nmos doctor` finds.

use crate::home::{Home, code, err, out};
use std::ffi::OsStr;
use std::fs;

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
