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

#[path = "../../tests/support/cgroup.rs"]
mod cgroup;
mod disk;
mod kernels;
mod passes;
mod promises;
mod start;
mod stats;

use clap::{Parser, ValueEnum};
use nmos::model::locate;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Parser)]
#[command(name = "river", about = "Measures how weights are streamed")]
struct Args {
    /// Runs of each measurement; medians are shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measures these parts alone; the disk is measured for all but the kernels.
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Part>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Disk,
    Passes,
    Placements,
    Kernels,
    Promises,
    Start,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// What was left out is empty, or null.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    kernel: String,
    cpu: nmos::system::CpuFacts,
    memory: nmos::system::MemoryFacts,
    disk: Option<disk::Disk>,
    passes: Vec<passes::Row>,
    placements: Vec<passes::Placements>,
    kernels: Vec<kernels::Row>,
    promises: Vec<promises::Promise>,
    start: Option<start::Start>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let oracle = locate::resolve(&args.oracle)?;
    let draft = locate::resolve(&args.draft)?;
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        kernel: nmos::system::kernel(),
        cpu: nmos::system::cpu_facts(),
        memory: nmos::system::memory(),
        disk: None,
        passes: Vec::new(),
        placements: Vec::new(),
        kernels: Vec::new(),
        promises: Vec::new(),
        start: None,
    };
    if args.wants(Part::Kernels) {
        report.kernels = kernels::measure(&oracle, args.rounds, args.threads)?;
    }
    if args.only != [Part::Kernels] {
        against_the_disk(&args, &oracle, &draft, &mut report)?;
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

/// The parts whose measure is what the disk gives.
fn against_the_disk(
    args: &Args,
    oracle: &Path,
    draft: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let disk = disk::measure(oracle, nmos::plan::read_sizes(oracle), args.rounds)?;
    disk.print();
    if args.wants(Part::Passes) {
        report.passes = passes::measure(oracle, &disk, args.rounds, args.threads)?;
        passes::print(&report.passes);
    }
    if args.wants(Part::Placements) {
        report.placements = passes::placements(oracle, args.rounds, args.threads)?;
        passes::print_placements(&report.placements);
    }
    if args.wants(Part::Promises) {
        for ram in promises::RAM {
            let row = promises::measure(oracle, draft, ram, &disk, args)?;
            report.promises.push(row);
        }
        for forged in &args.forged {
            let row = promises::measure(forged, draft, promises::FORGED_RAM, &disk, args)?;
            report.promises.push(row);
        }
        report.promises.iter().for_each(promises::Promise::print);
    }
    if args.wants(Part::Start) {
        let start = start::measure(oracle, draft, &disk, args.rounds)?;
        start.print();
        report.start = Some(start);
    }
    report.disk = Some(disk);
    Ok(())
}
