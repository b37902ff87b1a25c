//! llama.cpp's graph over weights that stream: the same bits as over weights that are there.

use crate::common::{
    self, DRAFT, GEMMA, layer_oracle, llama_oracle, max_diff, model, rows, same_bits, tokens,
};
use nmos::ggml::bare::BareModel;
use nmos::io::{BlockIo, BlockReader, Completion, PreadReader, ReadRequest};
use nmos::model::{Gguf, Outline};
use nmos::oracle::{
    HookedOptions, LlamaOracle, Oracle, OracleError, TokenTree, TreeNode, WidthClass,
};
use nmos::river::{Plan, ReadSizes, Reads, catalogue_by_layer};
use nmos::system;
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A hooked oracle with this much memory for layers.
fn hooked_with(io: Box<BlockReader>, file: &str, layer_bytes: Bytes) -> LlamaOracle {
    let gguf = Gguf::open(&model(file)).unwrap();
    let mut outline = Outline::from_gguf(&gguf).unwrap();
    let bare = BareModel::open(gguf.path()).unwrap();
    outline.retain(|name| bare.find(name).is_some());
    let options = HookedOptions {
        max_nodes: WidthClass::WIDE.max,
        ctx_tokens: 2048,
        threads: 2,
        plan: Plan::new(&catalogue_by_layer(&outline.layers), layer_bytes).unwrap(),
        experts: None,
        read_sizes: ReadSizes::default(),
    };
    let bytes = options.read_sizes.bytes;
    LlamaOracle::hooked_with(
        Reads { io, bytes },
        bare,
        &gguf,
        &outline,
        options,
        &Hub::new(),
    )
    .unwrap()
}

fn hooked(file: &str, layer_bytes: Bytes) -> LlamaOracle {
    let oracle = hooked_with(nmos::io::open_reader(8), file, layer_bytes);
    let plan = oracle.plan().unwrap();
    assert!(oracle.streams());
    assert!(plan.pinned.iter().any(|p| *p) && plan.pinned.iter().any(|p| !p));
    oracle
}

/// Token numbers from `first` on, far apart.
fn some(first: i32, n: i32) -> Vec<TokenId> {
    tokens(&(0..n).map(|i| first + i * 37).collect::<Vec<_>>())
}

/// Chains of several widths and a tree, with all their logits the same.
fn compare(file: &str, layer_bytes: Bytes) {
    let (mut ours, mut theirs) = (hooked(file, layer_bytes), llama_oracle(file, true));
    let same = |what: &str, a: &[f32], b: &[f32]| {
        assert!(
            same_bits(a, b),
            "{file}, {what}: differs by {}",
            max_diff(a, b)
        );
    };
    for (prompt, width) in [(some(2, 1), 8), (some(100, 70), 63), (some(5000, 20), 13)] {
        let (a, b) = (
            rows(&mut ours, &prompt, width),
            rows(&mut theirs, &prompt, width),
        );
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            same(&format!("token {at} at width {width}"), a, b);
        }
    }
    let fork = {
        let mut tree = TokenTree::new();
        for (i, token) in some(900, 7).into_iter().enumerate() {
            let (parent, logits) = (i.checked_sub(2), i > 4);
            tree.push(TreeNode {
                token,
                parent,
                logits,
            });
        }
        tree
    };
    let a = ours.pass(&fork, WidthClass::BATCH).unwrap();
    let b = theirs.pass(&fork, WidthClass::BATCH).unwrap();
    for node in 5..7 {
        let (a, b) = (a.logits.of(node).unwrap(), b.logits.of(node).unwrap());
        same(&format!("node {node}"), a, b);
    }
    // Without any logits the graph is a shorter one.
    let silent = TokenTree::chain(&some(40, 9), 9);
    ours.pass(&silent, WidthClass::BATCH).unwrap();
    theirs.pass(&silent, WidthClass::BATCH).unwrap();
    let one = TokenTree::chain(&some(7, 1), 0);
    let a = ours.pass(&one, WidthClass::NARROW).unwrap();
    let b = theirs.pass(&one, WidthClass::NARROW).unwrap();
    same(
        "a single token",
        a.logits.of(0).unwrap(),
        b.logits.of(0).unwrap(),
    );
}

