//! What the disk gives: to fio, and to our own reader through the ring, in turn.

use crate::stats::median;
use nmos::model::{Gguf, ModelLayout};
use nmos::river::{
    HostSupply, Plan, ReadSizes, Reads, Setup, ShardIdx, WeightMemory, WeightSupply, catalogue,
};
use nmos::telemetry::Hub;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Laps over the model of one run of ours.
const LAPS: usize = 3;

const HUGE_PAGE_BYTES: usize = 2 << 20;

#[derive(Debug, Serialize)]
pub struct Disk {
    pub block_bytes: usize,
    pub depth: usize,
    /// Decimal gigabytes a second, by run; empty without fio.
    pub fio_gb_s: Vec<f64>,
    /// fio read into huge pages, as the river does.
    pub fio_huge_pages: bool,
    pub river_gb_s: Vec<f64>,
    /// Of the reading thread, percent of a core for each GB/s.
    pub cpu_percent_per_gb_s: f64,
    pub reader: String,
}

impl Disk {
    /// Bytes a second that the disk can give: the better of both, which is the stricter
    /// measure of a pass.
    pub fn bytes_per_s(&self) -> f64 {
        let ours = median(self.river_gb_s.iter().copied());
        // Without fio its median is NaN, and the other is taken.
        median(self.fio_gb_s.iter().copied()).max(ours) * 1e9
    }

    pub fn print(&self) {
        let ours = median(self.river_gb_s.iter().copied());
        println!(
            "disk, O_DIRECT, {} KiB blocks, {} in flight ({})",
            self.block_bytes >> 10,
            self.depth,
            self.reader
        );
        println!("  river {ours:6.2} GB/s");
        if self.fio_gb_s.is_empty() {
            println!("  fio    not found: nothing to compare with");
        } else {
            let fio = median(self.fio_gb_s.iter().copied());
            let share = median(
                (self.river_gb_s.iter().zip(&self.fio_gb_s)).map(|(ours, theirs)| ours / theirs),
            );
            println!("  fio   {fio:6.2} GB/s: the river has {share:.3} of it (wanted 0.95)");
            if !self.fio_huge_pages {
                println!(
                    "        into ordinary pages, which some disks fill more slowly than the huge \
                     ones of the river; `sysctl vm.nr_hugepages={}` lets both do the same",
                    self.huge_pages_wanted()
                );
            }
        }
        println!(
            "  reading takes {:.1}% of a core for each GB/s (wanted at most 5%)",
            self.cpu_percent_per_gb_s
        );
    }
}

impl Disk {
    /// Huge pages for fio's blocks in flight, and some of its own.
    fn huge_pages_wanted(&self) -> usize {
        2 * (self.block_bytes * self.depth).div_ceil(HUGE_PAGE_BYTES)
    }
}

/// Whether this many huge pages are set aside for programs that ask.
fn huge_pages_free(wanted: usize) -> bool {
    std::fs::read_to_string("/proc/meminfo").is_ok_and(|facts| {
        let line = facts
            .lines()
            .find_map(|l| l.strip_prefix("HugePages_Free:"));
        line.and_then(|n| n.trim().parse().ok())
            .is_some_and(|free: usize| free >= wanted)
    })
}

/// Reads the model with both, `rounds` times, in the sizes that sessions read in.
pub fn measure(model: &Path, sizes: ReadSizes, rounds: usize) -> anyhow::Result<Disk> {
    let gguf = Gguf::open(model)?;
    let layout = ModelLayout::from_gguf(&gguf)?;
    let files: Vec<PathBuf> = gguf.files.iter().map(|f| f.path.clone()).collect();
    let shards = catalogue(&layout);
    // Three of the largest shard: what a session streams through.
    let largest = shards.iter().map(|s| s.bytes).max().unwrap_or(0);
    let bytes: usize = shards.iter().map(|s| s.bytes).sum();
    let plan = Plan {
        pinned: vec![false; shards.len()],
        leaves: vec![false; shards.len()],
        ring_bytes: 3 * largest,
        pinned_bytes: 0,
        streamed_bytes: bytes,
    };
    let mut disk = Disk {
        block_bytes: sizes.bytes,
        depth: sizes.depth,
        fio_gb_s: Vec::new(),
        fio_huge_pages: false,
        river_gb_s: Vec::new(),
        cpu_percent_per_gb_s: 0.0,
        reader: String::new(),
    };
    disk.fio_huge_pages = huge_pages_free(disk.huge_pages_wanted());
    let mut cpu = Vec::new();
    for _ in 0..rounds {
        disk.fio_gb_s.extend(fio(model, sizes, disk.fio_huge_pages));
        let count = shards.len();
        let mut supply = HostSupply::start(Setup {
            files: files.clone(),
            shards: shards.clone(),
            plan: plan.clone(),
            reads: Reads::from(sizes),
            memory: WeightMemory::Host,
            hub: Hub::new(),
        })?;
        // The first lap sets up memory.
        lap(&mut supply, count)?;
        let (began, cpu_before) = (Instant::now(), supply.river().counters().cpu_ns());
        for _ in 0..LAPS {
            lap(&mut supply, count)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let gb = (LAPS * bytes) as f64 / 1e9;
        disk.river_gb_s.push(gb / seconds);
        cpu.push((supply.river().counters().cpu_ns() - cpu_before) as f64 / 1e9 / gb * 100.0);
        supply.river().reader().clone_into(&mut disk.reader);
    }
    disk.cpu_percent_per_gb_s = median(cpu);
    Ok(disk)
}

fn lap(supply: &mut HostSupply, shards: usize) -> anyhow::Result<()> {
    for shard in (0..shards).map(ShardIdx) {
        supply.take(shard)?;
        supply.give(shard);
    }
    Ok(())
}

/// fio's own figure for the same file, block and depth; `None` where there is no fio.
fn fio(model: &Path, sizes: ReadSizes, huge_pages: bool) -> Option<f64> {
    let output = Command::new("fio")
        .args(["--name=river", "--rw=read", "--direct=1", "--readonly"])
        .args(["--ioengine=io_uring", "--output-format=json", "--loops=3"])
        .arg(format!("--filename={}", model.display()))
        .arg(format!("--bs={}", sizes.bytes))
        .arg(format!("--iodepth={}", sizes.depth))
        .arg(if huge_pages {
            "--mem=shmhuge"
        } else {
            "--mem=mmap"
        })
        .output()
        .ok()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(report["jobs"][0]["read"]["bw_bytes"].as_f64()? / 1e9)
}
