//! What `--ram` promises, seen from outside: memory held, and bytes read for it.
//!
//! A process of its own: it counts what this one reads from disk, and its budgets start from what
//! this one holds, which must be no other test's.

#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

#[path = "support/cgroup.rs"]
mod cgroup;
#[path = "support/common.rs"]
mod common;

use cgroup::{Group, command_in};
use common::{DRAFT, ORACLE, SMOL, layer_oracle, least_ram, model, options, tokens};
use nmos::oracle::{Oracle, TokenTree, WidthClass};
use nmos::system;
use nmos::units::Bytes;
use std::process::{Command, Stdio};

/// Figures of `nmos run --json` with the default oracle.
fn run(ram: Bytes, draft: Option<&str>, group: Option<&Group>) -> serde_json::Value {
    run_model(ORACLE, ram, draft, group)
}

/// The same with any oracle; inside of `group`, if there is one.
fn run_model(
    oracle: &str,
    ram: Bytes,
    draft: Option<&str>,
    group: Option<&Group>,
) -> serde_json::Value {
    let home = tempfile::tempdir().unwrap();
    let output = command_in(group, env!("CARGO_BIN_EXE_nmos"))
        .args([
            "run",
            "--json",
            "-n",
            "12",
            "--ctx",
            "1024",
            "--threads",
            "2",
            // As many logits in any budget: what differs is spent on weights.
            "--tree",
            "16",
        ])
        .arg("--oracle")
        .arg(model(oracle))
        .arg("--draft")
        .arg(draft.map_or_else(|| "none".into(), model))
        .args(["--ram", &ram.0.to_string(), "Count from one to thirty."])
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{ram}: {} {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(stats: &serde_json::Value, field: &str) -> f64 {
    stats[field].as_f64().unwrap()
}

#[test]
fn the_process_never_holds_more_than_its_budget() {
    let _turn = common::turn();
    let base = options(ORACLE, Bytes(0));
    let least = least_ram(&base);
    let small = Bytes(least.0 + Bytes::mib(150).0);
    let large = Bytes(least.0 + Bytes::mib(500).0);
    let per_pass =
        |stats: &serde_json::Value| number(stats, "bytes_read") / number(stats, "passes");
    let [a, b] = [small, large].map(|ram| {
        let stats = run(ram, None, None);
        let peak = number(&stats, "rss_peak_bytes");
        println!(
            "--ram {ram}: peak {}, {:.0} MB a pass, text {}",
            Bytes(peak as u64),
            per_pass(&stats) / 1e6,
            stats["text"]
        );
        assert!(peak <= ram.0 as f64, "{peak} of {ram}");
        stats
    });
    assert_eq!(a["text"], b["text"]);
    // All that the larger budget has more is spent on weights that need not be read again.
    let saved = per_pass(&a) - per_pass(&b);
    let more = (large.0 - small.0) as f64;
    assert!((saved / more - 1.0).abs() < 0.1, "{saved} of {more}");

    let ram = Bytes(large.0 + Bytes::mib(600).0);
    let stats = run(ram, Some(DRAFT), None);
    let peak = number(&stats, "rss_peak_bytes");
    println!("--ram {ram} with a draft: peak {}", Bytes(peak as u64));
    assert!(peak <= ram.0 as f64, "{peak} of {ram}");
    assert_eq!(stats["text"], a["text"]);

    // Inside a group of that size nothing is pushed out and read again.
    let Some(group) = Group::new(small) else {
        println!("no control group can be made here: not run inside of one");
        return;
    };
    let inside = run(small, None, Some(&group));
    let ratio = per_pass(&inside) / per_pass(&a);
    println!(
        "in a control group: {:.0} MB a pass",
        per_pass(&inside) / 1e6
    );
    assert_eq!(inside["text"], a["text"]);
    assert!((ratio - 1.0).abs() < 0.02, "{ratio} times the bytes");
}

#[test]
fn a_pass_reads_what_the_plan_says() {
    let _turn = common::turn();
    let mut oracle = layer_oracle(ORACLE, Bytes::mib(500));
    let planned = oracle.plan().streamed_bytes as f64;
    let tree = TokenTree::chain(&tokens(&[100]), 0);
    let pass = |oracle: &mut dyn Oracle| {
        oracle.pass(&tree, WidthClass::BATCH).expect("a pass");
        (oracle.bytes_read(), system::disk_read_bytes().unwrap())
    };
    pass(&mut oracle);
    let first = pass(&mut oracle);
    let mut last = first;
    const PASSES: u32 = 6;
    for _ in 0..PASSES {
        last = pass(&mut oracle);
    }
    let counted = (last.0 - first.0) as f64 / f64::from(PASSES);
    let measured = (last.1 - first.1) as f64 / f64::from(PASSES);
    println!("a pass: planned {planned}, counted {counted}, read from disk {measured}");
    assert!(
        (counted / planned - 1.0).abs() < 0.02,
        "{counted} of {planned}"
    );
    assert!(
        (measured / planned - 1.0).abs() < 0.02,
        "{measured} of {planned}"
    );
}

/// The form that a session with this much memory and the draft takes.
fn form(ram: Bytes) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nmos"))
        .args(["plan", "--json", "--ctx", "1024", "--oracle"])
        .arg(model(SMOL))
        .args(["--draft", "none", "--ram", &ram.0.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    plan["form"].as_str().unwrap().to_owned()
}

#[test]
fn a_model_that_just_fits_stays_within_its_budget() {
    let _turn = common::turn();
    // The least that holds all of it, to a MiB.
    let (mut streams, mut fits) = (least_ram(&options(SMOL, Bytes(0))), Bytes::mib(700));
    assert_eq!(form(fits), "resident");
    while fits.0 - streams.0 > Bytes::MIB {
        let middle = Bytes(u64::midpoint(streams.0, fits.0));
        match form(middle).as_str() {
            "resident" => fits = middle,
            _ => streams = middle,
        }
    }
    // A session measures what a plan predicts, and may find a little less memory.
    let ram = Bytes(fits.0 + Bytes::mib(16).0);
    let stats = run_model(SMOL, ram, None, None);
    let peak = number(&stats, "rss_peak_bytes");
    println!("--ram {ram}, resident: peak {}", Bytes(peak as u64));
    assert_eq!(number(&stats, "bytes_read"), 0.0, "it streams");
    assert!(peak <= ram.0 as f64, "{peak} of {ram}");
}
