//! Reads theme files.
//!
//! ```toml
//! inherits = "nmos-dark"          # optional; then only what differs need be given
//! glyphs = "unicode"              # or "ascii"
//! background = "base"             # a palette name, "#rrggbb", an ANSI name or "default"
//! [palette]
//! base = "#10141b"
//! [styles]
//! muted = "gray"                  # a colour, or a table:
//! title = { fg = "base", bg = "blue", bold = true }
//! ```

use super::{ColorDepth, Glyphs, Role, Theme};
use crate::config::{ConfigError, Fault, SourceFile};
use ratatui::style::{Color, Modifier, Style};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Theme files that are part of the program.
const BUILT_IN: [(&str, &str); 6] = [
    ("nmos-dark", include_str!("../../../themes/nmos-dark.toml")),
    (
        "nmos-light",
        include_str!("../../../themes/nmos-light.toml"),
    ),
    (
        "clear-dark",
        include_str!("../../../themes/clear-dark.toml"),
    ),
    (
        "clear-light",
        include_str!("../../../themes/clear-light.toml"),
    ),
    ("mono", include_str!("../../../themes/mono.toml")),
    ("ascii", include_str!("../../../themes/ascii.toml")),
];

/// Longest chain of inheritance; a longer one is taken for a circle.
const MAX_ANCESTORS: usize = 8;

/// Why there is no theme.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    #[error("there is no theme named '{name}'; known themes: {}", known.join(", "))]
    Unknown { name: String, known: Vec<String> },
    #[error("cannot read the theme file {}: {error}", path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error(transparent)]
    Mistake(#[from] ConfigError),
}

impl From<Fault> for ThemeError {
    fn from(fault: Fault) -> Self {
        Self::Mistake(fault.into())
    }
}

/// Finds themes by name and fits them to the terminal.
#[derive(Clone, Debug, Default)]
pub struct ThemeLoader {
    /// Where the user's own theme files are, if anywhere.
    pub dir: Option<PathBuf>,
    pub depth: ColorDepth,
    /// Draw with ASCII characters whatever the theme says.
    pub ascii: bool,
}

/// What is gathered from a file and its ancestors.
#[derive(Default)]
struct Draft {
    glyphs: Option<Glyphs>,
    palette: BTreeMap<String, Color>,
    /// The latest file's own words win: colour names resolve once all palettes are known.
    styles: BTreeMap<&'static str, Style>,
    background: Option<Color>,
}

