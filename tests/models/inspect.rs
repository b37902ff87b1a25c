//! `nmos models inspect`: what a file is, told to people in 80 columns and to scripts by name.

use crate::gguf_builder::Builder;
use crate::tiny_model::{Tiny, VOCAB};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn inspect(&self, file: &Path, more: &[&str]) -> Output {
        let mut nmos = Command::new(env!("CARGO_BIN_EXE_nmos"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("NMOS_") || text.starts_with("XDG_") {
                nmos.env_remove(name);
            }
        }
        nmos.args(["models", "inspect"]).arg(file).args(more);
        nmos.args(["--ram", "1GiB", "--vram", "0", "--threads", "1"]);
        nmos.env("HOME", self.0.path()).stdin(Stdio::null());
        nmos.output().unwrap()
    }

    fn text(&self, file: &Path, more: &[&str]) -> String {
        let output = self.inspect(file, more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines().skip(2) {
            assert!(line.chars().count() <= 80, "{line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
        text
    }

    fn json(&self, file: &Path) -> Value {
        let output = self.inspect(file, &["--json", "--tensors"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'system' %}S:{{ m.content }}{% else %}{{ m.role }}:{{ m.content.split('</think>')[-1] }}{% endif %}</s>{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}assistant:{% endif %}";

fn named(b: Builder) -> Builder {
    b.text("general.name", "A \x1b[31mtiny\x1b[0m model")
        .u32("general.file_type", 15)
        .text("tokenizer.chat_template", TEMPLATE)
        .text("tokenizer.chat_template.tool_use", TEMPLATE)
        .text("llama.rope.scaling.type", "linear")
        .f32("llama.rope.scaling.factor", 4.0)
}

#[test]
fn what_turning_thinking_off_does_is_said() {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/templates");
    for (name, says) in [
        ("gpt-oss", "kept short by --think off"),
        ("qwen3", "turned off by --think off"),
        ("deepseek-r1", "cannot be turned off"),
    ] {
        let template = std::fs::read_to_string(folder.join(format!("{name}.jinja")));
        let template = template.expect(name);
        let with = |b: Builder| b.text("tokenizer.chat_template", &template);
        let path = place.write("tiny.gguf", &Tiny::default().build_with(with));
        let text = place.text(&path, &[]);
        let words: Vec<_> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(says), "{says}:\n{text}");
    }
}

#[test]
fn everything_is_said_in_lines_of_80_columns() {
    let place = Place::new();
    let path = place.write("tiny.gguf", &Tiny::default().build_with(named));
    let text = place.text(&path, &[]);
    for says in [
        "A [31mtiny[0m model\n",
        "architecture    llama, 2 layers",
        "parameters      ",
        ", Q4_K_M, ",
        "context         2,048 tokens, positions scaled: linear by 4",
        "vocabulary      288 tokens, SentencePiece",
        "bos \"<s>\" (1)",
        "chat template   the model's own",
        "others that are not used: tool_use",
        "system text: yes, tools: yes",
        "between \"<think>\" and \"</think>\"",
        "answers end at  \"</s>\" (2)",
        "on this machine resident in 1.00 GiB of memory",
        "by NMOS's own graph",
        "attention ",
        "feed-forward ",
        "the largest of 21 tensors",
        "token_embd.weight",
    ] {
        assert!(text.contains(says), "{says}:\n{text}");
    }
    assert!(!text.contains("blk.1.ffn_norm.weight"), "{text}");
    let all = place.text(&path, &["--tensors"]);
    assert!(
        all.contains("blk.1.ffn_norm.weight") && all.contains("\n21 tensors"),
        "{all}"
    );
}

#[test]
fn scripts_find_it_by_these_names() {
    let place = Place::new();
    let json = place.json(&place.write("tiny.gguf", &Tiny::default().build_with(named)));
    let names: Vec<_> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut wanted = vec![
        "path",
        "name",
        "architecture",
        "not_a_model",
        "layers",
        "files",
        "file_bytes",
        "file_type",
        "weights",
        "context",
        "vocabulary",
        "prompts",
        "on_this_machine",
    ];
    wanted.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, wanted);
    assert_eq!(json["name"], "A \u{1b}[31mtiny\u{1b}[0m model");
    let weights = &json["weights"];
    let sum = |list: &str, field: &str| -> u64 {
        let list = weights[list].as_array().unwrap();
        list.iter().map(|of| of[field].as_u64().unwrap()).sum()
    };
    for list in ["types", "groups", "tensors"] {
        assert_eq!(
            sum(list, "bytes"),
            weights["bytes"].as_u64().unwrap(),
            "{list}"
        );
    }
    assert_eq!(
        sum("groups", "parameters"),
        weights["parameters"].as_u64().unwrap()
    );
    assert_eq!(weights["active_parameters"], Value::Null);
    assert_eq!(weights["tensors"].as_array().unwrap().len(), 21);
    assert_eq!(json["vocabulary"]["tokens"], VOCAB);
    assert_eq!(json["vocabulary"]["padding"], VOCAB - 264);
    assert_eq!(json["context"]["rope_scaling"]["factor"], 4.0);
    assert_eq!(json["prompts"]["own_template"], true);
    assert_eq!(json["prompts"]["ends"][0]["id"], 2);
    assert_eq!(json["on_this_machine"]["form"], "resident");
    assert_eq!(json["on_this_machine"]["refused"], Value::Null);
}

#[test]
fn a_model_that_llama_cpp_computes_says_why() {
    let place = Place::new();
    let bytes = Tiny::default().build_with(|b| b.f32("llama.rope.scale_linear", 4.0));
    let json = place.json(&place.write("tiny.gguf", &bytes));
    let why = json["on_this_machine"]["llama_cpp_since"].as_str().unwrap();
    assert!(why.contains("llama.rope.scale_linear"), "{why}");
}

#[test]
fn a_token_of_a_mixture_uses_some_of_its_parameters() {
    let place = Place::new();
    let bytes = Tiny::default().build_with(|b| {
        b.u32("llama.expert_count", 8)
            .u32("llama.expert_used_count", 2)
            .tensor("blk.0.ffn_up_exps.weight", 0, &[64, 96, 8], 64 * 96 * 8 * 4)
    });
    let json = place.json(&place.write("tiny.gguf", &bytes));
    let weights = &json["weights"];
    let (all, active) = (&weights["parameters"], &weights["active_parameters"]);
    let unused = 64 * 96 * 6;
    assert_eq!(active.as_u64().unwrap() + unused, all.as_u64().unwrap());
}

#[test]
fn what_does_not_run_is_described_all_the_same() {
    let place = Place::new();
    let lora = Builder::model().text("general.type", "adapter").tensor(
        "blk.0.attn_q.weight.lora_a",
        0,
        &[16],
        64,
    );
    let text = place.text(&place.write("lora.gguf", &lora.build()), &[]);
    assert!(text.contains("this is         a LoRA adapter"), "{text}");
    let unknown = Tiny {
        arch: "never-heard-of",
        ..Tiny::default()
    };
    let path = place.write("unknown.gguf", &unknown.build());
    let json = place.json(&path);
    let refused = json["on_this_machine"]["refused"].as_str().unwrap();
    assert!(refused.contains("never-heard-of"), "{refused}");
    assert_eq!(json["prompts"], Value::Null);
    assert_eq!(json["vocabulary"]["tokens"], VOCAB);
    let text = place.text(&path, &[]);
    assert!(text.contains("on this machine does not run: "), "{text}");
    let missing = place.inspect(Path::new("/no/such.gguf"), &[]);
    assert_eq!(missing.status.code(), Some(1));
}
