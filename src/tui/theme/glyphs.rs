//! The characters that panes are drawn with, in a Unicode and an ASCII form.

use ratatui::symbols::border;

/// One set of characters; each is one column wide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glyphs {
    /// The ASCII form, of what is named elsewhere too (see [`DrafterId::marks`]).
    ///
    /// [`DrafterId::marks`]: crate::vocabulary::DrafterId::marks
    pub ascii: bool,
    pub border: border::Set<'static>,
    pub shard_disk: &'static str,
    pub shard_loading: &'static str,
    pub shard_ram: &'static str,
    pub shard_pinned: &'static str,
    pub shard_vram: &'static str,
    pub shard_in_use: &'static str,
    pub expert_absent: &'static str,
    pub expert_here: &'static str,
    pub expert_hit: &'static str,
    pub expert_missed: &'static str,
    pub kv_unmapped: &'static str,
    /// Rising levels, from just above nothing to full.
    pub levels: &'static [&'static str],
    pub bar: &'static str,
    pub bar_rest: &'static str,
    pub rejected: &'static str,
    pub user: &'static str,
    pub separator: &'static str,
    pub down: &'static str,
    pub ellipsis: &'static str,
    /// Before what can be shown, and what is and can be folded away.
    pub folded: &'static str,
    pub unfolded: &'static str,
    pub scroll_thumb: &'static str,
    pub scroll_track: &'static str,
    pub recording: &'static str,
    pub ok: &'static str,
    pub failed: &'static str,
    pub spinner: &'static [&'static str],
}

impl Glyphs {
    pub const UNICODE: Self = Self {
        ascii: false,
        border: border::ROUNDED,
        shard_disk: "·",
        shard_loading: "▒",
        shard_ram: "▄",
        shard_pinned: "▇",
        shard_vram: "◆",
        shard_in_use: "▲",
        expert_absent: "·",
        expert_here: "▄",
        expert_hit: "█",
        expert_missed: "◆",
        kv_unmapped: "·",
        levels: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
        bar: "━",
        bar_rest: "─",
        rejected: "▒",
        user: "▌",
        separator: "·",
        down: "↓",
        ellipsis: "…",
        folded: "▸",
        unfolded: "▾",
        scroll_thumb: "█",
        scroll_track: "│",
        recording: "●",
        ok: "●",
        failed: "✗",
        spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
    };

    pub const ASCII: Self = Self {
        ascii: true,
        border: border::Set {
            top_left: "+",
            top_right: "+",
            bottom_left: "+",
            bottom_right: "+",
            vertical_left: "|",
            vertical_right: "|",
            horizontal_top: "-",
            horizontal_bottom: "-",
        },
        shard_disk: ".",
        shard_loading: "~",
        shard_ram: "o",
        shard_pinned: "#",
        shard_vram: "V",
        shard_in_use: "^",
        expert_absent: ".",
        expert_here: "o",
        expert_hit: "#",
        expert_missed: "x",
        kv_unmapped: ".",
        levels: &["_", "-", "=", "#"],
        bar: "#",
        bar_rest: "-",
        rejected: ":",
        user: ">",
        separator: "|",
        down: "v",
        ellipsis: "~",
        folded: "+",
        unfolded: "-",
        scroll_thumb: "#",
        scroll_track: "|",
        recording: "*",
        ok: "*",
        failed: "x",
        spinner: &["|", "/", "-", "\\"],
    };

    /// The glyph of a level from 0 to 1; `None` for nothing at all.
    pub fn level(&self, share: f64) -> Option<&'static str> {
        if share.is_nan() || share <= 0.0 {
            return None;
        }
        let n = self.levels.len();
        let step = (share.min(1.0) * n as f64).ceil() as usize;
        Some(self.levels[step.clamp(1, n) - 1])
    }
}

/// Whether the locale names a character set other than UTF-8. No locale at all counts as
/// UTF-8: bare containers have none, and their terminals are today's.
pub fn locale_is_ascii(env: impl Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env(name).filter(|v| !v.is_empty()))
        .is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            !locale.contains("utf-8") && !locale.contains("utf8")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn levels_are_monotonous_and_zero_is_nothing() {
        for glyphs in [Glyphs::UNICODE, Glyphs::ASCII] {
            assert_eq!(glyphs.level(0.0), None);
            assert_eq!(glyphs.level(f64::NAN), None);
            assert_eq!(glyphs.level(0.001), Some(glyphs.levels[0]));
            assert_eq!(glyphs.level(7.0), glyphs.levels.last().copied());
            for glyph in glyphs.levels.iter().chain(glyphs.spinner) {
                assert_eq!(glyph.width(), 1);
            }
        }
    }

    #[test]
    fn only_a_locale_that_says_otherwise_is_ascii() {
        let with = |value: &'static str| {
            locale_is_ascii(move |name| (name == "LANG").then(|| value.to_owned()))
        };
        assert!(!with("en_GB.UTF-8"));
        assert!(!with(""));
        assert!(with("C"));
        assert!(with("de_DE.ISO-8859-1"));
    }
}