#[test]
fn gemma_computes_the_same_bits_as_in_memory() {
    let _turn = common::turn();
    compare(GEMMA, Bytes::mib(24));
}

#[test]
fn qwen_computes_the_same_bits_as_in_memory_and_nearly_those_of_our_graph() {
    let _turn = common::turn();
    compare(DRAFT, Bytes::mib(80));
    let prompt = some(300, 40);
    let a = rows(&mut hooked(DRAFT, Bytes::mib(80)), &prompt, 40);
    let b = rows(&mut layer_oracle(DRAFT, Bytes::mib(1024)), &prompt, 40);
    let worst = a.iter().zip(&b).map(|(a, b)| max_diff(a, b));
    let worst = worst.fold(0.0, f32::max);
    println!("hooked and layer by layer differ by at most {worst:e}");
    assert!(worst < 1e-3, "{worst}");
}

#[test]
fn a_pass_reads_what_the_plan_says() {
    let _turn = common::turn();
    let mut oracle = hooked(GEMMA, Bytes::mib(24));
    let planned = oracle.plan().unwrap().streamed_bytes as f64;
    let tree = TokenTree::chain(&some(100, 1), 0);
    let mut pass = || {
        oracle.pass(&tree, WidthClass::BATCH).unwrap();
        (oracle.bytes_read(), system::disk_read_bytes().unwrap())
    };
    pass();
    let first = pass();
    const PASSES: u32 = 12;
    let last = (0..PASSES).map(|_| pass()).last().unwrap();
    let counted = (last.0 - first.0) as f64 / f64::from(PASSES);
    let measured = (last.1 - first.1) as f64 / f64::from(PASSES);
    println!("a pass: planned {planned}, counted {counted}, read from disk {measured}");
    assert!((counted / planned - 1.0).abs() < 0.02);
    assert!((measured / planned - 1.0).abs() < 0.02);
}

/// Reads as ever, or not at all.
struct Switched {
    plain: PreadReader,
    broken: Arc<AtomicBool>,
}

impl BlockIo<ReadRequest> for Switched {
    fn depth(&self) -> usize {
        self.plain.depth()
    }

    fn in_flight(&self) -> usize {
        self.plain.in_flight()
    }

    fn submit(&mut self, request: ReadRequest) -> io::Result<()> {
        self.plain.submit(request)
    }

    fn complete(&mut self) -> io::Result<Completion> {
        let mut done = self.plain.complete()?;
        if self.broken.load(Ordering::SeqCst) {
            done.result = Err(io::Error::from_raw_os_error(5));
        }
        Ok(done)
    }

    fn name(&self) -> &'static str {
        "switched"
    }
}

