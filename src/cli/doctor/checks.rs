//! What is set up: models and where they are, configuration, log, terminal.

use super::{Check, Grade};
use crate::cli::logging;
use crate::cli::tui::look;
use crate::config::{ConfigError, Draft, ModelName, Origin, Settings};
use crate::model::store::{State, Store};
use crate::model::{Gguf, catalog, locate, trial};
use crate::plan::check_draft;
use crate::system;
use crate::tui::{ColorDepth, MIN_SIZE};
use crate::units::Bytes;
use std::io::{IsTerminal, Read};
use std::path::Path;

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
fn draft(settings: &Settings, name: &ModelName) -> Check {
    let mut check = model("draft", name);
    // What is wrong with a file itself is found by the check of that file.
    let index = |name: &ModelName| Gguf::open(&locate::resolve(name).ok()?).ok();
    if let (Some(oracle), Some(draft)) = (index(&settings.oracle.value), index(name))
        && let Err(error) = check_draft(&oracle, &draft, None)
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

/// Says of a sound draft why sessions would leave it out all the same.
pub fn leave_out_draft(checks: &mut [Check], why: Option<&str>) {
    let sound = |check: &&mut Check| check.name == "draft" && check.grade == Grade::Ok;
    if let (Some(why), Some(check)) = (why, checks.iter_mut().find(sound)) {
        check.found = format!("{}; but {why}", check.found);
    }
}

fn model(role: &'static str, name: &ModelName) -> Check {
    let path = match locate::resolve(name) {
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
    // Whether llama.cpp can open it at all; a file that is no model is told of below.
    let admitted = Gguf::open(&path).ok().map(|gguf| trial::admit(&gguf, None));
    if let Some(Err(error)) = admitted {
        return Check::fail(role, error.to_string(), "name another file");
    }
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
fn known_state(name: &ModelName) -> Option<State> {
    let entry = catalog::find(&name.to_string())?;
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
    match system::file_system(there) {
        Err(error) => Check::warn(
            "model disk",
            format!("{}: {error}", there.display()),
            "make it readable",
        ),
        Ok(place) => {
            let found = format!("{}, {} free", place.name, place.free);
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
