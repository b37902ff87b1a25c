//! Mixtures whose experts are read when a router names them: the same bits in any memory, and
//! never more of it than is allowed.

use crate::cgroup::{Group, command_in};
use crate::common::{least_in, max_diff, same_bits, tokens, turn};
use crate::program;
use crate::tiny_mixture::{Arch, TinyMixture};
use nmos::experts::routing::{PassKind, Reader, Record};
use nmos::experts::{ExpertCounts, ExpertPlan, Mixture};
use nmos::ggml::bare::BareModel;
use nmos::ggml::llama::{self, Load};
use nmos::ggml::{self, GgmlType};
use nmos::model::{Gguf, Outline};
use nmos::oracle::{
    HookedOptions, LlamaOracle, Oracle, OracleError, PassOutput, TokenTree, TreeNode, WidthClass,
};
use nmos::river::{Plan, ReadSizes, catalogue_by_layer};
use nmos::telemetry::{ExpertState, ExpertTally, Hub};
use nmos::units::{Bytes, TokenId};
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;

/// A mixture in a file of its own.
struct Written {
    dir: TempDir,
    path: PathBuf,
}

impl Written {
    fn new(tiny: &TinyMixture) -> Self {
        ggml::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mixture.gguf");
        std::fs::write(&path, tiny.build()).unwrap();
        Self { dir, path }
    }

    fn mixture(&self) -> Mixture {
        let gguf = Gguf::open(&self.path).unwrap();
        Mixture::of(&Outline::from_gguf(&gguf).unwrap()).unwrap()
    }

    /// With memory for the experts that so many tokens can choose in a layer, and no more.
    fn tight(&self, tokens: usize) -> LlamaOracle {
        let mixture = self.mixture();
        let plan = mixture.plan(mixture.least_memory(tokens), tokens);
        assert!(plan.bytes < plan.all);
        self.hooked(Some(plan), Bytes(1))
    }

    /// With memory for so many bytes of layers more than they must have.
    fn hooked(&self, experts: Option<ExpertPlan>, layers: Bytes) -> LlamaOracle {
        self.shown(experts, layers, &Hub::new())
    }

    /// The same, which shows on `hub` what it does.
    fn shown(&self, experts: Option<ExpertPlan>, layers: Bytes, hub: &Arc<Hub>) -> LlamaOracle {
        let gguf = Gguf::open(&self.path).unwrap();
        let mut outline = Outline::from_gguf(&gguf).unwrap();
        let bare = BareModel::open(gguf.path()).unwrap();
        outline.retain(|name| bare.find(name).is_some());
        let shards = catalogue_by_layer(&outline.layers);
        let options = HookedOptions {
            ctx_tokens: 1024,
            threads: 2,
            max_nodes: WidthClass::WIDE.max,
            plan: Plan::new(&shards, Bytes(Plan::least(&shards).0 + layers.0)).unwrap(),
            experts,
            read_sizes: ReadSizes::default(),
        };
        LlamaOracle::hooked(bare, &gguf, &outline, options, hub).unwrap()
    }

    /// llama.cpp over the whole model.
    fn resident(&self) -> LlamaOracle {
        let gguf = Gguf::open(&self.path).unwrap();
        let model = llama::load(&self.path, Load::WeightsAsStored).unwrap();
        LlamaOracle::new(&model, 1024, 2, WidthClass::WIDE.max)
            .unwrap()
            .knowing(&gguf)
    }
}

/// Token numbers of the small vocabulary.
fn some(first: i32, n: i32) -> Vec<TokenId> {
    tokens(
        &(0..n)
            .map(|i| 3 + (first + i * 37) % 250)
            .collect::<Vec<_>>(),
    )
}

/// Logits of all of `text`, in passes of `width` tokens, all committed.
fn read(
    oracle: &mut dyn Oracle,
    text: &[TokenId],
    width: usize,
    class: WidthClass,
) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    for chunk in text.chunks(width) {
        let output = oracle.pass(&TokenTree::chain(chunk, 0), class).unwrap();
        rows.extend((0..chunk.len()).map(|i| row(&output, i)));
        oracle.commit(&(0..chunk.len()).collect::<Vec<_>>());
    }
    rows
}

