//! `nmos shot`: pictures of the workbench over a real session, without a terminal.

use crate::session::EngineHandle;
use crate::tui::shot::{self, Pace, ShotOptions};
use crate::tui::{ColorDepth, DEFAULT_THEME, MIN_SIZE, ThemeLoader};
use anyhow::{Context as _, bail};
use ratatui::layout::Size;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct ShotSettings {
    /// Columns and rows.
    pub size: (u16, u16),
    pub theme: Option<String>,
    /// The configuration directory; its `themes/` is looked into.
    pub config_dir: Option<PathBuf>,
    /// `.svg` or `.png`; each picture's moment is put before the ending.
    pub output: PathBuf,
    pub prompt: String,
}

/// What is typed where `--prompt` says nothing.
pub const DEFAULT_PROMPT: &str =
    "Write a Rust function that merges two sorted slices into one sorted Vec.";

#[derive(Clone, Copy)]
enum Format {
    Svg,
    Png,
}

/// Types the prompt into the session, and writes the pictures. Prints their paths on `out`.
///
/// # Errors
/// A size that is too small, an unknown ending, a session that fails, and files that cannot
/// be written.
pub fn run(
    handle: EngineHandle,
    settings: &ShotSettings,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let result = pictures(&handle, settings, out);
    handle.shutdown();
    result
}

fn pictures(
    handle: &EngineHandle,
    settings: &ShotSettings,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (width, height) = settings.size;
    if width < MIN_SIZE.width || height < MIN_SIZE.height {
        let least = MIN_SIZE;
        bail!(
            "the size {width}x{height} is too small: at least {}x{}",
            least.width,
            least.height
        );
    }
    let format = format_of(&settings.output)?;
    let options = ShotOptions {
        size: Size { width, height },
        theme: settings
            .theme
            .clone()
            .unwrap_or_else(|| DEFAULT_THEME.to_owned()),
        themes: ThemeLoader {
            dir: settings.config_dir.as_ref().map(|d| d.join("themes")),
            depth: ColorDepth::TrueColor,
            ascii: false,
        },
        prompt: settings.prompt.clone(),
        pace: Pace::default(),
    };
    for shot in shot::capture(handle, options)? {
        let svg = shot::to_svg(&shot.buffer, shot.defaults);
        let path = path_of(&settings.output, shot.moment);
        let bytes = match format {
            Format::Svg => svg.into_bytes(),
            Format::Png => shot::to_png(&svg)?,
        };
        std::fs::write(&path, bytes)
            .with_context(|| format!("cannot write the picture {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn format_of(path: &Path) -> anyhow::Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => Ok(Format::Svg),
        Some("png") => Ok(Format::Png),
        _ => bail!("{}: give the file an .svg or .png ending", path.display()),
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
