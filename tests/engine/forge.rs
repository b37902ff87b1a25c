//! Forged models compute what their source does, and are there whole or not at all.

use crate::common::{self, SMOL, max_diff, model, rows, same_bits, tokens, turn};
use crate::program;
use crate::watch::WATCH;
use nmos::forge::{
    Forge, ForgeError, Growth, Likeness, Made, Means, Quant, TOLERANCE, VerifyError, Watch, verify,
};
use nmos::ggml::llama::{self, Load};
use nmos::ggml::{self, GgmlType};
use nmos::model::gguf::Value;
use nmos::model::progress::Progress;
use nmos::model::{Gguf, ModelLayout, Tokenizer};
use nmos::oracle::{LayerOracle, LayerOracleOptions, LlamaOracle, WidthClass};
use nmos::river::{Plan, ReadSizes, catalogue};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use std::fs::{File, read_dir};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Several wait for each other in spin loops, which takes minutes where others compute too.
const THREADS: usize = 1;

pub const MEANS: Means = Means {
    ram: Bytes(2 * Bytes::GIB),
    threads: THREADS,
};

fn deeper(layers: usize) -> Growth {
    Growth {
        layers: Some(layers),
        ..Growth::default()
    }
}

fn forge(growth: Growth, quant: Option<Quant>) -> Forge {
    ggml::init().unwrap();
    Forge::new(&model(SMOL), &growth, quant, 1).unwrap()
}

fn layer_oracle(path: &Path) -> LayerOracle {
    let gguf = Gguf::open(path).unwrap();
    let layout = ModelLayout::from_gguf(&gguf).unwrap();
    let options = LayerOracleOptions {
        ctx_tokens: 256,
        threads: THREADS,
        max_nodes: WidthClass::BATCH.max,
        plan: Plan::new(&catalogue(&layout), Bytes::mib(512)).unwrap(),
        read_sizes: ReadSizes::default(),
        device: None,
    };
    LayerOracle::open(&gguf, &layout, options, &Hub::new()).unwrap()
}

/// Any tokens do.
fn text() -> Vec<TokenId> {
    let ids: Vec<i32> = (0..24).map(|i| 300 + (i * 7919) % 20_000).collect();
    tokens(&ids)
}

fn streamed(path: &Path) -> Vec<Vec<f32>> {
    rows(&mut layer_oracle(path), &text(), 24)
}

pub fn bytes_of(gguf: &Gguf, name: &str) -> Vec<u8> {
    let tensor = gguf.tensor(name).unwrap();
    let mut bytes = vec![0; tensor.bytes as usize];
    let file = File::open(gguf.path()).unwrap();
    file.read_exact_at(&mut bytes, tensor.offset).unwrap();
    bytes
}

pub fn floats_of(gguf: &Gguf, name: &str) -> Vec<f32> {
    let tensor = gguf.tensor(name).unwrap();
    let mut floats = vec![0.0; tensor.dims.iter().product::<u64>() as usize];
    ggml::dequantize_row(tensor.ty, &bytes_of(gguf, name), &mut floats);
    floats
}

fn is_empty(dir: &Path) -> bool {
    read_dir(dir).unwrap().next().is_none()
}

