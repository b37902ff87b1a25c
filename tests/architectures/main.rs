//! What every architecture does that the bundled llama.cpp can make, with small models of random
//! weights: it opens, says in memory what llama.cpp says, says the same where its layers stream, and
//! the same after edits as at once; or it is refused in one line.
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

use any::Architectures;
use common::{SMOL, least_in, options, paste};
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use nmos::ggml;
use nmos::ggml::GgmlType;
use nmos::ggml::llama::{Load, load};
use nmos::model::{TextStream, Tokenizer};
use nmos::session::{
    Client, EngineHandle, EngineOptions, Event, Intent, RequestEvent, spawn_with_clock,
};
use nmos::telemetry::Phase;
use nmos::typing::{Clock, Edit, TypingEvent, VirtualClock};
use nmos::units::Bytes;
use serde_json::Value;
use std::any::Any;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tiny_model::{END, Tiny};

/// Tokens of an answer.
const TOKENS: usize = 16;

/// How often a session looks at a text that is not typed on before it surely does nothing with it.
const MOST_LOOKS: usize = 100;

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

/// What was found of an architecture.
enum Found {
    Runs {
        /// Where the memory is short.
        form: &'static str,
        /// The text in memory is llama.cpp's.
        resident: bool,
        /// The text over layers that stream is that in memory.
        streamed: bool,
        /// Answers after edits are those to the same prompts at once.
        edits: bool,
    },
    /// In the program's own words.
    Refused(String),
    /// llama.cpp makes no model of it.
    NotMade(String),
    /// Something that must not be, in the test's words.
    Wrong(String),
}

#[test]
fn every_architecture_does_what_the_table_says() {
    let architectures = Architectures::read();
    let mut names = POPULAR.to_vec();
    names.extend(
        architectures
            .names()
            .into_iter()
            .filter(|name| !POPULAR.contains(name)),
    );
    let only = std::env::var("ARCHITECTURES").unwrap_or_default();
    names.retain(|name| only.is_empty() || only.split(',').any(|part| part == *name));

    ggml::init().unwrap();
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::SeqCst)) {
                    // One that goes wrong hides no other.
                    let found = catch_unwind(AssertUnwindSafe(|| examine(&architectures, name)));
                    let found = found.unwrap_or_else(|panic| Found::Wrong(words(&*panic)));
                    let row = row(name, &found);
                    println!("{row}");
                    rows.lock().unwrap().push(((*name).to_owned(), row));
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    let of = |name: &&str| {
        let (_, row) = rows.iter().find(|(of, _)| of == name).unwrap();
        format!("{row}\n")
    };
    let table = |names: &[&str]| names.iter().map(of).collect::<String>();
    if !only.is_empty() {
        return;
    }
    let (popular, others) = names.split_at(POPULAR.len());
    let untried = architectures.untried().into_iter();
    let untried: String = untried
        .map(|(name, why)| format!("- `{name}`: {why}\n"))
        .collect();
    let found = page(&table(popular), &table(others), &untried);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architectures.md");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(
            found, expected,
            "`make architectures` writes the table again"
        );
    }
    assert_eq!(found.lines().count(), expected.lines().count());
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
(`tests/architectures/main.rs`, a part of `make test`, holds it).

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

