//! Each thing that is examined, and when it is good.

use super::disk::{self, ReadSpeed};
use super::{Check, Grade};
use crate::cli::tui::look;
use crate::cli::{logging, version};
use crate::config::{ConfigError, Draft, Origin, Settings};
use crate::model::store::{State, Store};
use crate::model::{Gguf, catalog};
use crate::session::check_draft;
use crate::system::{self, CpuFacts, MemoryFacts};
use crate::tui::{ColorDepth, MIN_SIZE};
use crate::units::Bytes;
use std::io::{IsTerminal, Read};
use std::path::Path;

/// A disk slower than this makes every pass long.
const SLOW_GB_S: f64 = 0.5;

pub fn processor(cpu: &CpuFacts, threads: usize) -> Check {
    let model = cpu.model.as_deref().unwrap_or("unknown model");
    let found = format!(
        "{model}, {} cores; {}",
        cpu.cores,
        if cpu.features.is_empty() {
            "no vector instructions known".to_owned()
        } else {
            cpu.features.join(" ")
        }
    );
    if threads > cpu.cores {
        let advice = format!(
            "--threads {threads} is more than the cores: they would wait for each other; use {}",
            cpu.cores
        );
        return Check::warn("processor", found, advice);
    }
    if cpu.features.is_empty() || (cfg!(target_arch = "x86_64") && !cpu.features.contains(&"avx2"))
    {
        return Check::warn(
            "processor",
            found,
            "without AVX2 or the like answers take several times as long",
        );
    }
    Check::ok("processor", found)
}

pub fn backends() -> Check {
    let found = version::backends();
    let names = found.iter().cloned().collect::<Vec<_>>().join(", ");
    match crate::ggml::init() {
        Ok(_) => Check::ok(
            "backends",
            match cpu_variant() {
                Some(variant) => format!("{names}; {variant} is the one for this processor"),
                None => names,
            },
        ),
        Err(error) => Check::fail(
            "backends",
            error.to_string(),
            "`make build` puts them where they are looked for",
        ),
    }
}

/// The library of the CPU backend that llama.cpp chose, by what is mapped into this process.
fn cpu_variant() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.rsplit('/').next())
        .find(|file| file.starts_with("libggml-cpu"))
        .map(str::to_owned)
}

pub fn memory(facts: &MemoryFacts, asked: Option<Bytes>) -> Check {
    let (Some(total), Some(available)) = (facts.total, facts.available) else {
        return Check::warn(
            "memory",
            "the kernel does not say how much there is",
            "give --ram SIZE",
        );
    };
    let group = match (facts.cgroup_limit, facts.cgroup_used) {
        (Some(limit), Some(used)) => {
            let binds = if facts.cgroup_binds() {
                "binds"
            } else {
                "does not bind"
            };
            format!("control group limit {limit}, {used} used ({binds})")
        }
        _ => "no control group limit".to_owned(),
    };
    let found = format!("{total}, {available} available; {group}");
    match system::budget(asked, facts, Bytes(0)) {
        Ok(budget) if asked.is_some() => Check::ok("memory", format!("{found}\n--ram {budget}")),
        Ok(budget) => Check::ok("memory", format!("{found}\n--ram would be {budget}")),
        Err(error) => Check::fail("memory", found, error.to_string()),
    }
}

pub fn locked_memory() -> Check {
    match system::locked_memory_limit() {
        None => Check::ok("locked memory", "no limit"),
        Some(limit) if limit >= Bytes::mib(64) => Check::ok("locked memory", limit.to_string()),
        Some(limit) => Check::warn(
            "locked memory",
            format!("at most {limit}"),
            "read buffers cannot all be registered with the kernel, which is hardly slower; \
             `ulimit -l unlimited` lifts the limit",
        ),
    }
}

pub fn io_uring() -> Check {
    match io_uring::IoUring::new(8) {
        Ok(_) => Check::ok("io_uring", "allowed"),
        Err(error) => Check::warn(
            "io_uring",
            format!("refused: {error}"),
            "plain reads are used instead; a container's seccomp profile or \
             kernel.io_uring_disabled may forbid it",
        ),
    }
}

/// The models that the settings name.
pub fn models(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![model("oracle", &settings.oracle.value)];
    match &settings.draft.value {
        Draft::Model(name) => checks.push(draft(settings, name)),
        Draft::None => checks.push(Check::ok("draft", "none")),
    }
    checks
}

/// The draft, and whether it can serve the oracle. One that nobody asked for is left out where it
/// cannot, so that it is no failure.
fn draft(settings: &Settings, name: &str) -> Check {
    let mut check = model("draft", name);
    // What is wrong with a file itself is found by the check of that file.
    let index = |name: &str| Gguf::open(&catalog::resolve(name).ok()?).ok();
    if let (Some(oracle), Some(draft)) = (index(&settings.oracle.value), index(name))
        && let Err(error) = check_draft(&oracle, &draft)
    {
        let advice = "name a draft of the oracle's family, or --draft none";
        check = Check::fail("draft", format!("{error:#}"), advice);
    }
    if check.grade == Grade::Fail && settings.draft.origin == Origin::Default {
        let advice = check.advice.unwrap_or_default();
        let advice = format!("answers come without it, and slower; {advice}");
        check = Check::warn("draft", check.found, advice);
    }
    check
}

