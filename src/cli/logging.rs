//! The log file, and what is said when the program falls over a fault of its own.
//!
//! Nothing is ever logged to the terminal: the workbench draws there. A fault is told once, here,
//! after the workbench has given the terminal back.

use crate::config::{LogLevel, Origin, Settings};
use crate::telemetry::{log_file, log_is_at, see_log};
use crate::{ggml, tui};
use anyhow::Context;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::LevelFilter;

/// A log of this many bytes is put aside as `nmos.log.1` when the next run begins.
const ROTATE_BYTES: u64 = 8 << 20;

/// Starts logging; lines are written as long as what is returned is held.
///
/// A file that was asked for must be writable. Where the default one is not (a read-only
/// home), NMOS runs without a log, as `nmos doctor` says.
pub fn start(settings: &Settings) -> anyhow::Result<Option<WorkerGuard>> {
    let level = filter(settings.log_level.value);
    if level == LevelFilter::OFF {
        return Ok(None);
    }
    let Some(path) = settings.log_file() else {
        return Ok(None);
    };
    let file = match open(&path) {
        Ok(file) => file,
        Err(_) if settings.log_file.origin == Origin::Default => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot write the log file {}", path.display()));
        }
    };
    let (writer, guard) = tracing_appender::non_blocking(file);
    let started = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .with_max_level(level)
        .try_init();
    if started.is_err() {
        anyhow::bail!("logging was started twice");
    }
    log_is_at(path);
    tracing::info!(version = super::version::short(), "started");
    Ok(Some(guard))
}

/// Opens a log to append to, and puts a long one aside first.
pub fn open(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    if fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > ROTATE_BYTES) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, aside)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Makes a panic and an abort of llama.cpp say in a user's words what happened and where the log
/// is. The workbench chains a hook before the panic's, which gives the terminal back first.
pub fn report_faults() {
    ggml::on_abort(aborted);
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let what = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no reason given");
        let place = panic.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("an unknown place");
        tracing::error!(place, what, "panic");
        tell(
            &format!("a fault in nmos itself: {what}\n  where: {place}"),
            REPORT,
        );
    }));
}

/// The process ends when this returns.
fn aborted(what: &str) {
    tui::give_terminal_back();
    // Straight into the file: the thread that writes the log would not come to it any more.
    let log = log_file().and_then(|path| OpenOptions::new().append(true).open(path).ok());
    if let Some(mut log) = log {
        let _ = writeln!(log, "ERROR llama.cpp gave up: {what}");
    }
    let (fault, what_to_do) = explain(what);
    tell(&fault, what_to_do);
}

/// What an abort means to a user, and what to do about it.
fn explain(what: &str) -> (String, &'static str) {
    if GPU_FAILED.iter().any(|words| what.contains(words)) {
        (
            format!("the GPU does not answer any more: {what}\n  where: in its driver"),
            "start nmos again, with --vram 0 to do without the GPU; if that happens twice, please \
             report these lines",
        )
    } else {
        (
            format!("llama.cpp gave up: {what}\n  where: in llama.cpp"),
            REPORT,
        )
    }
}

/// How ggml begins to tell of an error of a GPU, after which that is lost to the process.
const GPU_FAILED: [&str; 3] = ["CUDA error", "ROCm error", "MUSA error"];

const REPORT: &str = "please report these lines";

fn tell(fault: &str, what_to_do: &str) {
    let text = format!(
        "error: {fault}, version {}\n  what to do: {what_to_do}{}\n",
        super::version::short(),
        see_log()
    );
    // Not `eprintln!`, which panics when standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/nmos.log");
        open(&path).unwrap().set_len(ROTATE_BYTES + 1).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        let aside = dir.path().join("state/nmos.log.1");
        assert_eq!(fs::metadata(aside).unwrap().len(), ROTATE_BYTES + 1);
    }

    #[test]
    fn a_short_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nmos.log");
        open(&path).unwrap().write_all(b"one\n").unwrap();
        open(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_lost_gpu_is_no_fault_to_report() {
        let (fault, what_to_do) = explain("ggml-cuda.cu:103: CUDA error");
        assert!(fault.starts_with("the GPU does not answer"), "{fault}");
        assert!(what_to_do.contains("--vram 0"), "{what_to_do}");
        let (fault, what_to_do) = explain("ggml.c:1: GGML_ASSERT(a) failed");
        assert!(fault.starts_with("llama.cpp gave up"), "{fault}");
        assert_eq!(what_to_do, REPORT);
    }
}
