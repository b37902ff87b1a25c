//! Weights that come to a device through a window: the same logits as without one, bit for bit,
//! with the CPU as the device.

use crate::common::{self, ORACLE, SMOL, layer_oracle, open_oracle, rows, same_bits, tokens};
use nmos::ggml::Device;
use nmos::kv::KvMemory;
use nmos::ledger::Owner;
use nmos::model::{Blueprint, Gguf, ModelLayout};
use nmos::oracle::{DeviceOptions, LayerOracle, Oracle, TokenTree, TreeNode, WidthClass};
use nmos::plan::{
    Division, DivisionError, DraftFootprint, DraftPlace, Footprint, Sizes, TreeSize, tensor_bytes,
};
use nmos::river::{Plan, Shard, WindowPlan, catalogue};
use nmos::units::{Bytes, TokenId};

fn shards(file: &str) -> Vec<Shard> {
    let gguf = Gguf::open(&common::model(file)).unwrap();
    catalogue(&ModelLayout::from_gguf(&gguf).unwrap())
}

fn on_cpu(file: &str, ram: Bytes, window: Bytes) -> LayerOracle {
    nmos::ggml::init().unwrap();
    let device = DeviceOptions {
        device: Device::cpu().unwrap(),
        window: WindowPlan::new(&shards(file), window).unwrap(),
        kv: KvMemory::Paged,
    };
    open_oracle(file, ram, 2048, Some(device))
}

fn prompt() -> Vec<TokenId> {
    tokens(&(0..70).map(|i| 300 + i * 37).collect::<Vec<_>>())
}

/// Two branches after a root, and a third that shares half of one.
fn tree() -> TokenTree {
    let mut tree = TokenTree::new();
    let parents = [
        None,
        Some(0),
        Some(0),
        Some(1),
        Some(2),
        Some(3),
        Some(3),
        Some(4),
    ];
    for (parent, id) in parents.into_iter().zip((0..).map(|i| 500 + 61 * i)) {
        let token = tokens(&[id])[0];
        let logits = true;
        tree.push(TreeNode {
            token,
            parent,
            logits,
        });
    }
    tree
}

/// The logits of a prompt in passes of three widths, of a tree, and of a token after a branch.
fn logits(oracle: &mut dyn Oracle) -> Vec<Vec<f32>> {
    let prompt = prompt();
    let mut all = rows(oracle, &prompt[..40], WidthClass::BATCH.max);
    all.extend(rows(oracle, &prompt[40..], 8));
    let output = oracle.pass(&tree(), WidthClass::BATCH).unwrap();
    all.extend((0..tree().len()).map(|node| output.logits.of(node).unwrap().to_vec()));
    oracle.commit(&[0, 1, 3, 6]);
    // Without logits: the head comes to the window all the same, and is skipped.
    let quiet = TreeNode {
        token: prompt[0],
        parent: None,
        logits: false,
    };
    let mut tree = TokenTree::new();
    tree.push(quiet);
    oracle.pass(&tree, WidthClass::BATCH).unwrap();
    oracle.commit(&[0]);
    all.extend(rows(oracle, &prompt[..1], 1));
    all
}

fn compare(file: &str, expected: &[Vec<f32>], ram: Bytes, window: Bytes) {
    let shards = shards(file);
    let all: u64 = shards.iter().map(|s| s.bytes as u64).sum();
    let plan = WindowPlan::new(&shards, window).unwrap();
    let mut oracle = on_cpu(file, ram, window);
    let seen = logits(&mut oracle);
    assert_eq!(seen.len(), expected.len());
    for (i, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        assert!(same_bits(seen, expected), "row {i} with {ram} and {window}");
    }
    // Every pass sends what does not stay, and a few slots of the next.
    let passing: Vec<_> = (0..shards.len()).filter(|&i| !plan.stays[i]).collect();
    let tensors = |shard: &Shard| shard.tensors.iter().map(|t| t.bytes as u64).sum::<u64>();
    let a_pass: u64 = passing.iter().map(|&i| tensors(&shards[i])).sum();
    let once: u64 = shards.iter().map(tensors).sum::<u64>() - a_pass;
    let before = oracle.bytes_sent();
    oracle.pass(&tree(), WidthClass::BATCH).unwrap();
    assert_eq!(
        oracle.bytes_sent() - before,
        a_pass,
        "a pass sends what does not stay"
    );
    let ahead = before.saturating_sub(once) % a_pass.max(1);
    let slots = plan.slots as u64 * plan.slot_bytes as u64;
    assert!(before >= once && ahead <= slots, "{before} {once} {ahead}");
    if plan.slots == 0 {
        assert_eq!(before, once, "all stays: sent once");
        assert_eq!(oracle.bytes_read(), all, "and read once");
    }
}