impl ThemeLoader {
    /// Names of all themes: built in first, then the user's.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = BUILT_IN.iter().map(|(n, _)| (*n).to_owned()).collect();
        let mut own: Vec<String> = self
            .dir
            .iter()
            .filter_map(|dir| std::fs::read_dir(dir).ok())
            .flatten()
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .filter(|name| !names.contains(name))
            .collect();
        own.sort();
        names.append(&mut own);
        names
    }

    /// The theme of this name.
    ///
    /// # Errors
    /// An unknown name, a file that cannot be read, and any mistake in it or an ancestor.
    pub fn load(&self, name: &str) -> Result<Theme, ThemeError> {
        // From the theme to its oldest ancestor.
        let mut files = vec![self.text(name)?];
        while let Some(file) = files.last() {
            let document = DeTable::parse(&file.text).map_err(|e| file.syntax(&e))?;
            let Some(parent) = document.get_ref().get("inherits") else {
                break;
            };
            let at = parent.span();
            let Some(parent) = parent.get_ref().as_str() else {
                return Err(file.fault(at, "expected a theme's name").into());
            };
            if files.len() > MAX_ANCESTORS {
                let message = "themes inherit each other in a circle";
                return Err(file.fault(at, message).into());
            }
            let next = match self.text(parent) {
                Err(error @ ThemeError::Unknown { .. }) => {
                    return Err(file.fault(at, error.to_string()).into());
                }
                other => other?,
            };
            files.push(next);
        }
        let mut draft = Draft::default();
        // Palettes first: a child that renames a colour changes its parents' styles with it.
        for file in files.iter().rev() {
            draft.read_palette(file)?;
        }
        for file in files.iter().rev() {
            draft.read_styles(file)?;
        }
        let mut styles = Vec::with_capacity(Role::ALL.len());
        for role in Role::ALL {
            let Some(style) = draft.styles.get(role.key()) else {
                let key = format!("styles.{}", role.key());
                let message = "not given, neither here nor in a theme that this one inherits";
                return Err(files[0].absent(key, message).into());
            };
            // A style is all of what a cell looks like: what lies beneath must not shine through.
            let mut style = self.depth.fit(*style);
            style.sub_modifier = Modifier::all().difference(style.add_modifier);
            styles.push(style);
        }
        Ok(Theme {
            name: name.to_owned(),
            background: match self.depth {
                ColorDepth::None => Color::Reset,
                depth => {
                    let background = draft.background.unwrap_or(Color::Reset);
                    depth
                        .fit(Style::new().bg(background))
                        .bg
                        .unwrap_or(Color::Reset)
                }
            },
            glyphs: match draft.glyphs {
                Some(glyphs) if !self.ascii => glyphs,
                None if !self.ascii => Glyphs::UNICODE,
                _ => Glyphs::ASCII,
            },
            styles,
        })
    }

    fn text(&self, name: &str) -> Result<SourceFile, ThemeError> {
        // A name is a name: a path in it would reach outside the directory.
        let plain = !name.contains(['/', '\\']) && !name.starts_with('.');
        if let Some(path) = self.dir.as_ref().map(|d| d.join(format!("{name}.toml")))
            && plain
        {
            match std::fs::read_to_string(&path) {
                Ok(text) => return Ok(SourceFile { path, text }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(ThemeError::Read { path, error }),
            }
        }
        match BUILT_IN.iter().find(|(n, _)| *n == name) {
            Some((_, text)) => Ok(SourceFile {
                path: format!("themes/{name}.toml (built in)").into(),
                text: (*text).to_owned(),
            }),
            None => Err(ThemeError::Unknown {
                name: name.to_owned(),
                known: self.names(),
            }),
        }
    }
}

impl Draft {
    fn read_palette(&mut self, file: &SourceFile) -> Result<(), Fault> {
        let document = DeTable::parse(&file.text).map_err(|e| file.syntax(&e))?;
        for (name, value) in document.get_ref() {
            match name.get_ref().as_ref() {
                "inherits" | "glyphs" | "background" | "styles" => {}
                "palette" => {
                    for (name, value) in table(file, value)? {
                        let color = color(file, value, &BTreeMap::new())?;
                        self.palette.insert(name.get_ref().to_string(), color);
                    }
                }
                _ => {
                    let message =
                        "unknown; expected inherits, glyphs, background, [palette] or [styles]";
                    return Err(file.fault(name.span(), message));
                }
            }
        }
        Ok(())
    }

    fn read_styles(&mut self, file: &SourceFile) -> Result<(), Fault> {
        let document = DeTable::parse(&file.text).map_err(|e| file.syntax(&e))?;
        let document = document.get_ref();
        if let Some(value) = document.get("glyphs") {
            self.glyphs = Some(match value.get_ref().as_str() {
                Some("unicode") => Glyphs::UNICODE,
                Some("ascii") => Glyphs::ASCII,
                _ => {
                    let message = "expected \"unicode\" or \"ascii\"";
                    return Err(file.fault(value.span(), message));
                }
            });
        }
        if let Some(value) = document.get("background") {
            self.background = Some(color(file, value, &self.palette)?);
        }
        let Some(styles) = document.get("styles") else {
            return Ok(());
        };
        for (name, value) in table(file, styles)? {
            let Some(role) = Role::ALL.iter().find(|r| r.key() == name.get_ref()) else {
                let known: Vec<_> = Role::ALL.iter().map(|r| r.key()).collect();
                let hint = format!("the styles are {}", known.join(", "));
                return Err(file.fault(name.span(), "unknown style").with_hint(hint));
            };
            let style = style(file, value, &self.palette)?;
            self.styles.insert(role.key(), style);
        }
        Ok(())
    }
}

