//! `nmos plan` against the default models, and against what a session then does.

use crate::common::{DRAFT, ORACLE, SMOL, model};
use crate::program::nmos;
use nmos::model::{Blueprint, Gguf, ModelLayout, Tokenizer};
use nmos::plan::{self, Division, Footprint, Sizes, TreeSize, tensor_bytes};
use nmos::river::{catalogue, total_bytes};
use nmos::speculate::ModelDrafter;
use nmos::system;
use nmos::units::Bytes;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn plan(oracle: &Path, draft: Option<&Path>, more: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    nmos(home.path())
        .arg("plan")
        .arg("--oracle")
        .arg(oracle)
        .arg("--draft")
        .arg(draft.unwrap_or(Path::new("none")))
        .args(more)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn owner(report: &Value, name: &str) -> Option<u64> {
    let owners = report["budget"].as_array().unwrap();
    let found = owners.iter().find(|o| o["owner"] == name)?;
    found["bytes"].as_u64()
}

#[test]
fn a_streamed_plan_accounts_for_every_byte() {
    let path = model(ORACLE);
    let report = json(&plan(&path, None, &["--ram", "640MiB", "--json"]));
    assert_eq!(report["form"], "streamed");
    let owners = report["budget"].as_array().unwrap();
    let sum: u64 = owners.iter().map(|o| o["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum, 640 << 20);
    let layout = ModelLayout::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
    let shards = catalogue(&layout);
    let stay = report["shards_stay"].as_u64().unwrap();
    let stream = report["shards_stream"].as_u64().unwrap();
    assert_eq!(stay + stream, shards.len() as u64);
    let read = report["predicted_bytes_a_pass"].as_u64().unwrap();
    let kept = owner(&report, "weights that stay").unwrap();
    assert_eq!(read + kept, total_bytes(&shards).0);
    // The predicted time of a pass follows from what was measured.
    let gb_s = report["measured_disk"]["computing_gb_s"].as_f64().unwrap();
    let seconds = report["predicted_disk_s_a_pass"].as_f64().unwrap();
    assert!((seconds * gb_s * 1e9 / read as f64 - 1.0).abs() < 1e-6);
    assert!(report["checked"].is_null());
}

#[test]
fn passes_are_predicted_from_kernels_and_disk() {
    // Where a draft guesses, one node is padded to the eight of its width class.
    predicted(None, "640MiB", (&[16], "no_draft"), 1);
    // Little streams: what the program holds, a little more or less, decides (see below).
    predicted(None, "1005MiB", (&[8, 16], "no_draft"), 1);
    predicted(Some(&model(DRAFT)), "1100MiB", (&[63], "auto"), 8);
}

/// Without a draft model a pass has sixteen nodes, or eight where the logits of eight more would
/// make it read a 50th more.
#[test]
fn more_nodes_are_left_out_where_their_memory_is_a_part_of_what_streams() {
    nmos::ggml::init().unwrap();
    let gguf = Gguf::open(&model(ORACLE)).unwrap();
    let blueprint = Blueprint::from_gguf(&gguf).unwrap();
    let shards = plan::shards(&blueprint);
    let all = total_bytes(&shards).0;
    let mut found = [0; 2];
    for ram in (640..1060).step_by(15) {
        let divide = |tree| {
            let sizes = Sizes {
                ram: Bytes::mib(ram),
                footprint: Footprint {
                    program: Bytes::mib(18),
                    vocabulary: Bytes::mib(46),
                    draft: None,
                    drafters: Bytes(0),
                },
                tensors: tensor_bytes(&gguf),
                ctx_tokens: 4096,
                tree,
                device: None,
            };
            Division::new(&sizes, &blueprint, &shards).unwrap()
        };
        let streamed = |nodes| {
            let division = divide(TreeSize::Fixed(nodes));
            all - division.form.plan().unwrap().pinned_bytes as u64
        };
        let reads_more = streamed(16) > streamed(8) + streamed(8) / 50;
        let nodes = divide(TreeSize::Auto).max_nodes;
        assert_eq!(nodes, if reads_more { 8 } else { 16 }, "{ram} MiB");
        found[usize::from(reads_more)] += 1;
    }
    assert!(found.iter().all(|&n| n > 0), "{found:?}");
}

fn predicted(draft: Option<&Path>, ram: &str, (most, from): (&[u64], &str), width: u64) {
    let report = json(&plan(&model(ORACLE), draft, &["--ram", ram, "--json"]));
    let passes = report["passes"].as_array().unwrap();
    let sizes: Vec<_> = passes
        .iter()
        .map(|p| p["nodes"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [1, 8, 16, 32, 63]);
    for pass in passes {
        let number = |name: &str| pass[name].as_f64().unwrap();
        let (compute, disk) = (number("predicted_compute_s"), number("predicted_disk_s"));
        let whole = number("predicted_pass_s");
        assert!(compute > 0.0 && disk > 0.0);
        assert!(whole >= compute.max(disk) * 0.999 && whole <= (compute + disk) * 1.001);
        assert!((number("predicted_tokens_per_s") * whole - 1.0).abs() < 1e-9);
        let limit = if disk > compute { "disk" } else { "compute" };
        assert_eq!(pass["limit"], limit, "disk {disk}, compute {compute}");
    }
    let max_nodes = report["max_nodes"].as_u64().unwrap();
    assert!(most.contains(&max_nodes), "{max_nodes}");
    assert_eq!(report["max_nodes_from"], from);
    assert_eq!(passes[0]["width"], width);
    // Printed and read again, numbers may differ in the last digit.
    for (whole, pass) in [
        ("compute_s_a_pass", "predicted_compute_s"),
        ("predicted_disk_s_a_pass", "predicted_disk_s"),
        ("predicted_passes_per_s", "predicted_tokens_per_s"),
    ] {
        let (whole, pass) = (report[whole].as_f64(), passes[0][pass].as_f64());
        let ratio = whole.unwrap() / pass.unwrap();
        assert!((ratio - 1.0).abs() < 1e-9, "{whole:?} and {pass:?}");
    }
}

#[test]
fn the_most_nodes_of_a_pass_are_said_and_paid_for() {
    let smol = model(SMOL);
    let plan = |more: &[&str]| {
        let more = [&["--ctx", "512", "--json"], more].concat();
        json(&plan(&smol, Some(&smol), &more))
    };
    // Logits of a node take 0.2 MB: those of 63 are too many for little memory.
    let little = plan(&["--ram", "290MiB"]);
    assert_eq!(
        (&little["max_nodes"], &little["max_nodes_from"]),
        (&16.into(), &"short_memory".into())
    );
    let (one, many) = (
        plan(&["--ram", "185MiB", "--tree", "1"]),
        plan(&["--ram", "345MiB", "--tree", "200"]),
    );
    let logits = |report: &Value| owner(report, "logits").unwrap();
    assert!(logits(&one) < logits(&little));
    let vocabulary = 49_152 * 4;
    assert!(logits(&many) > 200 * vocabulary && logits(&many) < 2 * 200 * vocabulary);
    assert_eq!(
        (&many["max_nodes"], &many["max_nodes_from"]),
        (&200.into(), &"setting".into())
    );
    let widest = many["passes"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&widest["nodes"], &widest["width"]),
        (&200.into(), &200.into())
    );
}

#[test]
fn a_check_runs_real_passes() {
    let path = model(SMOL);
    let report = json(&plan(
        &path,
        None,
        &["--ram", "185MiB", "--ctx", "512", "--check=1", "--json"],
    ));
    assert_eq!(report["form"], "streamed");
    let (passes, checked) = (&report["passes"], report["checked"].as_array().unwrap());
    assert_eq!(checked.len(), passes.as_array().unwrap().len());
    for (check, pass) in checked.iter().zip(passes.as_array().unwrap()) {
        assert_eq!(check["nodes"], pass["nodes"]);
        let predicted = |of: &serde_json::Value| of["predicted_pass_s"].as_f64().unwrap();
        assert!((predicted(check) / predicted(pass) - 1.0).abs() < 1e-9);
        let number = |name: &str| check[name].as_f64().unwrap();
        let ratio = number("predicted_pass_s") / number("measured_pass_s");
        assert!((number("ratio") / ratio - 1.0).abs() < 1e-9);
        assert!(number("measured_stall_s") <= number("measured_pass_s"));
    }
}

#[test]
fn a_model_that_fits_reads_nothing() {
    let report = json(&plan(&model(SMOL), None, &["--ram", "1GiB", "--json"]));
    assert_eq!(report["form"], "resident");
    assert_eq!(report["predicted_bytes_a_pass"], 0);
    assert!(report["predicted_disk_s_a_pass"].is_null());
    assert_eq!(report["ram_is_default"], false);
    // Without a draft an answer's passes are over one token, and not padded.
    assert_eq!(report["passes"][0]["width"], 1);
    assert_eq!(report["passes"][0]["limit"], "compute");
}

#[test]
fn too_little_memory_says_how_much_is_enough() {
    let path = model(ORACLE);
    let output = plan(&path, None, &["--ram", "128MiB"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (_, least) = text.split_once("the least that works is ").unwrap();
    let least = least.split(';').next().unwrap().replace(' ', "");
    json(&plan(&path, None, &["--ram", &least, "--json"]));
}

#[test]
fn the_text_says_what_is_measured_and_what_is_predicted() {
    let output = plan(&model(ORACLE), Some(&model(DRAFT)), &["--ram", "1100MiB"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "measured just now",
        "(predicted)",
        "predicted, from kernels and disk as just measured",
        "1.07 GiB (as set)",
        "padded to 8",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let output = plan(&model(SMOL), None, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("what is available less a margin"), "{text}");
}

/// What a session places weights by must hold once vocabulary and draft are there: no more
/// than a little over the prediction, for which the budget's margin is, and not much less.
#[test]
fn what_a_draft_holds_is_predicted() {
    for file in [SMOL, DRAFT] {
        let path = model(file);
        let more = ["--ram", "2GiB", "--ctx", "2048", "--json"];
        let report = json(&plan(&path, Some(&path), &more));
        let predicted: u64 = ["vocabulary", "draft"]
            .iter()
            .map(|name| owner(&report, name).unwrap())
            .sum();
        nmos::ggml::init().unwrap();
        let before = system::rss().unwrap().0;
        let tokenizer = Tokenizer::open(&path).unwrap();
        let _draft = ModelDrafter::open(&Gguf::open(&path).unwrap(), 2048, 2).unwrap();
        let real = system::rss().unwrap().0 - before;
        assert!(tokenizer.n_vocab() > 0);
        println!("{file}: predicted {predicted}, real {real}");
        assert!(
            real < predicted + Bytes::mib(12).0 && real > predicted / 10 * 9,
            "{file}: predicted {predicted}, really {real}"
        );
    }
}

#[test]
fn the_chat_template_is_named() {
    let path = model(DRAFT);
    let report = json(&plan(&path, None, &["--json"]));
    assert_eq!(report["chat_template"], "the model's own");
    let output = plan(&path, None, &["--chat-template", "gemma"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("\nchat template: gemma, as built in\n"),
        "{text}"
    );
    let refused = plan(&path, None, &["--chat-template", "llama9"]);
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        error.contains("'llama9' is no chat template") && error.contains("mistral-v3"),
        "{error}"
    );
}
