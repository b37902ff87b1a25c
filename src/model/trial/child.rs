//! Both ends of the process that opens a file first.
//!
//! ```text
//!  nmos ... --> nmos try-file BYTES THREADS FILE...
//!                 opens, computes one token --> "passed" or "refused: why" on its output
//!                 aborts                    --> ggml's words there, and a signal
//!                 hangs, or takes too much  --> is killed
//! ```

use crate::ggml::{self, ModelFiles};
use crate::system;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The hidden command.
const COMMAND: &str = "try-file";

/// Seconds of a processor that a trial may take, and seconds that it may last.
const CPU_S: u64 = 20;
const LASTS: Duration = Duration::from_secs(90);

/// How often the parent looks at what its child holds.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Most of what a child says that is read.
const MOST_WORDS: u64 = 4096;

/// Addresses that a child may use beyond its file and its memory: stacks, and what allocators set
/// aside.
const SLACK: u64 = 512 << 20;

/// How a trial ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// The reason in words. `lasting`: it will be the same the next time.
    Failed {
        why: String,
        lasting: bool,
    },
}

/// Tries a model in a process of `program`, which may hold `most` bytes.
///
/// # Errors
/// The system's own, where no process can be had.
pub(super) fn run(
    program: &Path,
    files: &ModelFiles,
    most: u64,
    threads: usize,
) -> std::io::Result<Outcome> {
    let mut child = Command::new(program)
        .arg(COMMAND)
        .arg(most.to_string())
        .arg(threads.to_string())
        .args(files.iter())
        // One heap: each takes addresses, of which there is a limit.
        .env("MALLOC_ARENA_MAX", "1")
        .env("GGML_NO_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let watched = watch(&mut child, most);
    // It has ended, or is to: with its output closed there is nothing more to wait for.
    if !matches!(watched, Ok(Watched::Ended(_))) {
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(match watched? {
        Watched::Ended(words) => judge(&words, status),
        Watched::TooLong => Outcome::Failed {
            why: format!("opening it takes more than {} seconds", LASTS.as_secs()),
            lasting: false,
        },
        Watched::TooMuch => Outcome::Failed {
            why: format!("opening it takes more than {} MiB of memory", most >> 20),
            lasting: true,
        },
    })
}

enum Watched {
    Ended(String),
    TooLong,
    TooMuch,
}

/// Reads what the child says until it closes its output.
fn watch(child: &mut Child, most: u64) -> std::io::Result<Watched> {
    let id = child.id();
    let Some(output) = &mut child.stdout else {
        return Ok(Watched::Ended(String::new()));
    };
    let began = Instant::now();
    let (mut words, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let mut ready = [PollFd::new(&*output, PollFlags::IN)];
        match poll(&mut ready, Some(&LOOK)) {
            Ok(0) => {
                if began.elapsed() > LASTS {
                    return Ok(Watched::TooLong);
                }
                if system::anonymous(id).is_some_and(|held| held.0 > most) {
                    return Ok(Watched::TooMuch);
                }
            }
            Ok(_) => match output.read(&mut part)? {
                0 => break,
                n if words.len() as u64 + n as u64 <= MOST_WORDS => {
                    words.extend_from_slice(&part[..n]);
                }
                _ => {}
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Watched::Ended(String::from_utf8_lossy(&words).into_owned()))
}

fn judge(words: &str, status: ExitStatus) -> Outcome {
    let failed = |why: String, lasting| Outcome::Failed { why, lasting };
    let words = words.trim();
    if status.success() && words == "passed" {
        return Outcome::Passed;
    }
    if let Some(why) = words.strip_prefix("refused: ") {
        return failed(why.to_owned(), true);
    }
    let signal = status.signal();
    if signal == Some(Signal::XCPU.as_raw()) {
        let why = format!("opening it takes more than {CPU_S} seconds of a processor");
        return failed(why, true);
    }
    match (words.is_empty(), signal) {
        (false, _) => failed(
            format!("llama.cpp gives up over it: {}", short(words)),
            true,
        ),
        // Memory was short, or somebody ended it.
        (true, Some(9)) => failed("the process that opened it first was killed".into(), false),
        (true, Some(signal)) => {
            let why = format!("llama.cpp ends the process over it (signal {signal})");
            failed(why, true)
        }
        (true, None) => failed("the process that opened it first failed".into(), false),
    }
}

/// ggml's words without the folder of its source.
fn short(words: &str) -> &str {
    let Some((path, _)) = words.split_once(": ") else {
        return words;
    };
    &words[path.rfind('/').map_or(0, |at| at + 1)..]
}

/// Runs the hidden command, if `arguments` are its.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.nth(1)? != COMMAND {
        return None;
    }
    let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
    let (most, threads) = (number()?, number()?);
    let (first, others) = (arguments.next()?, arguments.map(PathBuf::from).collect());
    let files = ModelFiles::new(first, others);
    ggml::on_abort(say);
    let threads = usize::try_from(threads).unwrap_or(1);
    let verdict = match tried(&files, most, threads) {
        Ok(()) => "passed".to_owned(),
        Err(why) => format!("refused: {why}"),
    };
    say(&verdict);
    Some(ExitCode::SUCCESS)
}

fn tried(files: &ModelFiles, most: u64, threads: usize) -> Result<(), String> {
    // It ends with the process that waits for it, and leaves no image of itself behind.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    limit(Resource::Core, 0);
    limit(Resource::Cpu, CPU_S);
    ggml::init().map_err(|error| error.to_string())?;
    if let Some(used) = system::addresses() {
        // Weights take addresses, as many bytes as the largest has: never more than the file.
        let lengths = files
            .iter()
            .map(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
        limit(
            Resource::As,
            used.0 + 2 * lengths.sum::<u64>() + most + SLACK,
        );
    }
    ggml::trial::open_and_compute(files, threads).map_err(|error| match error {
        ggml::llama::LlamaError::Load { why, .. } => why,
        other => other.to_string(),
    })
}

/// Lowers a limit of this process; one that is lower already stays.
fn limit(of: Resource, to: u64) {
    let now = getrlimit(of);
    let to = now.current.map_or(to, |now| now.min(to));
    let limit = Rlimit {
        current: Some(to),
        maximum: now.maximum,
    };
    // Without it the parent still watches.
    let _ = setrlimit(of, limit);
}

fn say(words: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(words.as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        let ended = |words, raw| judge(words, ExitStatus::from_raw(raw));
        assert_eq!(ended("passed\n", 0), Outcome::Passed);
        let why = |outcome| match outcome {
            Outcome::Failed { why, lasting } => (why, lasting),
            Outcome::Passed => panic!("it passed"),
        };
        assert_eq!(why(ended("refused: no", 0)), ("no".into(), true));
        let (words, lasting) = why(ended("/a/b/ggml.c:12: GGML_ASSERT(x) failed", 6));
        assert_eq!(
            (words.as_str(), lasting),
            (
                "llama.cpp gives up over it: ggml.c:12: GGML_ASSERT(x) failed",
                true
            )
        );
        assert!(!why(ended("", 9)).1);
        assert!(why(ended("", 11)).0.contains("signal 11"));
        assert!(!why(ended("", 256)).1);
    }
}