fn check(file: &str) {
    let shards = shards(file);
    let all = Bytes(shards.iter().map(|s| WindowPlan::bytes_of(s) as u64).sum());
    let least = WindowPlan::least(&shards);
    let plenty = Bytes::mib(2048);
    let expected = logits(&mut layer_oracle(file, plenty));
    for (ram, window) in [
        // RAM holds all: the smallest window, one with shards that stay, and no window at all.
        (plenty, least),
        (plenty, Bytes(least.0 * 2 + all.0 / 3)),
        (plenty, all),
        // RAM holds part: from the disk through RAM to the device, to the smallest of both.
        (Bytes(all.0 / 2), Bytes(least.0 * 2 + all.0 / 4)),
        (Plan::least(&shards), least),
    ] {
        compare(file, &expected, ram, window);
    }
}

#[test]
fn smollm2_through_a_window_is_the_same_bits() {
    check(SMOL);
}

#[test]
fn qwen2_through_a_window_is_the_same_bits() {
    check(ORACLE);
}

/// The sizes that a division of the default oracle's memory follows from, where a draft holds
/// `on_device` of the device's.
fn sizes(gguf: &Gguf, (ram, vram): (u64, u64), on_device: Option<Bytes>) -> Sizes {
    Sizes {
        ram: Bytes::mib(ram),
        footprint: Footprint {
            program: Bytes::mib(60),
            vocabulary: Bytes(0),
            draft: Some(DraftFootprint {
                host: Bytes(0),
                device: on_device,
            }),
            drafters: Bytes(0),
        },
        tensors: tensor_bytes(gguf),
        ctx_tokens: 1024,
        tree: TreeSize::Fixed(64),
        device: Some((Device::cpu().unwrap(), Bytes::mib(vram))),
    }
}

#[test]
fn both_memories_are_divided_among_their_owners() {
    nmos::ggml::init().unwrap();
    let gguf = Gguf::open(&common::model(ORACLE)).unwrap();
    let model = Blueprint::from_gguf(&gguf).unwrap();
    let shards = shards(ORACLE);
    let divide = |ram, vram| Division::new(&sizes(&gguf, (ram, vram), None), &model, &shards);
    for (ram, vram) in [(4000, 1200), (600, 1200), (4000, 4000)] {
        let division = divide(ram, vram).unwrap();
        let on_device = division.device.as_ref().unwrap();
        for (ledger, limit) in [(&division.ledger, ram), (&on_device.ledger, vram)] {
            assert_eq!(ledger.limit(), Bytes::mib(limit));
            assert!(ledger.given() <= ledger.limit());
        }
        let plan = division.form.plan().unwrap();
        assert_eq!(plan.leaves, on_device.window.stays);
        for i in 0..shards.len() {
            assert!(
                !(plan.pinned[i] && plan.leaves[i]),
                "shard {i} is held twice"
            );
        }
        let stays = on_device.window.slots == 0;
        assert_eq!(stays, vram == 4000, "all of it fits 4000 MiB");
    }
    let error = divide(4000, 500).unwrap_err();
    let DivisionError::Vram(error) = error else {
        panic!("the device's memory is what is too little: {error}");
    };
    let least = error.least.0.div_ceil(Bytes::MIB);
    divide(4000, least).unwrap();
    divide(4000, least - 1).unwrap_err();
}

