//! Characters that are pictures: blocks, shades, box lines and braille, drawn as shapes that
//! fill their cell exactly, so that a picture needs no particular font for them.

use std::fmt::Write;

/// A cell of the picture, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub x: f64,
    pub y: f64,
    pub w: f64,
    pub h: f64,
}

/// Width of a box line.
const LINE: f64 = 1.2;

/// Width of a heavy one.
const HEAVY: f64 = 4.0;

/// Draws `c` as a shape in `cell`; `false` for a character that only a font can draw.
pub fn draw(out: &mut String, c: char, cell: Cell, fill: &str) -> bool {
    match c {
        '\u{2580}'..='\u{259f}' => block(out, c, cell, fill),
        '\u{2800}'..='\u{28ff}' => braille(out, c, cell, fill),
        '\u{25c6}' => diamond(out, cell, fill),
        _ => return line(out, c, cell, fill),
    }
    true
}

fn rect(out: &mut String, cell: Cell, part: [f64; 4], fill: &str, opacity: f64) {
    let [x, y, w, h] = part;
    let (x, y) = (cell.x + x * cell.w, cell.y + y * cell.h);
    let (w, h) = (w * cell.w, h * cell.h);
    let _ = write!(
        out,
        r#"<rect x="{x:.2}" y="{y:.2}" width="{w:.2}" height="{h:.2}" fill="{fill}""#
    );
    if opacity < 1.0 {
        let _ = write!(out, r#" fill-opacity="{opacity}""#);
    }
    out.push_str("/>");
}

fn block(out: &mut String, c: char, cell: Cell, fill: &str) {
    let mut part = |p| rect(out, cell, p, fill, 1.0);
    match c {
        '▀' => part([0.0, 0.0, 1.0, 0.5]),
        '▁'..='█' => {
            let h = f64::from(c as u32 - 0x2580) / 8.0;
            part([0.0, 1.0 - h, 1.0, h]);
        }
        '▉'..='▏' => {
            let w = f64::from(0x2590 - c as u32) / 8.0;
            part([0.0, 0.0, w, 1.0]);
        }
        '▐' => part([0.5, 0.0, 0.5, 1.0]),
        '░' => rect(out, cell, [0.0, 0.0, 1.0, 1.0], fill, 0.3),
        '▒' => rect(out, cell, [0.0, 0.0, 1.0, 1.0], fill, 0.5),
        '▓' => rect(out, cell, [0.0, 0.0, 1.0, 1.0], fill, 0.75),
        '▔' => part([0.0, 0.0, 1.0, 0.125]),
        '▕' => part([0.875, 0.0, 0.125, 1.0]),
        _ => {
            // Quadrants: upper left, upper right, lower left, lower right.
            let bits = match c {
                '▖' => 0b0010,
                '▗' => 0b0001,
                '▘' => 0b1000,
                '▙' => 0b1011,
                '▚' => 0b1001,
                '▛' => 0b1110,
                '▜' => 0b1101,
                '▝' => 0b0100,
                '▞' => 0b0110,
                _ => 0b0111,
            };
            for (bit, x, y) in [(8, 0.0, 0.0), (4, 0.5, 0.0), (2, 0.0, 0.5), (1, 0.5, 0.5)] {
                if bits & bit != 0 {
                    rect(out, cell, [x, y, 0.5, 0.5], fill, 1.0);
                }
            }
        }
    }
}

fn braille(out: &mut String, c: char, cell: Cell, fill: &str) {
    let bits = c as u32 - 0x2800;
    // The order of the dots in the code point: down the left column, the right, then the last row.
    const DOTS: [(u8, u8); 8] = [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (0, 3),
        (1, 3),
    ];
    for (bit, (column, row)) in DOTS.into_iter().enumerate() {
        if bits & (1 << bit) != 0 {
            let cx = cell.x + cell.w * (0.28 + 0.44 * f64::from(column));
            let cy = cell.y + cell.h * (0.16 + 0.227 * f64::from(row));
            let r = cell.w * 0.13;
            let _ = write!(
                out,
                r#"<circle cx="{cx:.2}" cy="{cy:.2}" r="{r:.2}" fill="{fill}"/>"#
            );
        }
    }
}

fn diamond(out: &mut String, cell: Cell, fill: &str) {
    let (cx, cy, r) = (cell.x + cell.w / 2.0, cell.y + cell.h / 2.0, cell.w * 0.45);
    let _ = write!(
        out,
        r#"<path d="M{cx:.2} {:.2}l{r:.2} {r:.2}l-{r:.2} {r:.2}l-{r:.2} -{r:.2}z" fill="{fill}"/>"#,
        cy - r
    );
}

/// Which arms a box line has: left, right, up, down.
fn arms(c: char) -> Option<[bool; 4]> {
    let arms = match c {
        '─' | '━' => "lr",
        '│' | '┃' => "ud",
        '┌' | '┏' => "rd",
        '┐' | '┓' => "ld",
        '└' | '┗' => "ru",
        '┘' | '┛' => "lu",
        '├' => "rud",
        '┤' => "lud",
        '┬' => "lrd",
        '┴' => "lru",
        '┼' => "lrud",
        '╴' => "l",
        '╶' => "r",
        '╵' => "u",
        '╷' => "d",
        _ => return None,
    };
    Some(['l', 'r', 'u', 'd'].map(|arm| arms.contains(arm)))
}

fn line(out: &mut String, c: char, cell: Cell, fill: &str) -> bool {
    let (cx, cy) = (cell.x + cell.w / 2.0, cell.y + cell.h / 2.0);
    let mut path = String::new();
    let r = cell.w / 2.0;
    match c {
        '╭' | '╮' | '╰' | '╯' => {
            let side = if matches!(c, '╭' | '╰') {
                cell.x + cell.w
            } else {
                cell.x
            };
            let (end, turn) = match c {
                '╭' | '╮' => (cell.y + cell.h, cy + r),
                _ => (cell.y, cy - r),
            };
            let _ = write!(
                path,
                "M{side:.2} {cy:.2}Q{cx:.2} {cy:.2} {cx:.2} {turn:.2}L{cx:.2} {end:.2}"
            );
        }
        _ => {
            let Some(arms) = arms(c) else {
                return false;
            };
            let ends = [
                (cell.x, cy),
                (cell.x + cell.w, cy),
                (cx, cell.y),
                (cx, cell.y + cell.h),
            ];
            for (x, y) in arms
                .into_iter()
                .zip(ends)
                .filter(|(arm, _)| *arm)
                .map(|(_, end)| end)
            {
                let _ = write!(path, "M{cx:.2} {cy:.2}L{x:.2} {y:.2}");
            }
        }
    }
    let _ = write!(
        out,
        r#"<path d="{path}" fill="none" stroke="{fill}" stroke-width="{}"/>"#,
        if matches!(c, '━' | '┃') {
            HEAVY
        } else {
            LINE
        }
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(c: char) -> Option<String> {
        let cell = Cell {
            x: 10.0,
            y: 20.0,
            w: 10.0,
            h: 20.0,
        };
        let mut out = String::new();
        draw(&mut out, c, cell, "#fff").then_some(out)
    }

    #[test]
    fn blocks_fill_their_share_of_the_cell() {
        let full = shape('█').unwrap();
        assert!(full.contains(r#"x="10.00" y="20.00" width="10.00" height="20.00""#));
        let lower_quarter = shape('▂').unwrap();
        assert!(lower_quarter.contains(r#"y="35.00" width="10.00" height="5.00""#));
        let left_half = shape('▌').unwrap();
        assert!(left_half.contains(r#"x="10.00" y="20.00" width="5.00" height="20.00""#));
        assert_eq!(shape('▙').unwrap().matches("<rect").count(), 3);
        assert_eq!(shape('⠿').unwrap().matches("<circle").count(), 6);
        assert_eq!(shape('┼').unwrap().matches('M').count(), 4);
        assert!(shape('╭').unwrap().contains('Q'));
        assert_eq!(shape('a'), None);
    }
}
