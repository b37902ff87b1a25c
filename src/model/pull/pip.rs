//! Wheels through `pip download`, with the user's own pip configuration.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::SourceError;
use super::packages::{PackageFetcher, PackageRequest};

/// How often the growing file is looked at, for the progress bar alone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The ways to call pip, in the order they are tried.
const WAYS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// Runs pip. Which one is found out once, at the first fetch.
#[derive(Debug, Default)]
pub struct Pip {
    way: OnceLock<Option<&'static [&'static str]>>,
}

impl Pip {
    fn command(&self) -> Result<Command, SourceError> {
        let way = self
            .way
            .get_or_init(|| WAYS.into_iter().find(|way| answers(way)));
        way.map(command).ok_or_else(|| {
            SourceError::Unavailable(
                "pip is not installed (tried `python3 -m pip`, `pip3` and `pip`)".into(),
            )
        })
    }
}

fn command(way: &[&str]) -> Command {
    let mut command = Command::new(way[0]);
    command.args(&way[1..]).stdin(Stdio::null());
    command
}

fn answers(way: &[&str]) -> bool {
    command(way)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl PackageFetcher for Pip {
    fn fetch(
        &self,
        request: &PackageRequest<'_>,
        done: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, SourceError> {
        // pip writes to TMPDIR and moves into --dest at the end. Both are in the staging
        // directory: on the file system whose free space was checked, and cleaned up with it.
        let arriving = request.incoming.join("arriving");
        let whole = request.incoming.join("whole");
        for dir in [&arriving, &whole] {
            std::fs::create_dir_all(dir).map_err(SourceError::local("create", dir))?;
        }
        let mut command = self.command()?;
        command.args([
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar=off",
            "--quiet",
            "--retries=1",
        ]);
        if std::env::var_os("PIP_DEFAULT_TIMEOUT").is_none() {
            command.arg("--timeout=10");
        }
        command
            .arg("--dest")
            .arg(&whole)
            .arg(format!("{}=={}", request.package, request.version))
            .env("TMPDIR", &arriving)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (status, said) = run(command, &arriving, done)
            .map_err(|e| SourceError::Unavailable(format!("pip could not be run: {e}")))?;
        if !status.success() {
            return Err(failure(request, status, &said));
        }
        wheel_in(&whole).ok_or_else(|| {
            SourceError::Unavailable(format!("pip brought no wheel of {}", request.package))
        })
    }
}

/// Runs to the end, telling `done` what has arrived meanwhile; what was said on standard error.
fn run(
    mut command: Command,
    arriving: &Path,
    done: &mut dyn FnMut(u64),
) -> io::Result<(ExitStatus, String)> {
    let child = command.spawn()?;
    let (send, ended) = mpsc::channel();
    // Waits aside, and reads meanwhile: a pipe that nobody reads would stop pip.
    std::thread::spawn(move || send.send(child.wait_with_output()));
    loop {
        match ended.recv_timeout(LOOK_EVERY) {
            Ok(output) => {
                let output = output?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Ok((output.status, said));
            }
            Err(RecvTimeoutError::Timeout) => done(super::super::store::disk_bytes(arriving)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("nobody waits for it any more"));
            }
        }
    }
}

fn failure(request: &PackageRequest<'_>, status: ExitStatus, said: &str) -> SourceError {
    if said.contains("No space left on device") || said.contains("Disk quota exceeded") {
        return SourceError::Local {
            what: "write",
            path: request.incoming.to_owned(),
            error: io::ErrorKind::StorageFull.into(),
        };
    }
    // The last error is the result; the ones before it led there.
    let why = said
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("ERROR: "))
        .or_else(|| said.lines().rev().find(|line| !line.trim().is_empty()))
        .map_or_else(|| format!("pip ended with {status}"), str::to_owned);
    // An index that cannot be reached looks to pip like one that has no such package.
    let reach = if said.contains("connection broken by") {
        "the package index could not be reached; pip says: "
    } else {
        ""
    };
    SourceError::Unavailable(format!(
        "package {} {}: {reach}{why}",
        request.package, request.version
    ))
}

fn wheel_in(dir: &Path) -> Option<PathBuf> {
    let mut items = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|item| item.path());
    items.find(|path| path.extension().is_some_and(|ext| ext == "whl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_to_its_end_with_all_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // More than a pipe holds: whoever waits without reading would wait forever.
        command
            .args(["-c", "head -c 200000 /dev/zero | tr '\\0' x >&2; exit 3"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (status, said) = run(command, dir.path(), &mut |_| ()).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(said.len(), 200_000);
        let missing = Command::new("/nowhere/pip");
        assert!(run(missing, dir.path(), &mut |_| ()).is_err());
    }

    #[test]
    fn what_pip_says_becomes_one_line() {
        use std::os::unix::process::ExitStatusExt;
        let request = PackageRequest {
            package: "p-part1",
            version: "1.0",
            incoming: Path::new("/staging"),
        };
        let status = ExitStatus::from_raw(1 << 8);
        let text = |said: &str| failure(&request, status, said).to_string();
        assert_eq!(
            text("WARNING: x\nERROR: first\nERROR: No matching distribution found for p\n"),
            "package p-part1 1.0: No matching distribution found for p"
        );
        assert_eq!(
            text(
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'X': /simple/p/\n\
                 ERROR: No matching distribution found for p\n"
            ),
            "package p-part1 1.0: the package index could not be reached; pip says: No matching \
             distribution found for p"
        );
        assert_eq!(text("odd\n\n"), "package p-part1 1.0: odd");
        assert!(text("").contains("pip ended with exit status: 1"));
        let full = failure(
            &request,
            status,
            "ERROR: [Errno 28] No space left on device",
        );
        assert!(matches!(full, SourceError::Local { error, .. } if super::super::is_full(&error)));
    }
}
