//! `nmos models` on a cache of its own, without any source.

use std::fs;

use nmos::cli::models::{ModelsCommand, run_in};
use nmos::model::progress::Lines;
use nmos::model::store::Store;
use nmos::plan::Capacity;
use nmos::units::Bytes;

struct Cache {
    _dir: tempfile::TempDir,
    store: Store,
}

impl Cache {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        Self { _dir: dir, store }
    }

    /// What is printed, and whether it went well.
    fn run(&self, command: ModelsCommand) -> (String, Result<(), String>) {
        let mut out = Vec::new();
        let progress = Lines::new(std::io::sink());
        let capacity = Capacity {
            ram: Bytes(12 * Bytes::GIB),
            disk: None,
        };
        let result = run_in(&self.store, command, Some(&capacity), &progress, &mut out);
        let text = String::from_utf8(out).unwrap();
        (text, result.map_err(|error| error.to_string()))
    }

    fn line(&self, name: &str) -> String {
        let (text, result) = self.run(ModelsCommand::List);
        result.unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap().to_owned()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn verify(asked: &[&str]) -> ModelsCommand {
    ModelsCommand::Verify {
        names: names(asked),
    }
}

#[test]
fn an_empty_cache_lists_every_model_as_absent() {
    let cache = Cache::new();
    for name in [
        "qwen2.5-coder-1.5b",
        "qwen2.5-coder-0.5b",
        "smollm2-135m",
        "qwen2.5-72b",
    ] {
        assert!(cache.line(name).contains("absent"), "{name}");
    }
    let (text, result) = cache.run(verify(&[]));
    assert!(text.contains("nmos models pull"), "{text}");
    result.unwrap();
    let (text, result) = cache.run(verify(&["smollm2-135m"]));
    assert!(text.contains("not here"), "{text}");
    result.unwrap_err();
}

#[test]
fn a_model_without_a_known_hash_is_noted_and_then_compared() {
    let cache = Cache::new();
    let path = cache.store.path("qwen2.5-1.5b-instruct-q4_k_m.gguf");
    fs::write(&path, b"weights").unwrap();
    assert!(cache.line("qwen2.5-1.5b").contains("present"));
    let (text, result) = cache.run(verify(&[]));
    assert!(text.contains("nothing was known"), "{text}");
    result.unwrap();
    assert!(cache.line("qwen2.5-1.5b").contains("verified"));

    fs::write(&path, b"wEights").unwrap();
    let (text, result) = cache.run(verify(&["qwen2.5-1.5b"]));
    assert!(text.contains("DAMAGED"), "{text}");
    assert!(result.unwrap_err().contains("nmos models pull"));
    assert!(cache.line("qwen2.5-1.5b").contains("damaged"));
}

#[test]
fn a_file_of_the_wrong_size_is_damaged_without_reading_it() {
    let cache = Cache::new();
    let path = cache.store.path("smollm2-135m-instruct-q4_1.gguf");
    fs::write(path, b"short").unwrap();
    assert!(cache.line("smollm2-135m").contains("damaged"));
    let (text, result) = cache.run(verify(&[]));
    assert!(text.contains("5 bytes instead of 98362432"), "{text}");
    result.unwrap_err();
}

#[test]
fn rm_frees_what_is_there_and_refuses_unknown_names_before_anything() {
    let cache = Cache::new();
    let path = cache.store.path("smollm2-135m-instruct-q4_1.gguf");
    fs::write(&path, vec![0; 2048]).unwrap();
    let rm = |asked: &[&str]| {
        cache.run(ModelsCommand::Rm {
            names: names(asked),
        })
    };
    let (_, result) = rm(&["smollm2-135m", "nosuch"]);
    let error = result.unwrap_err();
    assert!(
        error.contains("nosuch") && error.contains("qwen2.5-72b"),
        "{error}"
    );
    assert!(path.exists());
    let (text, result) = rm(&["smollm2-135m", "qwen2.5-72b"]);
    result.unwrap();
    assert_eq!(
        text,
        "smollm2-135m: removed, 2 KiB freed\nqwen2.5-72b: nothing to remove\n"
    );
    assert!(!path.exists());
}

#[test]
fn models_are_judged_for_the_machine() {
    let cache = Cache::new();
    let ends = |name, verdict: &str| {
        let line = cache.line(name);
        assert!(line.ends_with(verdict), "{line}");
    };
    ends("qwen2.5-coder-1.5b", "absent          fits");
    ends("qwen2.5-72b", "too slow (predicted)");
    // 18.3 GB less 11 GiB, at the 2 GB/s that are assumed.
    ends(
        "glm-4.7-flash",
        "streams at about 0.31 tokens/s (predicted)",
    );
    let (text, result) = cache.run(ModelsCommand::List);
    result.unwrap();
    assert!(text.contains("Predicted for 12.0 GiB of memory"), "{text}");
    assert!(text.contains("a disk of 2 GB/s (assumed"), "{text}");
    let of_hub = text
        .lines()
        .find(|l| l.starts_with("qwen3.6-35b-a3b"))
        .unwrap();
    assert!(
        of_hub.contains("35B-A3B") && of_hub.contains("Apache-2.0"),
        "{of_hub}"
    );
    assert!(of_hub.contains("about 21 GiB"), "{of_hub}");
}

#[test]
fn a_recommendation_says_why_and_what_to_do_next() {
    let cache = Cache::new();
    let (text, result) = cache.run(ModelsCommand::Recommend);
    result.unwrap();
    assert!(text.starts_with("For 12.0 GiB of memory"), "{text}");
    assert!(
        text.contains("fits in memory and answers quickly"),
        "{text}"
    );
    assert!(text.contains("streamed from the disk"), "{text}");
    assert!(
        text.ends_with("Next: `nmos models pull qwen3-8b`\n"),
        "{text}"
    );
}