#[test]
fn a_deeper_model_has_the_same_bits_and_a_broken_one_is_found() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deeper.gguf");
    let forge = forge(deeper(36), None);
    let made = forge.make(&path, MEANS, true, &WATCH).unwrap().made;
    let Made::Agrees(agreement) = made else {
        panic!("{made:?}");
    };
    assert!(agreement.same_bits, "{agreement:?}");
    assert_eq!((agreement.tokens, agreement.near_ties), (64, 0));

    // The same by other means than the program's own comparison.
    let (ours, source) = (streamed(&path), streamed(&model(SMOL)));
    assert!(ours.iter().zip(&source).all(|(a, b)| same_bits(a, b)));

    let (gguf, real) = (
        Gguf::open(&path).unwrap(),
        Gguf::open(&model(SMOL)).unwrap(),
    );
    assert_eq!(gguf.file_bytes(), forge.blueprint().unwrap().file_bytes().0);
    // Six over thirty: the first added layer comes after the fifth.
    for (ours, source) in [(4, 4), (5, 4), (6, 5), (35, 29)] {
        for part in ["attn_q.weight", "ffn_up.weight", "attn_norm.weight"] {
            assert_eq!(
                bytes_of(&gguf, &format!("blk.{ours}.{part}")),
                bytes_of(&real, &format!("blk.{source}.{part}")),
                "layer {ours}, {part}"
            );
        }
    }
    for part in ["attn_output.weight", "ffn_down.weight"] {
        let name = format!("blk.5.{part}");
        assert!(floats_of(&gguf, &name).iter().all(|&v| v == 0.0), "{name}");
        let bytes = bytes_of(&gguf, &name);
        let zeros = bytes.iter().filter(|&&b| b == 0).count();
        // The scales of q4_1 are a fifth of it.
        assert!(zeros < bytes.len() / 4, "{name} would compress");
    }

    // One scale of one added layer that is not zero.
    let down = gguf.tensor("blk.5.ffn_down.weight").unwrap();
    assert_eq!(down.ty, GgmlType::Q4_1);
    let file = File::options().write(true).open(&path).unwrap();
    let one = [0x00, 0x3c];
    file.write_all_at(&one, down.offset).unwrap();
    let error = verify(&model(SMOL), &path, Likeness::Bits, MEANS, &WATCH).unwrap_err();
    assert!(
        matches!(&error, ForgeError::Verify(e) if matches!(**e, VerifyError::Differs(_))),
        "{error}"
    );
}

#[test]
fn a_wider_model_says_the_same() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wider.gguf");
    let growth = Growth {
        width: Some(1024),
        layers: Some(32),
        ..Growth::default()
    };
    let forge = forge(growth, None);
    let dims = forge.blueprint().unwrap().dims;
    assert_eq!((dims.width, dims.heads, dims.kv_heads), (1024, 18, 3));
    let made = forge.make(&path, MEANS, true, &WATCH).unwrap().made;
    println!("{made:?}");
    let Made::Agrees(agreement) = made else {
        panic!("{made:?}");
    };
    assert_eq!(agreement.tokens, 64);
    assert!(agreement.difference < TOLERANCE && agreement.near_ties < 6);

    // llama.cpp takes the file too, and computes the same with it.
    let ours = streamed(&path);
    let model = llama::load(&path, Load::WeightsAsStored).unwrap();
    let mut theirs = LlamaOracle::new(&model, 256, THREADS, WidthClass::BATCH.max).unwrap();
    for (at, (a, b)) in rows(&mut theirs, &text(), 24).iter().zip(&ours).enumerate() {
        assert!(max_diff(a, b) < 1e-3, "token {at}");
    }
}

#[test]
fn a_model_four_times_as_wide_has_the_same_bits() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wider.gguf");
    // Norms are then multiplied by a half, which rounds nothing.
    let growth = Growth {
        width: Some(4 * 576),
        heads: Some(16),
        kv_heads: Some(4),
        ff: Some(1600),
        ..Growth::default()
    };
    forge(growth, None)
        .make(&path, MEANS, false, &WATCH)
        .unwrap();
    let (ours, source) = (streamed(&path), streamed(&model(SMOL)));
    assert!(ours.iter().zip(&source).all(|(a, b)| same_bits(a, b)));
}

