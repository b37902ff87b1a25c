//! Measures the River on this machine: how much of the disk's speed reaches the ring, what a
//! pass costs against what the disk and the processor allow, how soon the program takes keys.
//!
//! `make bench-river` runs it; `--help` says what can be set. It takes some minutes, reads the
//! default oracle from disk many times, and wants a machine that does nothing else. Nothing
//! here is a pass mark: limits are printed next to the figures that they are for.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark may panic where it cannot go on"
)]

#[path = "../../tests/common/cgroup.rs"]
mod cgroup;
mod disk;
mod passes;
mod promises;
mod start;
mod stats;

use clap::Parser;
use nmos::model::locate;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(name = "river", about = "Measures how weights are streamed")]
struct Args {
    /// Runs of each measurement; medians are shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The model that is streamed: a GGUF file or a catalogue name.
    #[arg(long, default_value = "qwen2.5-coder-1.5b")]
    oracle: String,
    /// The draft of the runs that answer.
    #[arg(long, default_value = "qwen2.5-coder-0.5b")]
    draft: String,
    /// Larger models, as made by `nmos forge`, streamed within 2 GiB; `make bench-forged` makes
    /// some.
    #[arg(long, num_args = 1..)]
    forged: Vec<PathBuf>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where to write the report.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    kernel: String,
    cpu: nmos::system::CpuFacts,
    memory: nmos::system::MemoryFacts,
    disk: disk::Disk,
    passes: Vec<passes::Row>,
    placements: Vec<passes::Placements>,
    promises: Vec<promises::Promise>,
    start: start::Start,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let oracle = locate::resolve(&args.oracle)?;
    let draft = locate::resolve(&args.draft)?;
    let sizes = nmos::plan::read_sizes(&oracle);
    let disk = disk::measure(&oracle, sizes, args.rounds)?;
    disk.print();
    let passes = passes::measure(&oracle, &disk, args.rounds, args.threads)?;
    passes::print(&passes);
    let placements = passes::placements(&oracle, args.rounds, args.threads)?;
    passes::print_placements(&placements);
    let mut promises = Vec::new();
    for ram in promises::RAM {
        promises.push(promises::measure(&oracle, &draft, ram, &disk, &args)?);
    }
    for forged in &args.forged {
        promises.push(promises::measure(
            forged,
            &draft,
            promises::FORGED_RAM,
            &disk,
            &args,
        )?);
    }
    promises.iter().for_each(promises::Promise::print);
    let start = start::measure(&oracle, &draft, &disk, args.rounds)?;
    start.print();
    if let Some(path) = &args.json {
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            kernel: nmos::system::kernel(),
            cpu: nmos::system::cpu_facts(),
            memory: nmos::system::memory(),
            disk,
            passes,
            placements,
            promises,
            start,
        };
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}
