//! How soon the program takes keys, and how soon it says something, with nothing in the page
//! cache.

use crate::disk::Disk;
use crate::stats::median;
use anyhow::Context;
use nmos::model::{Gguf, ModelLayout};
use nmos::river::{catalogue, total_bytes};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use rustix::fs::{Advice, fadvise};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const NMOS: &str = env!("CARGO_BIN_EXE_nmos");
const RAM: &str = "960MiB";

const ROWS: NonZero<u16> = NonZero::new(40).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(120).unwrap();

/// Shown once the key has been taken: no other part of the screen has it.
const KEY: &str = "\u{2603}";

#[derive(Debug, Serialize)]
pub struct Start {
    /// From the start of the process to a typed key on the screen, in milliseconds, by run.
    pub keys_ms: Vec<f64>,
    /// From the start of `nmos run` to its first token, in seconds, by run.
    pub first_token_s: Vec<f64>,
    /// Weights that one pass needs and the draft, at the disk's own speed. The draft is not in
    /// the way of the first token, but is read before the second.
    pub least_s: f64,
}

impl Start {
    pub fn print(&self) {
        let keys = median(self.keys_ms.iter().copied());
        let first = median(self.first_token_s.iter().copied());
        println!("\nstart with cold files");
        println!("  to a key on the screen   {keys:5.0} ms (wanted under 300)");
        println!(
            "  to the first token       {first:5.2} s, {:.2} of reading the weights and the \
             draft once (wanted at most 1.20)",
            first / self.least_s
        );
    }
}

pub fn measure(oracle: &Path, draft: &Path, disk: &Disk, rounds: usize) -> anyhow::Result<Start> {
    let layout = ModelLayout::from_gguf(&Gguf::open(oracle)?)?;
    let read = total_bytes(&catalogue(&layout)).0 + std::fs::metadata(draft)?.len();
    let mut start = Start {
        keys_ms: Vec::new(),
        first_token_s: Vec::new(),
        least_s: read as f64 / disk.bytes_per_s(),
    };
    let state = tempfile::tempdir()?;
    for _ in 0..rounds {
        evict(&[oracle, draft])?;
        start.keys_ms.push(keys(oracle, draft, state.path())?);
        evict(&[oracle, draft])?;
        start
            .first_token_s
            .push(first_token(oracle, draft, state.path())?);
    }
    Ok(start)
}

/// Drops models, program and kernels from the page cache.
fn evict(models: &[&Path]) -> anyhow::Result<()> {
    let mut files: Vec<_> = models.iter().map(|p| p.to_path_buf()).collect();
    files.push(NMOS.into());
    if let Some(backends) = option_env!("NMOS_BACKENDS_DIR") {
        for entry in std::fs::read_dir(backends)? {
            files.push(entry?.path());
        }
    }
    for path in files.iter().filter(|p| p.is_file()) {
        fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn keys(oracle: &Path, draft: &Path, state: &Path) -> anyhow::Result<f64> {
    let pair = native_pty_system().openpty(PtySize {
        rows: ROWS.get(),
        cols: COLUMNS.get(),
        pixel_width: 0,
        pixel_height: 0,
    })?;
    let mut command = CommandBuilder::new(NMOS);
    command.args(["--ram", RAM, "--oracle"]);
    command.arg(oracle);
    command.arg("--draft");
    command.arg(draft);
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, state);
    }
    let mut reader = pair.master.try_clone_reader()?;
    let mut writer = pair.master.take_writer()?;
    let began = Instant::now();
    let mut child = pair.slave.spawn_command(command)?;
    // Typed at once: the terminal keeps it until the program reads.
    writer.write_all(KEY.as_bytes())?;
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    let mut bytes = [0; 4096];
    let ms = loop {
        let n = reader.read(&mut bytes)?;
        anyhow::ensure!(n > 0, "nmos ended before it took a key");
        parser.process(&bytes[..n]);
        let screen = parser.screen();
        if screen.alternate_screen() && screen.contents().contains(KEY) {
            break began.elapsed().as_secs_f64() * 1e3;
        }
    };
    child.kill()?;
    child.wait()?;
    Ok(ms)
}

fn first_token(oracle: &Path, draft: &Path, state: &Path) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut child = Command::new(NMOS)
        .args(["run", "-n", "1", "--ram", RAM, "--oracle"])
        .arg(oracle)
        .arg("--draft")
        .arg(draft)
        .arg("Why is the sky blue?")
        .env("XDG_CONFIG_HOME", state)
        .env("XDG_STATE_HOME", state)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = child.stdout.take().context("no pipe")?;
    let n = out.read(&mut [0; 1])?;
    let seconds = began.elapsed().as_secs_f64();
    let status = child.wait()?;
    anyhow::ensure!(status.success() && n > 0, "nmos run ended with {status}");
    Ok(seconds)
}