fn row(name: &str, found: &Found) -> String {
    let mark = |right: &bool| if *right { "yes" } else { "**no**" };
    match found {
        Found::Runs {
            form,
            resident,
            streamed,
            edits,
        } => format!(
            "| `{name}` | {form} | {} | {} | {} | |",
            mark(resident),
            mark(streamed),
            mark(edits)
        ),
        Found::Refused(why) => format!("| `{name}` | refused | | | | {why} |"),
        Found::Wrong(why) => format!("| `{name}` | **wrong** | | | | {why} |"),
        Found::NotMade(why) => format!("| `{name}` | no model | | | | {why} |"),
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").replace('\n', " ")
}

/// Makes a model and tries it.
fn examine(architectures: &Architectures, name: &str) -> Found {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join(format!("{name}.gguf"));
    match of_our_own(name) {
        Some(tiny) => std::fs::write(&model, tiny.build()).unwrap(),
        None => {
            if let Err(error) = architectures.write(name, &model) {
                let said = error.to_string();
                let (_, why) = said.split_once("load it: ").unwrap();
                return Found::NotMade(why.to_owned());
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
        Err(why) => return Found::Refused(why),
    };
    let whole = match nmos.answer(enough) {
        Ok(answer) => answer,
        Err(why) => return Found::Refused(why),
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
    let by_llama_cpp = llama_cpps(&nmos.model);
    let (typed, at_once) = (edited(&nmos.model, true), edited(&nmos.model, false));
    for (what, a, b) in [
        ("in memory and by llama.cpp", &whole.text, &by_llama_cpp),
        ("in memory and streamed", &whole.text, &part.text),
        ("typed and at once", &typed.join("; "), &at_once.join("; ")),
    ] {
        if a != b {
            println!("{name}, {what}:\n  {a:?}\n  {b:?}");
        }
    }
    Found::Runs {
        form: match plan["llama_cpp_since"] {
            Value::Null => "streamed",
            _ => "hooked",
        },
        resident: whole.text == by_llama_cpp,
        streamed: part.text == whole.text,
        edits: typed == at_once,
    }
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

/// Two turns, and the first prompt once more in a new conversation: typed, with what is typed
/// taken back and changed after the session has worked on it, or at once.
fn edited(model: &Path, typed: bool) -> Vec<String> {
    let clock = Arc::new(VirtualClock::new());
    let options = EngineOptions {
        oracle: model.to_owned(),
        anticipate: typed,
        ctx_tokens: 512,
        threads: 1,
        max_tokens: TOKENS,
        fixed_length: true,
        system: String::new(),
        ..options(SMOL, Bytes::mib(2048))
    };
    let session = Typist {
        engine: spawn_with_clock(options, Arc::<VirtualClock>::clone(&clock)),
        clock,
    };
    let client = session.engine.connect();
    let mut answers = Vec::new();
    for (prompt, is_new) in [(PROMPT, false), (SECOND, false), (PROMPT, true)] {
        if is_new {
            client.send(Intent::NewConversation).unwrap();
        }
        match typed {
            true => session.write_and_change(&client, prompt),
            false => session.tell(&client, paste(prompt)),
        }
        session.tell(&client, Edit::Enter);
        answers.push(answer(&client));
    }
    session.engine.shutdown();
    answers
}

struct Typist {
    engine: EngineHandle,
    clock: Arc<VirtualClock>,
}

impl Typist {
    /// Writes half of `prompt` and something else, takes that back, writes the rest and too much,
    /// and takes that back. After each edit the typist rests until an answer is begun.
    fn write_and_change(&self, client: &Client, prompt: &str) {
        let (half, rest) = prompt.split_at(prompt.len() / 2);
        let edits = [insert(half), insert("no"), Edit::Backspace, Edit::Backspace];
        for edit in edits.into_iter().chain([insert(rest), insert("!?")]) {
            let before = self.edits();
            self.tell(client, edit);
            self.rest(client, before);
        }
        let start = prompt.chars().count();
        let end = start + 2;
        self.tell(client, Edit::Delete { start, end });
    }

    fn tell(&self, client: &Client, edit: Edit) {
        let t_us = self.clock.now_us();
        let event = TypingEvent { t_us, edit };
        client.send(Intent::Typing(event)).unwrap();
    }

    /// Insertions and backspaces that the session has seen.
    fn edits(&self) -> u64 {
        let s = self.engine.hub().snapshot();
        s.cadence.keys + s.cadence.pastes + s.cadence.backspaces
    }

    /// Lets virtual time pass, more than any typist's pause whenever the session shows something
    /// new, until it has seen more edits than `before` and begun an answer to the prompt as it is.
    fn rest(&self, client: &Client, before: u64) {
        let hub = self.engine.hub();
        let has_begun = || {
            let s = hub.snapshot();
            s.phase == Phase::Composing
                && s.prefill.prompt_tokens > 0
                && s.prefill.ready_tokens == s.prefill.prompt_tokens
        };
        let mut looks = 0;
        while self.edits() == before || !has_begun() {
            assert!(!self.engine.has_ended(), "the session ended");
            if hub.snapshot().phase == Phase::Composing {
                looks += 1;
            }
            assert!(looks < MOST_LOOKS, "no answer is begun: {:?}", told(client));
            self.clock.advance(2_000_000);
            hub.changed().recv().unwrap();
        }
    }
}

fn insert(text: &str) -> Edit {
    let (text, paste) = (text.to_owned(), false);
    Edit::Insert { text, paste }
}

/// What a session has told its user so far.
fn told(client: &Client) -> Vec<String> {
    let events = client.events().try_iter();
    let notices = events.filter_map(|event| match event {
        Event::Notice(notice) => Some(notice.to_string()),
        _ => None,
    });
    notices.collect()
}

/// The text of the next answer.
fn answer(client: &Client) -> String {
    loop {
        match client.events().recv().unwrap() {
            Event::Request(_, RequestEvent::Done(stats)) => return stats.text,
            Event::Request(_, RequestEvent::Failed(why)) => panic!("{why}"),
            Event::Fatal(why) => panic!("{why}"),
            _ => {}
        }
    }
}
