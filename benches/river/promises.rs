//! What `nmos plan` says against what is then so: the time of a pass, and the memory held.

use crate::Args;
use crate::cgroup::{Group, command_in};
use crate::disk::Disk;
use nmos::units::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Budgets of the default oracle: little, some and most of it stays.
pub const RAM: [Bytes; 3] = [Bytes::mib(760), Bytes::mib(960), Bytes::mib(1200)];

/// Of models that were made larger.
pub const FORGED_RAM: Bytes = Bytes::mib(2048);

const NMOS: &str = env!("CARGO_BIN_EXE_nmos");

/// A promise, and what became of it.
#[derive(Debug, Serialize)]
pub struct Promise {
    pub model: String,
    pub model_bytes: u64,
    pub ram: Bytes,
    /// Of a pass, as planned.
    pub streamed_bytes: u64,
    pub passes: Vec<Pass>,
    /// Answers with the draft, once without a limit from outside and once in a memory group of
    /// exactly `ram` (`None` where none can be made).
    pub free: Held,
    pub caged: Option<Held>,
}

#[derive(Debug, Serialize)]
pub struct Pass {
    pub nodes: u64,
    pub predicted_s: f64,
    pub measured_s: f64,
    /// Predicted over measured; wanted between 0.9 and 1.1.
    pub ratio: f64,
    /// Measured, over the longer of reading at the disk's own speed and computing.
    pub over_least: f64,
}

/// Memory of a run, and what it read.
#[derive(Debug, Serialize)]
pub struct Held {
    pub peak: Bytes,
    pub bytes_a_pass: f64,
    pub tokens_per_s: Option<f64>,
}

pub fn measure(
    oracle: &Path,
    draft: &Path,
    ram: Bytes,
    disk: &Disk,
    args: &Args,
) -> anyhow::Result<Promise> {
    let plan = report(
        Command::new(NMOS)
            .arg("plan")
            .arg(format!("--check={}", args.rounds))
            .args(["--json", "--draft", "none", "--ram", &ram.0.to_string()])
            .args(["--threads", &args.threads.to_string(), "--oracle"])
            .arg(oracle),
    )?;
    let streamed = number(&plan["predicted_bytes_a_pass"]);
    let disk_s = streamed / disk.bytes_per_s();
    let passes = list(&plan["checked"]).iter().map(|row| {
        let measured_s = number(&row["measured_pass_s"]);
        let computing_s = measured_s - number(&row["measured_stall_s"]);
        Pass {
            nodes: row["nodes"].as_u64().unwrap_or(0),
            predicted_s: number(&row["predicted_pass_s"]),
            measured_s,
            ratio: number(&row["ratio"]),
            over_least: measured_s / disk_s.max(computing_s),
        }
    });
    let group = Group::new(ram);
    Ok(Promise {
        model: plan["model"]["name"].as_str().unwrap_or("?").to_owned(),
        model_bytes: number(&plan["model"]["bytes"]) as u64,
        ram,
        streamed_bytes: streamed as u64,
        passes: passes.collect(),
        free: held(oracle, draft, ram, None)?,
        caged: match &group {
            Some(group) => Some(held(oracle, draft, ram, Some(group))?),
            None => None,
        },
    })
}

fn held(oracle: &Path, draft: &Path, ram: Bytes, group: Option<&Group>) -> anyhow::Result<Held> {
    let stats = report(
        command_in(group, NMOS)
            .args(["run", "--json", "-n", "12", "--ctx", "1024", "--ram"])
            .arg(ram.0.to_string())
            .arg("--oracle")
            .arg(oracle)
            .arg("--draft")
            .arg(draft)
            .arg("Count from one to thirty."),
    )?;
    Ok(Held {
        peak: Bytes(number(&stats["rss_peak_bytes"]) as u64),
        bytes_a_pass: number(&stats["bytes_read"]) / number(&stats["passes"]),
        tokens_per_s: stats["tokens_per_s"].as_f64(),
    })
}

/// What a command of nmos prints as JSON.
fn report(command: &mut Command) -> anyhow::Result<Value> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?} ended with {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Promise {
    pub fn print(&self) {
        println!(
            "\n{}, {:.1} GB, --ram {}: {:.2} GB a pass",
            self.model,
            self.model_bytes as f64 / 1e9,
            self.ram,
            self.streamed_bytes as f64 / 1e9
        );
        println!("  nodes  planned s  measured s  ratio  over the longer of disk and compute");
        for pass in &self.passes {
            println!(
                "  {:>5} {:>10.3} {:>11.3} {:>6.2} {:>6.3}",
                pass.nodes, pass.predicted_s, pass.measured_s, pass.ratio, pass.over_least
            );
        }
        for (name, held) in [("free", Some(&self.free)), ("caged", self.caged.as_ref())] {
            match held {
                Some(held) => println!(
                    "  answering, {name:<5}  peak {} of {}, {:.0} MB a pass, {:.1} tokens/s",
                    held.peak,
                    self.ram,
                    held.bytes_a_pass / 1e6,
                    held.tokens_per_s.unwrap_or(f64::NAN)
                ),
                None => println!(
                    "  answering, {name}: not measured, it takes the right to make a memory group"
                ),
            }
        }
    }
}
