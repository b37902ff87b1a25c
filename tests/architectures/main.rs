//! What every architecture does that the bundled llama.cpp can make, with small models of random
//! weights: it opens, says in memory what llama.cpp says, says the same where its layers stream, and
//! the same after edits as at once; or it is refused in one line. Anything else fails.
//!
//! `docs/architectures.md` is the table of that, and what is expected here: `make architectures`
//! writes it again, and the difference is reviewed.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

mod any;
#[path = "../support/common.rs"]
mod common;
#[path = "../support/gguf_builder.rs"]
mod gguf_builder;
#[path = "../support/tiny_model.rs"]
mod tiny_model;
mod typist;

use any::Architectures;
use common::least_in;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use nmos::ggml;
use nmos::ggml::GgmlType;
use nmos::ggml::llama::{Load, load};
use nmos::model::{TextStream, Tokenizer};
use nmos::units::Bytes;
use serde_json::Value;
use std::any::Any;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tiny_model::{END, Tiny};
use typist::edited;

/// Tokens of an answer.
const TOKENS: usize = 16;

/// Longer than the windows of the models.
const PROMPT: &str = "hello, hello: a prompt that is longer than a window";
const SECOND: &str = "and one more";

/// What people run: the table's first part.
const POPULAR: [&str; 12] = [
    "llama",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "qwen35",
    "qwen35moe",
    "gemma3",
    "gemma4",
    "gpt-oss",
    "phi3",
    "glm4moe",
    "deepseek2",
];

/// Tried in every run of the tests, with those above: states, windows, latent attention and mixtures
/// of all kinds. The rest is tried where the page is made.
const OTHERS: [&str; 12] = [
    "bailingmoe3",
    "cohere2",
    "deepseek32",
    "dream",
    "falcon-h1",
    "granitehybrid",
    "kimi-linear",
    "lfm2moe",
    "mamba2",
    "nemotron_h_moe",
    "rwkv7",
    "step35",
];

/// What is to be tried of an architecture.
enum Tried {
    /// It runs, and all texts are equal: in this form where the memory is short.
    Runs(&'static str),
    /// In the program's own words.
    Refused(String),
    /// llama.cpp makes no model of it.
    NotMade(String),
}

/// `ARCHITECTURES` names those to try; with `all` of them the page is written again.
#[test]
fn architectures_do_what_the_table_says() {
    let architectures = Architectures::read();
    let all = architectures.names();
    let asked = std::env::var("ARCHITECTURES").unwrap_or_default();
    let names: Vec<&str> = match asked.as_str() {
        "" => POPULAR.into_iter().chain(OTHERS).collect(),
        "all" => {
            let others = all.iter().copied().filter(|name| !POPULAR.contains(name));
            POPULAR.into_iter().chain(others).collect()
        }
        some => some.split(',').collect(),
    };
    let rows = try_all(&architectures, &names);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architectures.md");
    if asked == "all" {
        let (popular, others) = rows.split_at(POPULAR.len());
        let untried = architectures.untried().into_iter();
        let untried: String = untried
            .map(|(name, why)| format!("- `{name}`: {why}\n"))
            .collect();
        let page = page(&popular.concat(), &others.concat(), &untried);
        std::fs::write(&path, page).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    for row in rows {
        assert!(page.contains(&row), "the table has another row than {row}");
    }
}

/// The rows of these architectures, in order. Two are tried at once: most of it is the start of
/// processes.
fn try_all(architectures: &Architectures, names: &[&str]) -> Vec<String> {
    ggml::init().unwrap();
    let (next, tried) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::SeqCst)) {
                    // One that goes wrong hides no other.
                    let done = catch_unwind(AssertUnwindSafe(|| try_out(architectures, name)));
                    let row = done.map(|tried| row(name, &tried));
                    tried
                        .lock()
                        .unwrap()
                        .push((*name, row.map_err(|why| words(&*why))));
                }
            });
        }
    });
    let tried = tried.into_inner().unwrap();
    let wrong = tried
        .iter()
        .filter_map(|(name, row)| Some((name, row.as_ref().err()?)));
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let row_of = |name: &&str| {
        let found = tried.iter().find(|(of, _)| of == name);
        found.and_then(|(_, row)| row.clone().ok()).unwrap()
    };
    names.iter().map(row_of).collect()
}