fn row(output: &PassOutput, node: usize) -> Vec<f32> {
    output.logits.of(node).unwrap().to_vec()
}

fn assert_same(what: &str, a: &[Vec<f32>], b: &[Vec<f32>]) {
    assert_eq!(a.len(), b.len());
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            same_bits(a, b),
            "{what}, token {at}: differs by {}",
            max_diff(a, b)
        );
    }
}

#[test]
fn experts_have_the_same_bits_however_few_of_them_fit() {
    let _turn = turn();
    for arch in [Arch::Qwen3Moe, Arch::Qwen2Moe, Arch::GptOss] {
        let written = Written::new(&TinyMixture::of(arch));
        let (prompt, answer) = (some(5, 90), some(70, 40));
        let mut all = written.hooked(None, Bytes::mib(64));
        let expected = [
            read(&mut all, &prompt, 63, WidthClass::BATCH),
            read(&mut all, &answer, 1, WidthClass::NARROW),
            read(&mut all, &answer, 5, WidthClass::NARROW),
        ];
        let counts = all.experts().unwrap();
        assert!(!all.streams() && counts.misses <= 64, "{counts:?}");
        for tokens in [1, 2, 5] {
            let mut tight = written.tight(tokens);
            assert!(tight.streams());
            let found = [
                read(&mut tight, &prompt, 63, WidthClass::BATCH),
                read(&mut tight, &answer, 1, WidthClass::NARROW),
                read(&mut tight, &answer, 5, WidthClass::NARROW),
            ];
            for (found, expected) in found.iter().zip(&expected) {
                assert_same(&format!("{arch:?} for {tokens} tokens"), found, expected);
            }
            let counts = tight.experts().unwrap();
            // Where one token's experts do not fit in all layers, none is there for the next.
            assert!(counts.misses > 64, "{counts:?}");
            assert_eq!(counts.hits > 0, tokens == 5, "{counts:?}");
        }
        // Of types that have one kernel, a few tokens are computed so by llama.cpp alone too: they
        // choose no expert often enough for another one.
        let one_kernel = Written::new(&TinyMixture {
            router_ty: GgmlType::Q4_K,
            ..TinyMixture::of(arch)
        });
        let mut alone = one_kernel.resident();
        let mut tight = one_kernel.tight(2);
        for (text, width) in [(&prompt, 7), (&answer, 1), (&answer, 3)] {
            let expected = read(&mut alone, text, width, WidthClass::NARROW);
            let found = read(&mut tight, text, width, WidthClass::NARROW);
            assert_same(&format!("{arch:?} and llama.cpp"), &found, &expected);
        }
    }
}

/// Few experts, so that many tokens choose the same, and have wide kernels where there are such.
#[test]
fn a_token_has_the_same_bits_whatever_others_choose() {
    let _turn = turn();
    for (up_ty, down_ty, ff) in [
        (GgmlType::Q4_K, GgmlType::Q6_K, 256),
        (GgmlType::Q3_K, GgmlType::Q8_0, 96),
        (GgmlType::IQ4_XS, GgmlType::Q5_0, 96),
    ] {
        let tiny = TinyMixture {
            experts: 3,
            layers: 3,
            up_ty,
            down_ty,
            ff,
            ..TinyMixture::of(Arch::Qwen2Moe)
        };
        let written = Written::new(&tiny);
        let plan = written.mixture().plan_for_all(WidthClass::WIDE.max);
        let mut oracle = written.hooked(Some(plan), Bytes::mib(64));
        assert_eq!(oracle.prompt_class(), WidthClass::WIDE);
        // Beyond the cells from which attention of one token is computed otherwise.
        let text = some(11, 630);
        for (class, widths) in [
            (WidthClass::WIDE, &[63, 1, 8, 9, 17, 40, 64, 200, 512][..]),
            (WidthClass::NARROW, &[7, 1, 2, 5][..]),
        ] {
            let mut rows = widths.iter().map(|&width| {
                oracle.truncate(0);
                (width, read(&mut oracle, &text, width, class))
            });
            let (_, expected) = rows.next().unwrap();
            for (width, found) in rows {
                assert_same(&format!("{up_ty} {class:?} {width}"), &found, &expected);
            }
        }
    }
}