fn model(role: &'static str, name: &str) -> Check {
    let path = match crate::model::catalog::resolve(name) {
        Ok(path) => path,
        Err(error) => {
            return Check::fail(
                role,
                format!("{error:#}"),
                "run `nmos models pull`, or name a GGUF file",
            );
        }
    };
    let mut magic = [0; 4];
    let read = std::fs::File::open(&path).and_then(|mut file| {
        file.read_exact(&mut magic)?;
        Ok(file.metadata()?.len())
    });
    let place = path.display();
    match read {
        Ok(bytes) if magic == *b"GGUF" => {
            let found = format!("{place}, {}", Bytes(bytes));
            match known_state(name) {
                Some(State::Verified) => Check::ok(role, format!("{found}, verified")),
                Some(_) => Check::warn(
                    role,
                    format!("{found}, not verified"),
                    format!("`nmos models verify {name}` compares its SHA-256"),
                ),
                None => Check::ok(role, found),
            }
        }
        Ok(_) => Check::fail(
            role,
            format!("{place} is not a GGUF file"),
            "name another file",
        ),
        Err(error) => Check::fail(
            role,
            format!("{place}: {error}"),
            "make the file readable, or name another",
        ),
    }
}

/// What the model store knows of a catalogue's model; `None` for a file named by path.
fn known_state(name: &str) -> Option<State> {
    let entry = catalog::find(name)?;
    Store::of_user()
        .ok()?
        .state(entry)
        .ok()
        .map(|(state, _)| state)
}

/// The file system that models are on, or will be.
pub fn place(oracle: Option<&Path>) -> Check {
    let cache = Store::of_user().ok().map(|store| store.dir().to_owned());
    let Some(wanted) = oracle.map(Path::to_owned).or(cache) else {
        return Check::warn(
            "model disk",
            "there is no home directory to keep models in",
            "name models by path",
        );
    };
    // The directory may not be there yet: its nearest parent is on the same disk.
    let Some(there) = wanted.ancestors().find(|path| path.exists()) else {
        return Check::warn(
            "model disk",
            format!("{}: no such place", wanted.display()),
            "",
        );
    };
    match disk::place(there) {
        Err(error) => Check::warn(
            "model disk",
            format!("{}: {error}", there.display()),
            "make it readable",
        ),
        Ok(place) => {
            let found = format!("{}, {} free", place.filesystem, place.free);
            if place.in_memory {
                Check::warn(
                    "model disk",
                    found,
                    "models there take up memory themselves: keep them on a disk",
                )
            } else {
                Check::ok("model disk", found)
            }
        }
    }
}

/// How fast the oracle's file is read.
pub fn reading(speed: Option<&std::io::Result<ReadSpeed>>) -> Check {
    let name = "disk reads";
    match speed {
        None => Check::warn(
            name,
            "not measured: the oracle is not there",
            "run `nmos models pull` first",
        ),
        Some(Err(error)) => Check::fail(
            name,
            format!("the oracle's file cannot be read: {error}"),
            "make it readable, or look at the disk's health",
        ),
        Some(Ok(speed)) => {
            let found = format!(
                "{:.2} GB/s ({} in order in {:.2} s, {})",
                speed.gb_s(),
                speed.bytes,
                speed.time.as_secs_f64(),
                speed.how(),
            );
            if !speed.direct {
                Check::warn(
                    name,
                    found,
                    "this file system refuses O_DIRECT: reads go through the page cache, which \
                     takes memory; keep models on a local disk",
                )
            } else if speed.gb_s() < SLOW_GB_S {
                Check::warn(name, found, "a faster disk makes streamed answers faster")
            } else {
                Check::ok(name, found)
            }
        }
    }
}

pub fn config(loaded: &Result<Settings, ConfigError>) -> Check {
    match loaded {
        Ok(settings) => match look(settings) {
            Ok(_) => Check::ok(
                "configuration",
                match &settings.file {
                    Some(file) => file.path.display().to_string(),
                    None => "no file: defaults".to_owned(),
                },
            ),
            Err(error) => Check::fail(
                "configuration",
                format!("{error:#}"),
                "correct it: the workbench does not open with it",
            ),
        },
        Err(error) => Check::fail(
            "configuration",
            error.to_string(),
            "correct it; below, defaults are assumed",
        ),
    }
}

pub fn log(settings: &Settings) -> Check {
    let Some(path) = settings.log_file() else {
        return Check::warn(
            "log",
            "there is no home directory for it",
            "give --log-file FILE",
        );
    };
    match logging::open(&path) {
        Ok(_) => Check::ok("log", path.display().to_string()),
        Err(error) => Check::warn(
            "log",
            format!("{} cannot be written: {error}", path.display()),
            "give --log-file FILE",
        ),
    }
}

pub fn terminal() -> Check {
    let name = "terminal";
    if !std::io::stdout().is_terminal() {
        return Check::ok(name, "none: `nmos run` works, the workbench wants one");
    }
    let env = |name: &str| std::env::var(name).ok();
    if env("TERM").is_some_and(|term| term == "dumb") {
        return Check::warn(name, "TERM=dumb", "the workbench wants a real terminal");
    }
    let colours = match ColorDepth::detect(env) {
        ColorDepth::None => "no colours (NO_COLOR)",
        ColorDepth::Ansi16 => "16 colours",
        ColorDepth::Ansi256 => "256 colours",
        ColorDepth::TrueColor => "true colour",
    };
    let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout()) else {
        return Check::ok(name, colours);
    };
    let found = format!("{}x{}, {colours}", size.ws_col, size.ws_row);
    if size.ws_col < MIN_SIZE.width || size.ws_row < MIN_SIZE.height {
        let (columns, rows) = (MIN_SIZE.width, MIN_SIZE.height);
        return Check::warn(name, found, format!("the workbench wants {columns}x{rows}"));
    }
    Check::ok(name, found)
}