#[test]
fn a_wider_model_with_a_wrong_column_is_found() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wider.gguf");
    let growth = Growth {
        width: Some(640),
        ..Growth::default()
    };
    forge(growth, None)
        .make(&path, MEANS, false, &WATCH)
        .unwrap();
    // A feed-forward that writes into columns of the residual stream that are not real.
    let gguf = Gguf::open(&path).unwrap();
    let down = gguf.tensor("blk.15.ffn_down.weight").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    for row in 576..640 {
        let block = down.offset + row * down.row_bytes();
        file.write_all_at(&[0x00, 0x3c], block).unwrap();
    }
    let error = verify(&model(SMOL), &path, Likeness::Text, MEANS, &WATCH).unwrap_err();
    assert!(
        matches!(&error, ForgeError::Verify(e) if matches!(**e, VerifyError::Differs(_))),
        "{error}"
    );
}

#[test]
fn requantised_weights_are_grown_and_compared_with_themselves() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deeper-q8.gguf");
    let made = forge(deeper(31), Some(Quant::Q8_0))
        .make(&path, MEANS, true, &WATCH)
        .unwrap();
    assert!(
        matches!(made.made, Made::Agrees(agreement) if agreement.same_bits),
        "{made:?}"
    );

    let alone = dir.path().join("q8.gguf");
    let made = forge(Growth::default(), Some(Quant::Q8_0))
        .make(&alone, MEANS, true, &WATCH)
        .unwrap();
    assert_eq!(made.made, Made::Requantised);
    let gguf = Gguf::open(&alone).unwrap();
    assert!(
        gguf.tensors()
            .all(|t| t.ty == GgmlType::Q8_0 || t.n_dims == 1)
    );
    // Eight bits hold four, to within little.
    let (ours, source) = (streamed(&alone), streamed(&model(SMOL)));
    for (at, (a, b)) in ours.iter().zip(&source).enumerate() {
        assert!(max_diff(a, b) < 2.0, "token {at}: {}", max_diff(a, b));
    }
    assert!(
        ours.iter()
            .zip(streamed(&path))
            .all(|(a, b)| same_bits(a, &b))
    );
    assert_eq!(read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn metadata_is_the_sources_but_for_what_changed() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deeper.gguf");
    forge(deeper(31), None)
        .make(&path, MEANS, false, &WATCH)
        .unwrap();
    let (gguf, real) = (
        Gguf::open(&path).unwrap(),
        Gguf::open(&model(SMOL)).unwrap(),
    );
    assert_eq!(gguf.u32("llama.block_count").unwrap(), Some(31));
    let name = gguf.name();
    assert!(name.starts_with(&real.name()), "{name}");
    assert!(name.contains("forged: 30 layers made 31"), "{name}");
    let mut compared = 0;
    for (key, value) in real.metadata.iter() {
        match (key, value) {
            ("general.name" | "general.size_label" | "llama.block_count", _) => {}
            (_, Value::Array(array)) => {
                let Some(Value::Array(ours)) = gguf.metadata.get(key) else {
                    panic!("{key}");
                };
                assert_eq!(
                    (ours.element, ours.len),
                    (array.element, array.len),
                    "{key}"
                );
            }
            _ => assert_eq!(gguf.metadata.get(key), Some(value), "{key}"),
        }
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
    let vocabulary = |path: &Path| Tokenizer::open(path).unwrap();
    let same = vocabulary(&model(SMOL)).check_draft(&vocabulary(&path));
    assert_eq!(same, Ok(()));
}

#[test]
fn the_same_seed_makes_the_same_file() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, seed| {
        let path = dir.path().join(name);
        let forge = Forge::new(&model(SMOL), &deeper(31), None, seed).unwrap();
        forge.make(&path, MEANS, false, &WATCH).unwrap();
        std::fs::read(path).unwrap()
    };
    ggml::init().unwrap();
    let first = make("a", 5);
    assert!(first == make("b", 5));
    assert!(first != make("c", 6));
}