fn table<'a, 'i>(
    file: &SourceFile,
    value: &'a Spanned<DeValue<'i>>,
) -> Result<&'a DeTable<'i>, Fault> {
    value
        .get_ref()
        .as_table()
        .ok_or_else(|| file.fault(value.span(), "expected a table"))
}

fn style(
    file: &SourceFile,
    value: &Spanned<DeValue<'_>>,
    palette: &BTreeMap<String, Color>,
) -> Result<Style, Fault> {
    let DeValue::Table(fields) = value.get_ref() else {
        return Ok(Style::new().fg(color(file, value, palette)?));
    };
    let mut style = Style::new();
    for (name, value) in fields {
        let modifier = match name.get_ref().as_ref() {
            "fg" => {
                style = style.fg(color(file, value, palette)?);
                continue;
            }
            "bg" => {
                style = style.bg(color(file, value, palette)?);
                continue;
            }
            "bold" => Modifier::BOLD,
            "dim" => Modifier::DIM,
            "italic" => Modifier::ITALIC,
            "underlined" => Modifier::UNDERLINED,
            "reversed" => Modifier::REVERSED,
            _ => {
                let message = "unknown; expected fg, bg, bold, dim, italic, underlined or reversed";
                return Err(file.fault(name.span(), message));
            }
        };
        match value.get_ref().as_bool() {
            Some(true) => style = style.add_modifier(modifier),
            Some(false) => {}
            None => return Err(file.fault(value.span(), "expected true or false")),
        }
    }
    Ok(style)
}