#[test]
fn a_failed_read_ends_the_pass_and_the_next_one_goes_on_from_there() {
    let _turn = common::turn();
    let broken = Arc::new(AtomicBool::new(false));
    let reader = Switched {
        plain: PreadReader::default(),
        broken: Arc::clone(&broken),
    };
    let mut oracle = hooked_with(Box::new(reader), GEMMA, Bytes::mib(24));
    let mut undisturbed = llama_oracle(GEMMA, true);
    let (prompt, next) = (some(100, 20), some(4000, 10));
    rows(&mut oracle, &prompt, 20);
    rows(&mut undisturbed, &prompt, 20);

    broken.store(true, Ordering::SeqCst);
    let tree = TokenTree::chain(&next, 0);
    for _ in 0..3 {
        // What had arrived before it broke is not enough for a pass.
        let error = oracle.pass(&tree, WidthClass::BATCH).unwrap_err();
        assert!(matches!(error, OracleError::Weights(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(GEMMA), "{text}");
        assert!(text.contains("Input/output error"), "{text}");
        assert_eq!(oracle.len(), prompt.len());
    }
    broken.store(false, Ordering::SeqCst);
    let (a, b) = (
        rows(&mut oracle, &next, 10),
        rows(&mut undisturbed, &next, 10),
    );
    for (a, b) in a.iter().zip(&b) {
        assert!(same_bits(a, b), "differs by {}", max_diff(a, b));
    }
}

/// `nmos` on Gemma, in a process of its own: what this one holds counts as the program's memory, and
/// tests before have left some.
fn nmos(command: &[&str], ram: Bytes) -> std::process::Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_nmos"))
        .args(command)
        .args(["--json", "--ctx", "1024", "--threads", "2", "--oracle"])
        .arg(model(GEMMA))
        .args(["--draft", "none", "--ram", &ram.0.to_string()])
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn run(ram: Bytes) -> std::process::Output {
    nmos(&["run", "-n", "12", "Count from one to thirty."], ram)
}

/// What `nmos plan` says of this memory.
fn form(ram: Bytes) -> serde_json::Value {
    let plan: serde_json::Value = serde_json::from_slice(&nmos(&["plan"], ram).stdout).unwrap();
    plan["form"].clone()
}

#[test]
fn a_session_takes_this_form_by_itself_and_stays_within_its_budget() {
    let _turn = common::turn();
    let refused = String::from_utf8(run(Bytes::mib(1)).stderr).unwrap();
    let least = common::least_in(&refused);
    let ram = Bytes(least.0 + Bytes::mib(8).0);
    assert_eq!(form(ram), "hooked");
    let gguf = Gguf::open(&model(GEMMA)).unwrap();
    let outline = Outline::from_gguf(&gguf).unwrap();
    let layers = catalogue_by_layer(&outline.layers);
    let layers: usize = layers.iter().map(|shard| shard.bytes).sum();
    let layers = layers as u64;
    let output = run(ram);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let peak = stats["rss_peak_bytes"].as_u64().unwrap();
    let read = stats["bytes_read"].as_u64().unwrap();
    println!(
        "least {least}, --ram {ram}: peak {}, {} read in {} passes over layers of {}: {}",
        Bytes(peak),
        Bytes(read),
        stats["passes"],
        Bytes(layers),
        stats["text"]
    );
    assert!(peak <= ram.0, "{peak} of {ram}");
    assert!(read > layers, "{read}");

    // With memory for all of it, llama.cpp holds it.
    assert_eq!(form(Bytes::mib(900)), "resident");
}

#[test]
fn too_little_memory_names_the_head_that_has_to_stay() {
    let engine = common::Session::new(common::options(GEMMA, Bytes::mib(64)));
    let why = engine.ready().unwrap_err();
    engine.shutdown();
    assert!(
        why.contains("170 MiB of that are the output matrix"),
        "{why}"
    );
}

#[test]
fn layers_stream_through_two_slots_at_the_least() {
    let gguf = Gguf::open(&model(GEMMA)).unwrap();
    let outline = Outline::from_gguf(&gguf).unwrap();
    let shards = catalogue_by_layer(&outline.layers);
    assert_eq!(shards.len(), outline.n_layer);
    assert!(Plan::least(&shards) < Bytes::mib(12));
    // What is neither a layer's nor rows stays: here the embedding, which is the head as well.
    assert!(outline.rows.is_empty());
    assert_eq!(outline.head_bytes(), Bytes(640 / 32 * 34 * 262_144));
    let all = [&outline.layers, &outline.rows, &outline.resident];
    let n: usize = all.iter().map(|kind| kind.len()).sum();
    assert_eq!(n, gguf.tensors().len());
}

/// A GGUF file of an architecture that nobody knows.
fn stranger() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    text(&mut bytes, "general.architecture");
    bytes.extend(8_u32.to_le_bytes());
    text(&mut bytes, "martian");
    text(&mut bytes, "martian.block_count");
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    text(&mut bytes, "token_embd.weight");
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend(32_u64.to_le_bytes());
    bytes.extend(4_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32) + 32 * 4 * 4, 0);
    bytes
}

#[test]
fn an_architecture_that_nobody_computes_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stranger.gguf");
    std::fs::write(&path, stranger()).unwrap();
    for command in ["plan", "run"] {
        let mut nmos = Command::new(env!("CARGO_BIN_EXE_nmos"));
        nmos.arg(command).arg("--oracle").arg(&path);
        nmos.args(["--draft", "none"]).env("HOME", dir.path());
        if command == "run" {
            nmos.arg("Hello");
        }
        let output = nmos.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for words in ["stranger.gguf", "'martian'", "qwen2, llama"] {
            assert!(said.contains(words), "{command}: {said}");
        }
    }
}
