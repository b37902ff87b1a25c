//! Files, names and options of every sort, as the executable takes them: each with a model of a
//! few kilobytes that the test writes.

use crate::gguf_builder::Builder;
use crate::program;
use crate::tiny_model::{self, Tiny};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder for models, which is a home as well.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(Path::new(name.as_ref()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn nmos(&self) -> Command {
        program::nmos(self.0.path())
    }

    /// A greedy answer of a few tokens.
    fn run(&self, oracle: &Path, more: &[&str]) -> Output {
        let mut command = self.nmos();
        command.arg("run").arg("--oracle").arg(oracle);
        command.args(["--draft", "none", "--ram", "1GiB"]);
        if !more.contains(&"-n") {
            command.args(["-n", "4"]);
        }
        command.args(more).arg("hello").output().unwrap()
    }
}

fn good(output: &Output) -> (Vec<u8>, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (output.stdout.clone(), said)
}

/// The file in two parts: the metadata, and all tensors in the second.
fn split(tiny: &Tiny) -> [Vec<u8>; 2] {
    let part = |number: u16, b: Builder| {
        b.u16("split.no", number)
            .u16("split.count", 2)
            .i32("split.tensors.count", tiny.n_tensors() as i32)
    };
    let first = tiny.first_part(|b| part(0, b));
    let second = tiny.second_part(part(1, Builder::default()));
    [first, second]
}

#[test]
fn any_part_opens_a_split_model() {
    let place = Place::new();
    let tiny = Tiny::default();
    let whole = place.write("whole.gguf", &tiny.build());
    let [first, second] = split(&tiny);
    let first = place.write("m-00001-of-00002.gguf", &first);
    let second = place.write("m-00002-of-00002.gguf", &second);
    let (answer, _) = good(&place.run(&whole, &[]));
    assert!(!answer.is_empty());
    for part in [&first, &second] {
        assert_eq!(good(&place.run(part, &[])).0, answer, "{}", part.display());
        let plan = place
            .nmos()
            .args(["plan", "--draft", "none", "--oracle"])
            .arg(part)
            .output();
        good(&plan.unwrap());
    }
    // As a draft of itself, by its second part.
    let mut drafted = place.nmos();
    drafted
        .args(["run", "-n", "4", "--ram", "1GiB", "hello", "--oracle"])
        .arg(&second);
    let drafted = drafted.arg("--draft").arg(&second).output().unwrap();
    assert_eq!(good(&drafted).0, answer);
    std::fs::remove_file(&first).unwrap();
    let alone = place.run(&second, &[]);
    assert_eq!(alone.status.code(), Some(1));
    let said = String::from_utf8(alone.stderr).unwrap();
    assert!(said.contains("m-00001-of-00002.gguf"), "{said}");
}

#[test]
fn a_path_need_not_be_utf_8() {
    let place = Place::new();
    let bytes = Tiny::default().build();
    let plain = place.write("plain.gguf", &bytes);
    let strange = place.write(OsStr::from_bytes(b"m\xff\xfe.gguf"), &bytes);
    let (answer, _) = good(&place.run(&plain, &[]));
    assert_eq!(good(&place.run(&strange, &[])).0, answer);
    let mut by_variable = place.nmos();
    by_variable
        .env("NMOS_ORACLE", &strange)
        .env("NMOS_DRAFT", &strange);
    by_variable.args(["run", "-n", "4", "--ram", "1GiB", "hello"]);
    assert_eq!(good(&by_variable.output().unwrap()).0, answer);
    let mut plan = place.nmos();
    plan.args(["plan", "--json", "--draft", "none", "--oracle"])
        .arg(&strange);
    let (json, _) = good(&plan.output().unwrap());
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let path = json["model"]["path"].as_str().unwrap();
    assert!(path.ends_with("m\u{fffd}\u{fffd}.gguf"), "{path}");
}

#[test]
fn what_a_file_says_reaches_no_terminal_as_a_command() {
    let place = Place::new();
    let named = |name: &[u8]| {
        let mut entry = (name.len() as u64).to_le_bytes().to_vec();
        entry.extend(name);
        entry
    };
    let bytes = Tiny::default().build_with(|b| {
        b.raw(
            "general.name",
            8,
            &named(b"evil\x1b]0;title\x07\x1b[2J\xc2\x9b1m name"),
        )
    });
    let model = place.write("evil.gguf", &bytes);
    let plan = |more: &[&str]| {
        let mut plan = place.nmos();
        plan.args(["plan", "--draft", "none", "--oracle"])
            .arg(&model)
            .args(more);
        String::from_utf8(good(&plan.output().unwrap()).0).unwrap()
    };
    let text = plan(&[]);
    assert!(
        text.starts_with("evil]0;title[2J1m name: llama"),
        "{text:?}"
    );
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    // JSON has them, escaped.
    let json: serde_json::Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    let name = json["model"]["name"].as_str().unwrap();
    assert!(name.contains("\u{1b}]0;title\u{7}"), "{name:?}");
    let tensor = Tiny::default()
        .build_with(|b| b.tensor_of("blk.0.\u{1b}[31m", 0, &[1], tiny_model::floats([1.0])));
    let refused = place.run(&place.write("tensor.gguf", &tensor), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("blk.0.[31m") && !said.contains('\u{1b}'),
        "{said:?}"
    );
}

#[test]
fn a_name_that_is_not_utf_8_is_no_damage() {
    let place = Place::new();
    let latin = [4u64.to_le_bytes().as_slice(), b"caf\xe9"].concat();
    let bytes = Tiny::default().build_with(|b| b.raw("general.name", 8, &latin));
    let named = place.write("latin.gguf", &bytes);
    let plain = place.write("plain.gguf", &Tiny::default().build());
    let (answer, _) = good(&place.run(&plain, &[]));
    assert_eq!(good(&place.run(&named, &[])).0, answer);
}

#[test]
fn there_are_no_more_threads_than_cores_and_it_is_said() {
    let place = Place::new();
    let model = place.write("m.gguf", &Tiny::default().build());
    let cores = std::thread::available_parallelism().unwrap().get();
    let (answer, said) = good(&place.run(&model, &[]));
    assert!(!said.contains("threads"), "{said}");
    let (same, said) = good(&place.run(&model, &["--threads", "1000"]));
    assert_eq!(same, answer);
    let notice = format!("note: 1000 threads are taken down to {cores}, ");
    assert_eq!(said.matches(&notice).count(), 1, "{said}");
    let mut plan = place.nmos();
    plan.args(["plan", "--threads", "1000", "--draft", "none", "--oracle"])
        .arg(&model);
    let (_, said) = good(&plan.output().unwrap());
    assert_eq!(said.matches(&notice).count(), 1, "{said}");
}

#[test]
fn a_mark_before_the_prompt_is_no_part_of_it() {
    let place = Place::new();
    let model = place.write("m.gguf", &Tiny::default().build());
    let tokens = |prompt: &[u8]| {
        let mut command = place.nmos();
        command.args([
            "run", "--json", "--draft", "none", "--ram", "1GiB", "-n", "1", "-",
        ]);
        command.arg("--oracle").arg(&model);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(prompt).unwrap();
        let (json, _) = good(&child.wait_with_output().unwrap());
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(b"\xef\xbb\xbfhello\n"), tokens(b"hello"));
}

#[test]
fn an_answer_that_the_context_cuts_off_says_so() {
    let place = Place::new();
    // A vocabulary without an end: nothing else ends an answer.
    let model = place.write("m.gguf", &Tiny::default().build());
    let cut = place.run(&model, &["--ctx", "256", "-n", "5000"]);
    let (_, said) = good(&cut);
    let json = place.run(&model, &["--ctx", "256", "-n", "5000", "--json"]);
    let (json, quiet) = good(&json);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["end"], "context_full", "{json}");
    let note = "the answer is cut off: with the prompt it fills the context of 256 tokens";
    assert_eq!(said.matches(note).count(), 1, "{said}");
    assert!(!quiet.contains("cut off"), "{quiet}");
}

#[test]
fn only_what_has_not_been_done_is_advised_where_memory_is_short() {
    let place = Place::new();
    let model = place.write("m.gguf", &Tiny::default().build());
    let mut command = place.nmos();
    let options = [
        "run", "hi", "--draft", "none", "--ram", "1MiB", "--tree", "1", "--ctx", "256",
    ];
    command.args(options).arg("--oracle").arg(&model);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("give more with --ram"), "{said}");
    for done in ["--draft", "--ctx", "--tree"] {
        assert!(!said.contains(done), "{said}");
    }
}

#[test]
fn run_and_plan_say_why_llama_cpps_graph_computes() {
    let place = Place::new();
    let bytes = Tiny::default().build_with(|b| b.f32("llama.rope.scale_linear", 4.0));
    let model = place.write("m.gguf", &bytes);
    let mut plan = place.nmos();
    plan.args(["plan", "--json", "--draft", "none", "--oracle"])
        .arg(&model);
    let (json, _) = good(&plan.output().unwrap());
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let why = json["llama_cpp_since"].as_str().unwrap();
    assert!(why.contains("llama.rope.scale_linear"), "{why}");
}