#[test]
fn padding_needs_no_experts_of_its_own_and_a_tree_is_computed_in_pieces() {
    let _turn = turn();
    let tiny = TinyMixture {
        used: 4,
        ..TinyMixture::of(Arch::Qwen3Moe)
    };
    let written = Written::new(&tiny);
    let mut tight = written.tight(1);
    let mut all = written.hooked(None, Bytes::mib(64));
    read(&mut tight, &some(1, 70), 63, WidthClass::BATCH);
    read(&mut all, &some(1, 70), 63, WidthClass::BATCH);
    let before = tight.experts().unwrap();
    let one = TokenTree::chain(&some(9, 1), 0);
    tight.pass(&one, WidthClass::BATCH).unwrap();
    let after = tight.experts().unwrap();
    let asked = (after.hits + after.misses) - (before.hits + before.misses);
    assert_eq!(asked, 4 * 4, "4 in each of 4 layers for 8 tokens");

    let mut fork = TokenTree::new();
    for (i, token) in some(30, 12).into_iter().enumerate() {
        fork.push(TreeNode {
            token,
            parent: i.checked_sub(2),
            logits: i > 6,
        });
    }
    let (a, b) = (
        tight.pass(&fork, WidthClass::BATCH).unwrap(),
        all.pass(&fork, WidthClass::BATCH).unwrap(),
    );
    for node in 7..12 {
        assert_same("a tree", &[row(&a, node)], &[row(&b, node)]);
    }
}

#[test]
fn what_is_shown_of_experts_is_what_is_counted() {
    let _turn = turn();
    let written = Written::new(&TinyMixture::of(Arch::Qwen3Moe));
    let mixture = written.mixture();
    let half = Bytes(mixture.bytes().0 / 2);
    let plan = mixture.plan(half, 2);
    let hub = Hub::new();
    let mut oracle = written.shown(Some(plan), Bytes::mib(64), &hub);
    let shown = hub.snapshot().experts;
    let layers: Vec<_> = shown.rows.iter().map(|row| row.layer).collect();
    assert_eq!(layers, [0, 1, 2, 3]);
    assert_eq!((shown.budget, shown.all), (plan.bytes, plan.all));
    assert_eq!(
        (shown.held, shown.total),
        (Bytes(0), ExpertTally::default())
    );
    let (mut before, mut tokens) = (oracle.experts().unwrap(), 0);
    for (text, width, class) in [
        (some(5, 40), 20, WidthClass::BATCH),
        (some(70, 30), 1, WidthClass::NARROW),
    ] {
        for text in text.chunks(width) {
            read(&mut oracle, text, width.min(2), class);
            tokens += text.len() as u64;
            let (shown, counts) = (hub.snapshot().experts, oracle.experts().unwrap());
            assert_eq!(shown.total, counts.since(&ExpertCounts::default(), tokens));
            let last = *shown.recent.back().unwrap();
            let states = || shown.rows.iter().flat_map(|row| &row.experts);
            let n = |state| states().filter(|of| **of == state).count() as u64;
            assert_eq!(
                (n(ExpertState::Hit), n(ExpertState::Missed)),
                (last.hits, last.misses)
            );
            assert!(shown.held <= shown.budget && shown.held.0 > 0);
            if width == 1 {
                assert_eq!(last, counts.since(&before, 1));
            }
            before = counts;
        }
    }
    // An oracle that no one guides evicts by LRU.
    let counts = oracle.experts().unwrap();
    assert!(counts.hits > 0 && counts.misses > 64, "{counts:?}");
    assert_eq!(counts.lru_hits, counts.hits);
}