/// The page of the documentation.
fn page(popular: &str, others: &str, untried: &str) -> String {
    const HEAD: &str = "\
        | architecture | form | in memory as llama.cpp | streamed as in memory \
        | after edits as at once | why not |\n|---|---|---|---|---|---|\n";
    format!(
        "\
# Architectures

What NMOS does with every architecture that the bundled llama.cpp can make a model of. Each was
tried with a small model of random weights, which depends on all that its file says; nothing here
says how well or how fast a real model answers. `make architectures` makes this page
(`tests/architectures`; a part of it is tried in every `make test`).

- **in memory as llama.cpp**: `nmos run` says, token by token, what llama.cpp by itself chooses.
- **streamed as in memory**: it says the same with so little `--ram` that layers are read from disk
  in every pass. Form `streamed` is NMOS's own graph, `hooked` llama.cpp's (`docs/architecture.md`).
- **after edits as at once**: a session that works while a prompt is typed and changed, over two
  turns and a new conversation, gives the answers of one that begins at Enter.

## What people run

{HEAD}{popular}
## All others

{HEAD}{others}
## Not tried

{untried}"
    )
}

fn row(name: &str, tried: &Tried) -> String {
    match tried {
        Tried::Runs(form) => format!("| `{name}` | {form} | yes | yes | yes | |\n"),
        Tried::Refused(why) => format!("| `{name}` | refused | | | | {why} |\n"),
        Tried::NotMade(why) => format!("| `{name}` | no model | | | | {why} |\n"),
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").replace('\n', " ")
}

/// Makes a model and tries it.
///
/// # Panics
/// Where texts differ that must not.
fn try_out(architectures: &Architectures, name: &str) -> Tried {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join(format!("{name}.gguf"));
    match of_our_own(name) {
        Some(tiny) => std::fs::write(&model, tiny.build()).unwrap(),
        None => {
            if let Err(error) = architectures.write(name, &model) {
                let said = error.to_string();
                let (_, why) = said.split_once("load it: ").unwrap();
                return Tried::NotMade(why.to_owned());
            }
        }
    }
    let nmos = Nmos {
        home: dir.path().to_owned(),
        model,
    };
    let enough = Bytes::mib(1024);
    let plan = match nmos.json(&["plan", "--json"], enough) {
        Ok(plan) => plan,
        Err(why) => return Tried::Refused(why),
    };
    let whole = match nmos.answer(enough) {
        Ok(answer) => answer,
        Err(why) => return Tried::Refused(why),
    };
    let least = match nmos.answer(Bytes::mib(1)) {
        Err(why) => least_in(&why),
        Ok(_) => panic!("{name}: one MiB is not enough"),
    };
    let (little, part) = nmos.in_little(least);
    assert!(
        part.bytes_read > whole.bytes_read,
        "{little} is enough for all of its layers: {} bytes read, {:?}",
        part.bytes_read,
        part.text
    );
    assert_eq!(
        whole.text,
        llama_cpps(&nmos.model),
        "in memory and by llama.cpp"
    );
    assert_eq!(part.text, whole.text, "streamed and in memory");
    let (typed, at_once) = (edited(&nmos.model, true), edited(&nmos.model, false));
    assert_eq!(typed, at_once, "typed and at once");
    Tried::Runs(match plan["llama_cpp_since"] {
        Value::Null => "streamed",
        _ => "hooked",
    })
}

/// The likeness of an architecture that NMOS has a graph of its own for: llama.cpp would add
/// tensors that published models of it do not have.
fn of_our_own(name: &str) -> Option<Tiny> {
    let tiny = [Tiny::default(), Tiny::qwen2(), Tiny::qwen3()];
    let tiny = tiny.into_iter().find(|tiny| tiny.arch == name)?;
    Some(Tiny {
        layers: 8,
        width: 128,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        ff: 768,
        ty: GgmlType::F32,
        finer_ty: GgmlType::F32,
        more: |b| b.text("tokenizer.chat_template", ""),
        ..tiny
    })
}

/// The program, in processes of its own, over a model.
struct Nmos {
    home: PathBuf,
    model: PathBuf,
}

/// What `nmos run` gave.
struct Answer {
    text: String,
    bytes_read: u64,
}

impl Nmos {
    fn answer(&self, ram: Bytes) -> Result<Answer, String> {
        let tokens = TOKENS.to_string();
        let run = ["run", "--json", "--system", "", "-n", &tokens, PROMPT];
        let stats = self.json(&run, ram)?;
        Ok(Answer {
            text: stats["text"].as_str().unwrap().to_owned(),
            bytes_read: stats["bytes_read"].as_u64().unwrap(),
        })
    }

    /// The answer in the least memory that is not refused. The `least` that a message names is more:
    /// it leaves memory for what differs from run to run, which here is enough for all layers.
    fn in_little(&self, least: Bytes) -> (Bytes, Answer) {
        const STEP: Bytes = Bytes(Bytes::MIB / 2);
        let first = least.0.saturating_sub(Bytes::mib(18).0);
        let tried = (first..).step_by(STEP.0 as usize).map(Bytes);
        let answers = tried.map(|ram| (ram, self.answer(ram)));
        let mut answers = answers.take_while(|(ram, _)| *ram < least);
        let found = answers.find_map(|(ram, answer)| Some((ram, answer.ok()?)));
        found.unwrap_or_else(|| panic!("{}: less than {least} is refused", self.model.display()))
    }

    /// What a command prints; or else the line in which it says why not.
    fn json(&self, arguments: &[&str], ram: Bytes) -> Result<Value, String> {
        let output = self.output(arguments, ram);
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let lines: Vec<_> = said.lines().collect();
        let [line] = lines[..] else {
            panic!("{arguments:?}: {said}");
        };
        let path = format!("{}: ", self.model.display());
        let (_, why) = line.split_once(&path).unwrap_or(("", line));
        // The rest is the same for all.
        let (why, _) = why
            .split_once(". NMOS itself computes")
            .unwrap_or((why, ""));
        let why = why
            .split_once(" (llama.cpp was asked")
            .map_or(why, |(why, _)| why);
        Err(why.to_owned())
    }

    fn output(&self, arguments: &[&str], ram: Bytes) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nmos"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("NMOS_") || text.starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .arg("--oracle")
            .arg(&self.model)
            .args(["--draft", "none", "--scout", "none", "--vram", "0"])
            .args(["--threads", "1", "--ctx", "256"])
            .args(["--ram", &format!("{}KiB", ram.0 >> 10)])
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// What llama.cpp chooses by itself, token after token.
fn llama_cpps(path: &Path) -> String {
    let backend = ggml::init().unwrap();
    let model = LlamaModel::load_from_file(backend, path, &LlamaModelParams::default()).unwrap();
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(256))
        .with_n_threads(1)
        .with_n_threads_batch(1);
    let mut context = model.new_context(backend, params).unwrap();
    let tokenizer = Tokenizer::of(load(path, Load::Vocabulary).unwrap());
    let mut fresh: Vec<i32> = tokenizer.begin().into_iter().map(|token| token.0).collect();
    fresh.extend(tokenizer.text(PROMPT).unwrap().iter().map(|token| token.0));
    let (mut text, mut stream) = (String::new(), TextStream::default());
    let mut position = 0;
    for _ in 0..TOKENS {
        let mut batch = LlamaBatch::new(256, 1);
        for (i, &token) in fresh.iter().enumerate() {
            let last = i + 1 == fresh.len();
            batch.add(LlamaToken(token), position, &[0], last).unwrap();
            position += 1;
        }
        context.decode(&mut batch).unwrap();
        let logits = context.get_logits_ith(batch.n_tokens() - 1);
        let numbered = logits.iter().enumerate().filter(|(_, x)| x.is_finite());
        let (best, _) = numbered.max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        if best == END {
            break;
        }
        fresh = vec![best as i32];
        text += &stream.push(&tokenizer.bytes(nmos::units::TokenId(best as i32)));
    }
    text + &stream.finish()
}
