//! A buffer as a self-contained SVG: an exact grid of cells, each character at the place of its
//! cell whatever font draws it.

use super::Defaults;
use super::shapes::{self, Cell};
use crate::tui::theme::to_rgb;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// A cell in pixels, and the font in it.
const CELL_W: f64 = 9.0;
const CELL_H: f64 = 19.0;
const FONT_SIZE: f64 = 14.5;
/// From a cell's top to the baseline of its letters.
const BASELINE: f64 = 14.2;
/// Around the screen.
const MARGIN: f64 = 10.0;

/// Fonts asked for, the likeliest first.
pub(super) const FONTS: [&str; 6] = [
    "DejaVu Sans Mono",
    "Menlo",
    "Consolas",
    "Liberation Mono",
    "Noto Sans Mono",
    "monospace",
];

/// How a run of text looks.
#[derive(Clone, PartialEq)]
struct Look {
    fill: String,
    bold: bool,
    italic: bool,
}

/// Draws the buffer.
pub fn to_svg(buffer: &Buffer, defaults: Defaults) -> String {
    let area = buffer.area;
    let width = f64::from(area.width) * CELL_W + 2.0 * MARGIN;
    let height = f64::from(area.height) * CELL_H + 2.0 * MARGIN;
    let base = hex(defaults.background);
    let fonts = FONTS
        .map(|f| format!("'{f}'"))
        .join(",")
        .replace("'monospace'", "monospace");
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="{fonts}" font-size="{FONT_SIZE}" xml:space="preserve"><rect width="{width}" height="{height}" rx="6" fill="{base}"/>"#
    );
    out.push_str(r#"<g shape-rendering="crispEdges">"#);
    for row in 0..area.height {
        backgrounds(&mut out, buffer, row, defaults);
    }
    out.push_str("</g>\n");
    for row in 0..area.height {
        foreground(&mut out, buffer, row, defaults);
        out.push('\n');
    }
    out.push_str("</svg>\n");
    out
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The two colours of a cell as they are seen.
fn colors(cell: &ratatui::buffer::Cell, defaults: Defaults) -> ([u8; 3], [u8; 3]) {
    let mut fg = to_rgb(cell.fg, defaults.foreground);
    let mut bg = to_rgb(cell.bg, defaults.background);
    if cell.modifier.contains(Modifier::REVERSED) {
        std::mem::swap(&mut fg, &mut bg);
    }
    if cell.modifier.contains(Modifier::DIM) {
        fg = std::array::from_fn(|i| ((u16::from(fg[i]) * 6 + u16::from(bg[i]) * 4) / 10) as u8);
    }
    (fg, bg)
}

fn place(column: u16, row: u16, columns: u16) -> Cell {
    Cell {
        x: MARGIN + f64::from(column) * CELL_W,
        y: MARGIN + f64::from(row) * CELL_H,
        w: CELL_W * f64::from(columns),
        h: CELL_H,
    }
}

/// One rectangle for each stretch of a background other than the screen's.
fn backgrounds(out: &mut String, buffer: &Buffer, row: u16, defaults: Defaults) {
    let area = buffer.area;
    let of = |column: u16| {
        let cell = &buffer[(area.x + column, area.y + row)];
        let plain = cell.bg == Color::Reset && !cell.modifier.contains(Modifier::REVERSED);
        (!plain)
            .then(|| colors(cell, defaults).1)
            .filter(|bg| *bg != defaults.background)
    };
    let mut column = 0;
    while column < area.width {
        let color = of(column);
        let start = column;
        while column < area.width && of(column) == color {
            column += 1;
        }
        if let Some(color) = color {
            let cell = place(start, row, column - start);
            let _ = write!(
                out,
                r#"<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>"#,
                cell.x,
                cell.y,
                cell.w,
                cell.h,
                hex(color)
            );
        }
    }
}

fn foreground(out: &mut String, buffer: &Buffer, row: u16, defaults: Defaults) {
    let area = buffer.area;
    let mut run: Option<(Look, String, String)> = None;
    let mut column = 0;
    while column < area.width {
        let cell = &buffer[(area.x + column, area.y + row)];
        let symbol = cell.symbol();
        let columns = (symbol.width() as u16).max(1);
        let at = place(column, row, columns);
        let look = Look {
            fill: hex(colors(cell, defaults).0),
            bold: cell.modifier.contains(Modifier::BOLD),
            italic: cell.modifier.contains(Modifier::ITALIC),
        };
        if cell.modifier.contains(Modifier::UNDERLINED) {
            let y = at.y + BASELINE + 2.5;
            let _ = write!(
                out,
                r#"<path d="M{} {y}h{}" stroke="{}"/>"#,
                at.x, at.w, look.fill
            );
        }
        column += columns;
        let mut chars = symbol.chars();
        let first = chars.next().unwrap_or(' ');
        // A gap ends the run: some viewers heed only the first of a run's positions.
        if symbol.trim().is_empty() {
            finish(out, run.take(), row);
            continue;
        }
        if chars.next().is_none() && shapes::draw(out, first, at, &look.fill) {
            finish(out, run.take(), row);
            continue;
        }
        // Positions count characters of the basic plane: anything else is drawn alone.
        let simple = symbol.chars().count() == 1 && first <= '\u{ffff}';
        match &mut run {
            Some((known, xs, text)) if *known == look && simple => {
                let _ = write!(xs, " {}", at.x);
                escape(text, symbol);
            }
            _ => {
                finish(out, run.take(), row);
                let mut text = String::new();
                escape(&mut text, symbol);
                run = Some((look, at.x.to_string(), text));
                if !simple {
                    finish(out, run.take(), row);
                }
            }
        }
    }
    finish(out, run, row);
}

fn finish(out: &mut String, run: Option<(Look, String, String)>, row: u16) {
    let Some((look, xs, text)) = run else {
        return;
    };
    let y = MARGIN + f64::from(row) * CELL_H + BASELINE;
    let _ = write!(out, r#"<text x="{xs}" y="{y:.1}" fill="{}""#, look.fill);
    if look.bold {
        out.push_str(r#" font-weight="bold""#);
    }
    if look.italic {
        out.push_str(r#" font-style="italic""#);
    }
    let _ = write!(out, ">{text}</text>");
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Not allowed in XML at all, and nothing to see.
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    const DEFAULTS: Defaults = Defaults {
        foreground: [200, 200, 200],
        background: [0, 0, 0],
    };

    #[test]
    fn characters_are_on_the_grid_in_their_colours() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 2));
        buffer.set_string(0, 0, "a<漢b", Style::new().fg(Color::Rgb(1, 2, 3)));
        buffer.set_string(0, 1, "x█", Style::new().bg(Color::Rgb(9, 9, 9)).bold());
        let svg = to_svg(&buffer, DEFAULTS);
        assert!(
            svg.contains(r##"<text x="10 19 28 46" y="24.2" fill="#010203">a&lt;漢b</text>"##),
            "{svg}"
        );
        assert!(svg.contains(r##"<rect x="10" y="29" width="18" height="19" fill="#090909"/>"##));
        assert!(svg.contains(r#"font-weight="bold">x</text>"#));
        assert!(svg.contains(
            r##"<rect x="19.00" y="29.00" width="9.00" height="19.00" fill="#c8c8c8"/>"##
        ));
    }

    #[test]
    fn the_picture_is_well_formed_whatever_the_text() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 1));
        buffer.set_string(
            0,
            0,
            "&\"'<😀e\u{301}>",
            Style::new().underlined().reversed().dim(),
        );
        let svg = to_svg(&buffer, DEFAULTS);
        let tree = resvg::usvg::Tree::from_str(&svg, &resvg::usvg::Options::default()).unwrap();
        assert_eq!(tree.size().width(), 200.0);
    }
}