#[test]
fn a_failed_read_of_experts_ends_the_pass_and_the_next_one_goes_on_from_there() {
    let _turn = turn();
    let written = Written::new(&TinyMixture::of(Arch::GptOss));
    let mixture = written.mixture();
    let plan = mixture.plan(mixture.least_memory(2), 2);
    // All else has arrived with the first pass.
    let mut oracle = written.hooked(Some(plan), Bytes::mib(64));
    let mut undisturbed = written.tight(2);
    let (prompt, next) = (some(100, 20), some(40, 10));
    read(&mut oracle, &prompt, 20, WidthClass::BATCH);
    read(&mut undisturbed, &prompt, 20, WidthClass::BATCH);

    let whole = std::fs::read(&written.path).unwrap();
    let file = File::options().write(true).open(&written.path).unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    let file = Rc::new(file);
    let tree = TokenTree::chain(&next, 0);
    for _ in 0..2 {
        let (cut, is_cut) = (Rc::clone(&file), Cell::new(false));
        // Asked after every step: the file is whole when the pass begins.
        oracle.give_up_when(Some(Rc::new(move |_| {
            if !is_cut.replace(true) {
                cut.set_len(40_000).unwrap();
            }
            false
        })));
        let error = oracle.pass(&tree, WidthClass::BATCH).unwrap_err();
        assert!(matches!(error, OracleError::Experts(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("mixture.gguf") && text.contains("at offset"),
            "{text}"
        );
        assert_eq!(oracle.len(), prompt.len());
        // While it is short, no pass begins.
        let error = oracle.pass(&tree, WidthClass::BATCH).unwrap_err();
        assert!(error.to_string().contains("bytes long"), "{error}");
        std::fs::write(&written.path, &whole).unwrap();
        file.set_modified(mtime).unwrap();
    }
    oracle.give_up_when(None);
    let found = read(&mut oracle, &next, 10, WidthClass::BATCH);
    let expected = read(&mut undisturbed, &next, 10, WidthClass::BATCH);
    assert_same("after two failures", &found, &expected);
}

#[test]
fn a_router_that_computes_no_numbers_is_an_error() {
    let _turn = turn();
    let written = Written::new(&TinyMixture::of(Arch::Qwen3Moe));
    let gguf = Gguf::open(&written.path).unwrap();
    let router = gguf.tensor("blk.2.ffn_gate_inp.weight").unwrap();
    let file = File::options().write(true).open(&written.path).unwrap();
    file.write_all_at(&f32::NAN.to_le_bytes(), router.offset)
        .unwrap();
    let mut oracle = written.hooked(None, Bytes::mib(64));
    let error = oracle
        .pass(&TokenTree::chain(&some(3, 5), 0), WidthClass::NARROW)
        .unwrap_err();
    assert!(matches!(error, OracleError::NoNumbers), "{error}");
    assert_eq!(oracle.len(), 0);
}

fn nmos(
    command: &str,
    written: &Written,
    ram: Bytes,
    more: &[&str],
    group: Option<&Group>,
) -> std::process::Output {
    let home: &Path = written.dir.path();
    // Of each run alone: a profile that another one left changes what is read.
    let cache = tempfile::tempdir_in(home).unwrap();
    command_in(group, env!("CARGO_BIN_EXE_nmos"))
        .args([command, "--json", "--draft", "none", "--vram", "0"])
        .args(["--threads", "2", "--ctx", "512"])
        .args(["--ram", &ram.0.to_string()])
        .arg("--oracle")
        .arg(&written.path)
        .args(more)
        .env("HOME", home)
        .env("NMOS_CACHE", cache.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn json(output: &std::process::Output) -> serde_json::Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_mixture_says_the_same_in_any_memory_and_stays_within_it() {
    let _turn = turn();
    // Experts of 80 MB.
    let tiny = TinyMixture {
        layers: 6,
        experts: 32,
        used: 4,
        ff: 512,
        up_ty: GgmlType::Q8_0,
        down_ty: GgmlType::Q8_0,
        ty: GgmlType::Q8_0,
        ..TinyMixture::of(Arch::Qwen2Moe)
    };
    let written = Written::new(&tiny);
    let prompt = ["-n", "32", "hello hello hello"];
    let run = |ram, group: Option<&Group>| json(&nmos("run", &written, ram, &prompt, group));
    let refused = nmos("run", &written, Bytes::mib(1), &prompt, None);
    assert_eq!(refused.status.code(), Some(1));
    let least = least_in(&String::from_utf8_lossy(&refused.stderr));
    let whole = run(Bytes(least.0 + Bytes::mib(120).0), None);
    let text = whole["text"].as_str().unwrap();
    assert!(!text.is_empty());
    let read_once = whole["bytes_read"].as_u64().unwrap();
    assert!(read_once <= 90_000_000, "{read_once}");
    for more in [4, 16, 40] {
        let ram = Bytes(least.0 + Bytes::mib(more).0);
        let stats = run(ram, None);
        let peak = stats["rss_peak_bytes"].as_u64().unwrap();
        let hits = stats["expert_hit_rate"].as_f64().unwrap();
        println!(
            "{more} MiB above the least: peak {}, {hits:.2} hits, {} a token",
            Bytes(peak),
            stats["expert_bytes_per_token"]
        );
        assert_eq!(stats["text"], text, "{more} MiB above the least");
        assert!(peak <= ram.0, "{peak} of {ram}");
        let lru = stats["expert_lru_hit_rate"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&lru), "{lru}");
        assert!(stats["expert_bytes_per_token"].as_f64().unwrap() > 0.0);
        let plan = json(&nmos("plan", &written, ram, &[], None));
        assert_eq!(plan["form"], "hooked");
        assert_eq!(plan["experts"]["experts_a_token"], 4);
        let fit = plan["experts"]["fit_bytes"].as_u64().unwrap();
        assert!(fit < plan["experts"]["bytes"].as_u64().unwrap());
        if let Some(group) = Group::new(ram) {
            let inside = run(ram, Some(&group));
            assert_eq!(inside["text"], text);
            // Nothing is pushed out and read again.
            let ratio =
                inside["bytes_read"].as_f64().unwrap() / stats["bytes_read"].as_f64().unwrap();
            assert!((0.9..1.1).contains(&ratio), "{ratio} times the bytes");
        }
    }
}

/// 4 layers of 16 experts of which a token uses two.
fn small() -> Written {
    Written::new(&TinyMixture::of(Arch::Qwen3Moe))
}

/// `nmos` with a cache of its own next to the model.
fn nmos_with_cache(written: &Written) -> std::process::Command {
    let mut command = program::nmos(written.dir.path());
    command.env("NMOS_CACHE", written.dir.path().join("cache"));
    command
}

fn answered(written: &Written, more: &[&str]) -> std::process::Output {
    nmos_with_cache(written)
        .args(["run", "--draft", "none", "--ctx", "512", "--ram", "1GiB"])
        .args(["-n", "12", "--oracle"])
        .arg(&written.path)
        .args(more)
        .arg("hello hello hello")
        .output()
        .unwrap()
}

#[test]
fn routing_is_recorded_and_replayed_in_other_memory() {
    let _turn = turn();
    let written = small();
    let recording = written.dir.path().join("routing");
    let recording = recording.to_str().unwrap();
    let stats = json(&answered(
        &written,
        &["--json", "--record-routing", recording],
    ));

    let mixture = written.mixture();
    let mut reader = Reader::new(File::open(recording).unwrap()).unwrap();
    assert_eq!(reader.header().groups.len(), 4);
    assert_eq!(reader.header().experts(), [16; 4]);
    let (mut prompt, mut answer, mut ends) = (0, 0, 0);
    while let Some(record) = reader.record().unwrap() {
        match record {
            Record::TurnEnd(label) => {
                ends += 1;
                assert!(label.is_some());
            }
            Record::Pass(pass) => {
                assert_eq!(ends, 0, "one turn");
                // The last layer computes the tokens whose logits are wanted.
                let all = mixture.used * pass.tokens as usize;
                assert!(pass.ids[..3].iter().all(|ids| ids.len() == all));
                match pass.kind {
                    PassKind::Prompt => prompt += u64::from(pass.tokens),
                    PassKind::Answer => answer += u64::from(pass.tokens),
                }
            }
        }
    }
    let tokens = stats["tokens"].as_u64().unwrap();
    assert_eq!(ends, 1);
    assert_eq!(prompt, stats["prompt_tokens"].as_u64().unwrap());
    // The prompt gives the first token. Guesses that are wrong are computed as well.
    assert!(answer >= tokens - 1, "{answer} of {tokens}");

    let replayed = nmos_with_cache(&written)
        .args([
            "experts",
            "replay",
            recording,
            "--json",
            "--ram",
            "512KiB,64MiB",
        ])
        .output()
        .unwrap();
    let replayed = json(&replayed);
    assert_eq!(replayed["turns"], 1);
    let rates = |budget: usize| {
        let policies = replayed["budgets"][budget]["policies"].as_array().unwrap();
        let rate = |name: &str| {
            let of = policies.iter().find(|of| of["policy"] == name).unwrap();
            of["answer_hit_rate"].as_f64().unwrap()
        };
        ["lru", "intent", "belady"].map(rate)
    };
    let [lru, intent, belady] = rates(0);
    assert!(lru <= belady && intent <= belady, "{lru} {intent} {belady}");
    let [lru, intent, belady] = rates(1);
    assert!(lru == intent && intent == belady, "all of them fit");
}

#[test]
fn what_an_answer_used_is_kept_and_a_damaged_profile_is_said_once() {
    let _turn = turn();
    let written = small();
    let said = || {
        let output = answered(&written, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    assert!(!said().contains("profile"));
    let files = std::fs::read_dir(written.dir.path().join("cache/experts")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let profile = files.find(|path| path.extension() == Some("profile".as_ref()));
    let profile = profile.unwrap();
    let kept = std::fs::read(&profile).unwrap();
    assert!(kept.len() < 1000, "{}", kept.len());
    assert!(!said().contains("profile"));
    assert_ne!(std::fs::read(&profile).unwrap(), kept, "more was learnt");

    std::fs::write(&profile, &kept[..kept.len() / 2]).unwrap();
    let damaged = said();
    assert!(damaged.contains("is not used"), "{damaged}");
    assert!(!said().contains("profile"), "a new one is in its place");
}

#[test]
fn what_cannot_be_recorded_is_said_before_anything_is_computed() {
    let _turn = turn();
    let written = small();
    let nowhere = written.dir.path().join("none/routing");
    let output = answered(&written, &["--record-routing", nowhere.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot record routing to"), "{said}");

    let model = std::fs::read(&written.path).unwrap();
    let output = answered(
        &written,
        &["--record-routing", written.path.to_str().unwrap()],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no recording, and is left as it is"),
        "{said}"
    );
    assert!(std::fs::read(&written.path).unwrap() == model);
}

#[test]
fn a_start_that_is_refused_leaves_an_earlier_recording_as_it_is() {
    let _turn = turn();
    let written = small();
    let recording = written.dir.path().join("routing");
    let arguments = ["--record-routing", recording.to_str().unwrap()];
    assert!(answered(&written, &arguments).status.success());
    let kept = std::fs::read(&recording).unwrap();
    let arguments = [arguments[0], arguments[1], "hello"];
    let refused = nmos("run", &written, Bytes::mib(1), &arguments, None);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(least_in(&said) > Bytes::mib(1), "{said}");
    assert_eq!(std::fs::read(&recording).unwrap(), kept);
}
