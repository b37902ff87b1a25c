//! How many colours the terminal shows, and the nearest of them to a colour of a theme.

use ratatui::style::{Color, Modifier, Style};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColorDepth {
    /// No colour at all: `NO_COLOR`, or a terminal without.
    None,
    Ansi16,
    Ansi256,
    #[default]
    TrueColor,
}

impl ColorDepth {
    /// From the environment, given as a look-up so that it can be tested.
    /// `NO_COLOR` set to anything but nothing turns colour off (no-color.org).
    pub fn detect(env: impl Fn(&str) -> Option<String>) -> Self {
        if env("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            return Self::None;
        }
        let term = env("TERM").unwrap_or_default();
        let colorterm = env("COLORTERM").unwrap_or_default();
        match term.as_str() {
            "dumb" => Self::None,
            "linux" => Self::Ansi16,
            _ if colorterm == "truecolor" || colorterm == "24bit" => Self::TrueColor,
            _ if term.ends_with("-direct") || term == "xterm-kitty" || term == "alacritty" => {
                Self::TrueColor
            }
            _ if term.contains("256color") => Self::Ansi256,
            _ => Self::Ansi16,
        }
    }

    /// The nearest style that the terminal can show.
    pub fn fit(self, style: Style) -> Style {
        let mut fitted = style;
        fitted.fg = style.fg.map(|c| self.fit_color(c));
        fitted.bg = style.bg.map(|c| self.fit_color(c));
        fitted.underline_color = None;
        // With no colour, a background that marks something must be seen in another way.
        let marked = style.bg.is_some_and(|c| c != Color::Reset);
        if self == Self::None && marked && style.fg.is_some() {
            fitted = fitted.add_modifier(Modifier::REVERSED);
        }
        fitted
    }

    fn fit_color(self, color: Color) -> Color {
        match (self, color) {
            (Self::None, _) => Color::Reset,
            (Self::Ansi256, Color::Rgb(r, g, b)) => Color::Indexed(nearest_256([r, g, b])),
            (Self::Ansi16, Color::Rgb(r, g, b)) => nearest_16([r, g, b]),
            (_, color) => color,
        }
    }
}

/// Steps of the 6x6x6 cube in the 256-colour palette.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    // Weights near what the eye gives red, green and blue.
    let d = |i: usize| u32::from(a[i].abs_diff(b[i])).pow(2);
    2 * d(0) + 4 * d(1) + 3 * d(2)
}

fn nearest_256(rgb: [u8; 3]) -> u8 {
    let step = |v: u8| {
        (0..6u8)
            .min_by_key(|&i| CUBE[usize::from(i)].abs_diff(v))
            .unwrap_or(0)
    };
    let [r, g, b] = rgb.map(step);
    let cube = [r, g, b].map(|i| CUBE[usize::from(i)]);
    let mean = rgb.iter().map(|&v| u32::from(v)).sum::<u32>() / 3;
    let gray_step = (mean.saturating_sub(3) / 10).min(23) as u8;
    let gray = [8 + 10 * gray_step; 3];
    if distance(gray, rgb) < distance(cube, rgb) {
        232 + gray_step
    } else {
        16 + 36 * r + 6 * g + b
    }
}

/// The sixteen colours as most terminals show them.
const SIXTEEN: [(Color, [u8; 3]); 16] = [
    (Color::Black, [0, 0, 0]),
    (Color::Red, [205, 49, 49]),
    (Color::Green, [13, 188, 121]),
    (Color::Yellow, [229, 180, 16]),
    (Color::Blue, [36, 114, 200]),
    (Color::Magenta, [188, 63, 188]),
    (Color::Cyan, [17, 168, 205]),
    (Color::Gray, [190, 190, 190]),
    (Color::DarkGray, [102, 102, 102]),
    (Color::LightRed, [241, 76, 76]),
    (Color::LightGreen, [35, 209, 139]),
    (Color::LightYellow, [245, 245, 67]),
    (Color::LightBlue, [59, 142, 234]),
    (Color::LightMagenta, [214, 112, 214]),
    (Color::LightCyan, [41, 184, 219]),
    (Color::White, [245, 245, 245]),
];

fn nearest_16(rgb: [u8; 3]) -> Color {
    SIXTEEN
        .iter()
        .min_by_key(|(_, known)| distance(*known, rgb))
        .map_or(Color::Reset, |(color, _)| *color)
}

/// The red, green and blue of any colour; `default` for the terminal's own.
pub fn to_rgb(color: Color, default: [u8; 3]) -> [u8; 3] {
    match color {
        Color::Rgb(r, g, b) => [r, g, b],
        Color::Reset => default,
        Color::Indexed(i @ 0..16) => SIXTEEN[usize::from(i)].1,
        Color::Indexed(i @ 16..232) => {
            let i = i - 16;
            [i / 36, i / 6 % 6, i % 6].map(|v| CUBE[usize::from(v)])
        }
        Color::Indexed(i) => [8 + 10 * (i - 232); 3],
        named => SIXTEEN
            .iter()
            .find(|(color, _)| *color == named)
            .map_or(default, |(_, rgb)| *rgb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(pairs: &[(&str, &str)]) -> ColorDepth {
        ColorDepth::detect(|name| {
            pairs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn the_environment_decides_the_depth() {
        assert_eq!(detect(&[("TERM", "xterm-256color")]), ColorDepth::Ansi256);
        assert_eq!(
            detect(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]),
            ColorDepth::TrueColor
        );
        assert_eq!(
            detect(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]),
            ColorDepth::None
        );
        assert_eq!(
            detect(&[("NO_COLOR", ""), ("TERM", "xterm")]),
            ColorDepth::Ansi16
        );
        assert_eq!(detect(&[("TERM", "dumb")]), ColorDepth::None);
        assert_eq!(detect(&[]), ColorDepth::Ansi16);
    }

    #[test]
    fn colours_come_down_to_the_nearest() {
        let fg = |c| Style::new().fg(c);
        assert_eq!(
            ColorDepth::Ansi256.fit(fg(Color::Rgb(255, 0, 0))),
            fg(Color::Indexed(196))
        );
        assert_eq!(
            ColorDepth::Ansi256.fit(fg(Color::Rgb(128, 128, 128))),
            fg(Color::Indexed(244))
        );
        assert_eq!(
            ColorDepth::Ansi16.fit(fg(Color::Rgb(20, 110, 205))),
            fg(Color::Blue)
        );
        let mark = Style::new().fg(Color::Black).bg(Color::Rgb(1, 2, 3));
        let plain = ColorDepth::None.fit(mark);
        assert_eq!(
            (plain.fg, plain.bg),
            (Some(Color::Reset), Some(Color::Reset))
        );
        assert!(plain.add_modifier.contains(Modifier::REVERSED));
        assert_eq!(to_rgb(Color::Indexed(196), [0; 3]), [255, 0, 0]);
        assert_eq!(to_rgb(Color::Indexed(244), [0; 3]), [128, 128, 128]);
    }
}