fn color(
    file: &SourceFile,
    value: &Spanned<DeValue<'_>>,
    palette: &BTreeMap<String, Color>,
) -> Result<Color, Fault> {
    let text = value.get_ref().as_str().unwrap_or_default();
    let hex = text
        .strip_prefix('#')
        .filter(|h| h.len() == 6 && h.is_ascii());
    if let Some(color) = palette.get(text) {
        return Ok(*color);
    }
    if text == "default" {
        return Ok(Color::Reset);
    }
    if let Some(rgb) = hex.and_then(|h| u32::from_str_radix(h, 16).ok()) {
        return Ok(Color::from_u32(rgb));
    }
    let ansi = text
        .strip_prefix("ansi-")
        .and_then(|name| name.parse().ok());
    ansi.ok_or_else(|| {
        let mut message = String::from(
            "expected a colour: \"#rrggbb\", \"default\" or an ANSI name such as \"ansi-blue\"",
        );
        if !palette.is_empty() {
            let names: Vec<_> = palette.keys().map(String::as_str).collect();
            message += &format!(", or one of the palette: {}", names.join(", "));
        }
        file.fault(value.span(), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_themes_load_at_every_depth() {
        for depth in [
            ColorDepth::None,
            ColorDepth::Ansi16,
            ColorDepth::Ansi256,
            ColorDepth::TrueColor,
        ] {
            let loader = ThemeLoader {
                depth,
                ..ThemeLoader::default()
            };
            for (name, _) in BUILT_IN {
                let theme = loader.load(name).unwrap();
                for &role in Role::ALL {
                    let style = theme.style(role);
                    let colors = [style.fg, style.bg, Some(theme.background)];
                    let allowed = |c: Option<Color>| match depth {
                        ColorDepth::None => matches!(c, None | Some(Color::Reset)),
                        ColorDepth::Ansi16 | ColorDepth::Ansi256 => {
                            !matches!(c, Some(Color::Rgb(..)))
                        }
                        ColorDepth::TrueColor => true,
                    };
                    assert!(colors.into_iter().all(allowed), "{name} {role:?}");
                }
            }
        }
    }

    #[test]
    fn the_mono_theme_has_no_colour_and_the_ascii_one_no_other_character() {
        let loader = ThemeLoader::default();
        let mono = loader.load("mono").unwrap();
        for &role in Role::ALL {
            let style = mono.style(role);
            assert!(matches!(style.fg, None | Some(Color::Reset)), "{role:?}");
            assert!(matches!(style.bg, None | Some(Color::Reset)), "{role:?}");
        }
        assert_eq!(loader.load("ascii").unwrap().glyphs, Glyphs::ASCII);
        let forced = ThemeLoader {
            ascii: true,
            ..ThemeLoader::default()
        };
        assert_eq!(forced.load("nmos-dark").unwrap().glyphs, Glyphs::ASCII);
    }

    fn own(text: &str) -> (tempfile::TempDir, ThemeLoader) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("own.toml"), text).unwrap();
        let loader = ThemeLoader {
            dir: Some(dir.path().to_owned()),
            ..ThemeLoader::default()
        };
        (dir, loader)
    }

    #[test]
    fn a_child_theme_changes_only_what_it_says() {
        let (_dir, loader) = own(
            "inherits = \"nmos-dark\"\n[palette]\nred = \"#010203\"\n[styles]\ngood = { fg = \"red\", bold = true }\n",
        );
        let parent = loader.load("nmos-dark").unwrap();
        let child = loader.load("own").unwrap();
        assert_eq!(child.style(Role::Good).fg, Some(Color::Rgb(1, 2, 3)));
        // The palette's change reaches what the parent draws in that colour.
        assert_eq!(child.style(Role::Bad).fg, Some(Color::Rgb(1, 2, 3)));
        assert_eq!(child.style(Role::Muted), parent.style(Role::Muted));
        assert!(loader.names().contains(&"own".to_owned()));
    }

    #[test]
    fn mistakes_are_told_with_file_line_and_key() {
        for (text, place, words) in [
            (
                "inherits = \"nmos-dark\"\n[styles]\nx = \"red\"",
                "own.toml:3:1: styles.x",
                "unknown",
            ),
            (
                "inherits = \"nmos-dark\"\n[styles]\ngood = \"rde\"",
                "own.toml:3:8: styles.good",
                "expected a colour",
            ),
            (
                "inherits = \"nmos-dark\"\n[styles]\ngood = { fg = \"red\", blink = true }",
                "own.toml:3:22: styles.good.blink",
                "unknown",
            ),
            (
                "inherits = \"nmos-dark\"\n[styles.good]\nbold = 1",
                "own.toml:3:8: styles.good.bold",
                "true or false",
            ),
            (
                "inherits = \"nmos-dark\"\n\n[palette]\nred = \"#12345\"",
                "own.toml:4:7: palette.red",
                "#rrggbb",
            ),
            ("glyphs = \"emoji\"", "own.toml:1:10: glyphs", "ascii"),
            (
                "inherits = \"nothing\"",
                "own.toml:1:12: inherits",
                "no theme named",
            ),
            ("inherits = \"own\"", "own.toml:1:12: inherits", "circle"),
            ("colour = 1", "own.toml:1:1: colour", "unknown"),
            (
                "[styles]\ntext = \"#ffffff\"",
                "own.toml: styles.muted",
                "not given",
            ),
            ("[styles\n", "own.toml:1:", "^"),
        ] {
            let (_dir, loader) = own(text);
            let error = loader.load("own").unwrap_err().to_string();
            assert!(
                error.contains(place) && error.contains(words),
                "{text}: {error}"
            );
        }
        let error = ThemeLoader::default()
            .load("nmos-drak")
            .unwrap_err()
            .to_string();
        assert!(error.contains("nmos-dark"), "{error}");
        assert!(ThemeLoader::default().load("../x").is_err());
    }
}
