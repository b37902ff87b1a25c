//! Themes: what each thing on the screen looks like, by its meaning.
//!
//! A theme is a TOML file of semantic keys over a palette; it may inherit another. The
//! built-in ones are in `themes/`; files of the same form in the configuration directory's
//! `themes/` are found by name before them. A theme with a mistake is refused, never
//! silently replaced. Drawing code asks for a [`Role`] or a [`Glyphs`] field and never names
//! a colour or a special character itself.

mod color;
mod glyphs;
mod load;

pub use color::{ColorDepth, to_rgb};
pub use glyphs::{Glyphs, locale_is_ascii};
pub use load::{ThemeError, ThemeLoader};

use ratatui::style::{Color, Style};

macro_rules! roles {
    ($($name:ident => $key:literal;)*) => {
        /// What a piece of the screen means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Role { $($name,)* }

        impl Role {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The key in a theme file's `[styles]`.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }
        }
    };
}

roles! {
    Text => "text";
    Muted => "muted";
    Strong => "strong";
    Border => "border";
    BorderFocused => "border-focused";
    Title => "title";
    TitleFocused => "title-focused";
    Value => "value";
    Predicted => "predicted";
    Good => "good";
    Warn => "warn";
    Bad => "bad";
    User => "user";
    Answer => "answer";
    CodeText => "code-text";
    Placeholder => "placeholder";
    Cursor => "cursor";
    Selection => "selection";
    Key => "key";
    Bar => "bar";
    BarRest => "bar-rest";
    ShardDisk => "shard-disk";
    ShardLoading => "shard-loading";
    ShardRam => "shard-ram";
    ShardPinned => "shard-pinned";
    ShardVram => "shard-vram";
    ShardInUse => "shard-in-use";
    ExpertAbsent => "expert-absent";
    ExpertHere => "expert-here";
    ExpertHit => "expert-hit";
    ExpertMissed => "expert-missed";
    KvUnmapped => "kv-unmapped";
    KvMapped => "kv-mapped";
    Accepted => "accepted";
    Rejected => "rejected";
    Cadence => "cadence";
    ScoutCode => "scout-code";
    ScoutChat => "scout-chat";
    ScoutDocs => "scout-docs";
    BadgeRecording => "badge-recording";
    BadgeReplay => "badge-replay";
    BadgeFrozen => "badge-frozen";
}

/// A theme as the terminal can show it.
#[derive(Clone, Debug)]
pub struct Theme {
    pub name: String,
    /// Shown behind everything; `Reset` is the terminal's own.
    pub background: Color,
    pub glyphs: Glyphs,
    styles: Vec<Style>,
}

impl Theme {
    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.styles[role as usize]
    }
}
