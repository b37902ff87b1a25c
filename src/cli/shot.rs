//! `nmos shot`: pictures of the workbench over a real session, without a terminal.
//!
//! All that can be wrong about the arguments is found before models are loaded.

use super::invocation::{Invocation, Run, engine_options};
use super::report::Usage;
use super::tui::look;
use crate::config::{Settings, limits};
use crate::session::{self, Client, EngineHandle};
use crate::tui::shot::{self, Pace, ShotOptions};
use crate::tui::{ColorDepth, MIN_SIZE, ThemeLoader};
use anyhow::Context as _;
use clap::Args;
use ratatui::layout::Size;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is typed where `--prompt` says nothing.
const DEFAULT_PROMPT: &str =
    "Write a Rust function that merges two sorted slices into one sorted Vec.";

/// `nmos shot`
#[derive(Debug, Args)]
pub struct ShotArgs {
    /// An .svg or .png file; each picture's moment is put before the ending
    #[arg(default_value = "nmos.svg")]
    pub output: PathBuf,
    /// Columns and rows
    #[arg(long, value_name = "WxH", default_value = "120x40", value_parser = limits::size)]
    pub size: (u16, u16),
    /// What is typed
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_PROMPT)]
    pub prompt: String,
}

impl Run for ShotArgs {
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start()?;
        let order = prepare(self, &started.settings)?;
        let engine = session::spawn(engine_options(&started.settings)?);
        run(engine, order, &mut io::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Svg,
    Png,
}

/// Pictures to take, found to be possible.
struct Order {
    options: ShotOptions,
    format: Format,
    /// Each picture's moment is put before the ending.
    output: PathBuf,
}

/// Reads the arguments.
///
/// # Errors
/// A size that is too small, an unknown ending, and a theme that cannot be used.
fn prepare(args: &ShotArgs, settings: &Settings) -> anyhow::Result<Order> {
    let (width, height) = args.size;
    if width < MIN_SIZE.width || height < MIN_SIZE.height {
        let least = MIN_SIZE;
        return Err(Usage(format!(
            "the size {width}x{height} is too small: at least {}x{}",
            least.width, least.height
        ))
        .into());
    }
    let format = format_of(&args.output)?;
    let look = look(settings)?;
    Ok(Order {
        options: ShotOptions {
            size: Size { width, height },
            theme: look.theme,
            // A picture shows all colours and characters, whatever this terminal can.
            themes: ThemeLoader {
                depth: ColorDepth::TrueColor,
                ascii: false,
                ..look.themes
            },
            prompt: args.prompt.clone(),
            pace: Pace::default(),
        },
        format,
        output: args.output.clone(),
    })
}

/// Types the prompt into the session, and writes the pictures. Prints their paths on `out`.
///
/// # Errors
/// A session that fails, and files that cannot be written.
fn run(handle: EngineHandle, order: Order, out: &mut impl Write) -> anyhow::Result<()> {
    let result = pictures(&handle.connect(), order, out);
    handle.shutdown();
    result
}

fn pictures(client: &Client, order: Order, out: &mut impl Write) -> anyhow::Result<()> {
    for shot in shot::capture(client, order.options)? {
        let svg = shot::to_svg(&shot.buffer, shot.defaults);
        let path = path_of(&order.output, shot.moment);
        let bytes = match order.format {
            Format::Svg => svg.into_bytes(),
            Format::Png => shot::to_png(&svg)?,
        };
        std::fs::write(&path, bytes)
            .with_context(|| format!("cannot write the picture {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn format_of(path: &Path) -> Result<Format, Usage> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => Ok(Format::Svg),
        Some("png") => Ok(Format::Png),
        _ => Err(Usage(format!(
            "{}: give the file an .svg or .png ending",
            path.display()
        ))),
    }
}

/// `shot.png` and `typing` make `shot-typing.png`.
fn path_of(path: &Path, moment: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{moment}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_named_after_their_moment() {
        let path = path_of(Path::new("a/shot.png"), "typing");
        assert_eq!(path, Path::new("a/shot-typing.png"));
        assert!(format_of(Path::new("shot.gif")).is_err());
        assert!(format_of(Path::new("shot")).is_err());
    }
}