#[test]
fn a_size_chooses_the_layers() {
    let growth = Growth {
        size: Some("300MB".parse().unwrap()),
        ..Growth::default()
    };
    let bytes = forge(growth, None).blueprint().unwrap().file_bytes();
    // A layer is under 3 MB, so that half of one is the most that it is off.
    assert!(bytes.0.abs_diff(300_000_000) < 1_500_000, "{bytes}");
    let too_much = Growth {
        size: Some("300GB".parse().unwrap()),
        ..Growth::default()
    };
    let error = Forge::new(&model(SMOL), &too_much, None, 0).unwrap_err();
    assert!(error.to_string().contains("512 layers"), "{error}");
}

#[test]
fn a_disk_without_the_space_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.gguf");
    let growth = Growth {
        width: Some(65536),
        layers: Some(500),
        ..Growth::default()
    };
    let error = forge(growth, None)
        .make(&path, MEANS, false, &WATCH)
        .unwrap_err();
    assert!(matches!(error, ForgeError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("are needed"), "{error}");
    assert!(is_empty(dir.path()));
}

/// Stops once half is written.
struct StopsHalfway<'a> {
    stop: &'a AtomicBool,
    half: u64,
}

impl Progress for StopsHalfway<'_> {
    fn begin(&self, _: &str, _: u64, _: u64) {}
    fn at(&self, done: u64) {
        self.stop.fetch_or(done > self.half, Ordering::Relaxed);
    }
    fn end(&self) {}
    fn note(&self, _: &str) {}
}

#[test]
fn nothing_is_left_of_a_stopped_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stopped.gguf");
    let forge = forge(deeper(31), None);
    let stop = AtomicBool::new(false);
    let progress = StopsHalfway {
        stop: &stop,
        half: forge.needed_bytes().0 / 2,
    };
    let watch = Watch {
        progress: &progress,
        stop: &stop,
    };
    let error = forge.make(&path, MEANS, false, &watch).unwrap_err();
    assert!(matches!(error, ForgeError::Stopped), "{error}");
    assert!(is_empty(dir.path()));
}

#[test]
fn a_kill_leaves_no_model_that_is_not_whole() {
    let _turn = common::turn();
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("killed.gguf");
    let source = std::fs::read(model(SMOL)).unwrap();
    let args = ["--size", "800MB", "--no-verify", place.to_str().unwrap()];
    let home = tempfile::tempdir().unwrap();
    let mut child = command(home.path(), &args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Told while it writes.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains('%')));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.exists());
    assert!(source == std::fs::read(model(SMOL)).unwrap());
    // What it left does not stop the next one.
    let output = nmos(&args);
    assert!(output.status.success(), "{}", err(&output));
    assert!(Gguf::open(&place).unwrap().file_bytes() > 700_000_000);
}

fn nmos(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    command(home.path(), args).output().unwrap()
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = program::nmos(home);
    command
        .args(["forge", "--draft", "none", "--oracle"])
        .arg(model(SMOL))
        .args(args);
    command
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_makes_says_and_refuses() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.gguf");
    let file = path.to_str().unwrap();

    let dry = nmos(&["--width", "1024", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", err(&dry));
    assert!(out(&dry).contains("30 layers, 1024 wide"), "{}", out(&dry));
    assert!(out(&dry).contains("are free"), "{}", out(&dry));
    assert!(is_empty(dir.path()));

    let made = nmos(&["--layers", "31", "--ram", "1GiB", "--threads", "1", file]);
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert!(out(&made).contains("the same bits"), "{}", out(&made));

    let again = nmos(&["--layers", "31", file]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("is there already"), "{}", err(&again));

    for (args, word) in [
        (vec![file], "nothing is asked for"),
        (vec!["--layers", "3", file], "only grows"),
        (vec!["--shape", "7b", file], "heads of 64"),
        (vec!["--quant", "q9", file], "q4_k_m"),
        (vec!["--experts", "1", file], "2 to 1024 experts"),
        (vec!["--layers", "40"], "<FILE>"),
    ] {
        let output = nmos(&args);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains(word), "{}", err(&output));
    }
}