#[test]
fn a_draft_on_the_device_takes_the_place_of_weights_that_would_stay() {
    nmos::ggml::init().unwrap();
    let gguf = Gguf::open(&common::model(ORACLE)).unwrap();
    let model = Blueprint::from_gguf(&gguf).unwrap();
    let shards = shards(ORACLE);
    let divide = |draft| Division::new(&sizes(&gguf, (4000, 1300), draft), &model, &shards);
    let on_device = |draft| divide(draft).unwrap().device.unwrap();
    let (without, with) = (on_device(None), on_device(Some(Bytes::mib(200))));
    assert!(!without.holds_draft && with.holds_draft);
    assert_eq!(with.device, Device::cpu().unwrap());
    assert_eq!(without.ledger.bytes_of(Owner::Draft), Bytes(0));
    assert_eq!(with.ledger.bytes_of(Owner::Draft), Bytes::mib(200));
    assert!(with.ledger.given() <= with.ledger.limit());
    assert_eq!(with.weights.0, without.weights.0 - Bytes::mib(200).0);
    assert!(with.window.is_roomy() && with.window.slots == without.window.slots);
    assert!(with.window.staying_bytes < without.window.staying_bytes);
    // One that leaves no window is too much.
    divide(Some(Bytes::mib(600))).unwrap_err();
}

/// The draft is held by one memory or the other, and by all of it that it needs.
#[test]
fn what_a_draft_holds_is_told_apart_by_where_it_is() {
    let gguf = Gguf::open(&common::model(common::DRAFT)).unwrap();
    let held = |place, ctx_tokens| {
        let none = Bytes(0);
        let all = Footprint::predict(none, &gguf, Some(&gguf), none, ctx_tokens, place);
        all.unwrap().draft.unwrap()
    };
    let (host, device) = (held(DraftPlace::Host, 1024), held(DraftPlace::Device, 1024));
    let (on_device, weights) = (device.device.unwrap(), tensor_bytes(&gguf));
    assert_eq!(host.device, None);
    assert!(host.host > weights && on_device > weights);
    // Its embedding is looked up in the host's memory, and is the output matrix of the device.
    let embedding = gguf
        .tensors()
        .find(|t| t.name == "token_embd.weight")
        .unwrap();
    assert!(device.host.0 > embedding.bytes && device.host < host.host);
    // Cells cost their keys and values, and on a device their part of the mask of 128 tokens.
    let kv = held(DraftPlace::Host, 2048).host.0 - host.host.0;
    let on_device = held(DraftPlace::Device, 2048).device.unwrap().0 - on_device.0;
    assert_eq!(on_device, kv + 1024 * 128 * 2);
}

#[test]
fn a_window_of_less_than_two_shards_is_refused() {
    let shards = shards(SMOL);
    let least = WindowPlan::least(&shards);
    let error = WindowPlan::new(&shards, Bytes(least.0 - 1)).unwrap_err();
    assert_eq!((error.least, error.given), (least, Bytes(least.0 - 1)));
}

/// What `nmos run` answers with this much of a device's memory and this many nodes a pass, the
/// processor being the device.
fn answered(vram: &str, tree: &str, prompt: &str) -> serde_json::Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nmos"))
        .args(["run", "--json", "-n", "24", "--temp", "0", "--ram", "3GiB"])
        .args(["--vram", vram, "--tree", tree, "--ctx", "512"])
        .args(["--threads", "2"])
        .arg("--oracle")
        .arg(common::model(ORACLE))
        .arg("--draft")
        .arg(common::model(common::DRAFT))
        .arg(prompt)
        .env("NMOS_GPU", "cpu")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_answer_through_a_window_is_the_same_text() {
    let prompt = "Write a Rust function that adds two numbers.";
    let windowed = answered("1300MiB", "16", prompt);
    let passes = windowed["passes"].as_u64().unwrap();
    assert!(passes < 24, "guesses were right in {passes} passes");
    let whole = answered("3GiB", "16", prompt);
    assert_eq!(windowed["text"], whole["text"]);
    assert!(!windowed["text"].as_str().unwrap().is_empty());
    // Trees that only branches fill.
    let wide = answered("1300MiB", "100", prompt);
    let nodes = wide["tree_nodes_mean"].as_f64().unwrap();
    assert!(nodes > 64.0, "{nodes} nodes a pass");
    assert_eq!(wide["text"], whole["text"]);
}
