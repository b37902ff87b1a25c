//! The SVG of a buffer as a PNG, with a monospace font of the system.

use super::svg::FONTS;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use std::sync::Arc;

/// Pixels of the picture for each of the SVG's.
const SCALE: f32 = 2.0;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    #[error(
        "no monospace font is installed, so a PNG cannot be drawn: install one \
         (Debian: apt install fonts-dejavu-core), or ask for an .svg, which needs none"
    )]
    NoFont,
    #[error("the picture is too large or empty")]
    Size,
    #[error("cannot draw the picture: {0}")]
    Svg(#[from] resvg::usvg::Error),
    #[error("cannot write the picture: {0}")]
    Encode(String),
}

/// Draws an SVG made by [`to_svg`](super::to_svg).
///
/// # Errors
/// Where no monospace font is found, or the picture would not fit in memory.
pub fn to_png(svg: &str) -> Result<Vec<u8>, PngError> {
    let mut fonts = fontdb::Database::new();
    fonts.load_system_fonts();
    let has = |family: &str| {
        fonts
            .faces()
            .any(|f| f.families.iter().any(|(name, _)| name == family))
    };
    let family = FONTS
        .iter()
        .find(|f| has(f))
        .map(|f| (*f).to_owned())
        .or_else(|| {
            let any = fonts.faces().find(|f| f.monospaced)?;
            any.families.first().map(|(name, _)| name.clone())
        })
        .ok_or(PngError::NoFont)?;
    fonts.set_monospace_family(&family);
    let options = Options {
        font_family: family,
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size();
    let (width, height) = (size.width() * SCALE, size.height() * SCALE);
    let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or(PngError::Size)?;
    let scale = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut pixmap.as_mut());
    pixmap
        .encode_png()
        .map_err(|e| PngError::Encode(e.to_string()))
}
