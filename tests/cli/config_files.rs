//! Configuration files: each mistake has a fixture and the message that it must give.
//!
//! `UPDATE_EXPECTED=1 cargo test --release --test cli config_files::` writes the messages again.

use nmos::config::{Draft, Layer, Origin, Scout, Settings, SourceFile};
use nmos::tui::Keymap;
use std::fs;
use std::path::{Path, PathBuf};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Reads a fixture under its bare name, so that messages are the same on every machine.
fn read(path: &Path) -> SourceFile {
    SourceFile {
        path: path.file_name().unwrap().into(),
        text: fs::read_to_string(path).unwrap(),
    }
}

#[test]
fn each_mistake_gives_its_message() {
    let mut wrong = Vec::new();
    for path in fixtures("invalid_configs") {
        let message = match Layer::parse(&read(&path)) {
            Ok(layer) => format!("accepted: {layer:?}\n"),
            Err(error) => format!("{error}\n"),
        };
        let kept = path.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&kept, &message).unwrap();
        }
        let expected = fs::read_to_string(&kept).unwrap_or_default();
        if message != expected {
            wrong.push(format!("{}\n{message}---\n{expected}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn valid_files_are_read() {
    for path in fixtures("valid_configs") {
        if let Err(error) = Layer::parse(&read(&path)) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn every_setting_of_a_file_takes_effect() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid_configs/everything.toml");
    let file = SourceFile::read(&path).unwrap();
    let settings = Settings::resolve(Layer::default(), Layer::default(), Some(file)).unwrap();
    for (key, _, origin) in settings.rows() {
        assert_eq!(origin, Origin::File, "{key}");
    }
    assert_eq!(settings.draft.value, Draft::None);
    assert_eq!(settings.scout.value, Scout::None);
    assert_eq!(settings.ram.value.to_string(), "1536MiB");
    assert_eq!(settings.system.value, "Two\nlines.");
    assert_eq!(settings.repeat_penalty.value, 1.1);
    // The keymap gets its tables as written, with the places for its own messages.
    let file = settings.file.unwrap();
    let document = toml::de::DeTable::parse(&file.text).unwrap();
    let keys = document.get_ref()["keys"].get_ref().as_table().unwrap();
    let (table, actions) = keys.iter().next().unwrap();
    assert_eq!(table.get_ref(), "global");
    let help = &actions.get_ref().as_table().unwrap()["help"];
    assert_eq!(help.get_ref().as_str(), Some("f1"));
    Keymap::with_config(&file).unwrap();
    let fault = file.fault(table.span(), "no such table");
    let text = fault.to_string();
    assert!(text.contains(":33:7: keys.global: no such table"), "{text}");
}
