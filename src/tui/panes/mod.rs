//! One file a pane. Each draws its part of a snapshot into a rectangle and keeps nothing.
//!
//! A pane is its file and its row in the table below: the file's `PANE` says its title, how it is
//! drawn, where it is on each size of screen, and what the overview shows of it. The status line,
//! the footer and the help box are no panes: they have no border, and no focus.
//!
//! Conventions: a figure has its unit; what is predicted is in the predicted style and marked
//! `~` or `pred.`; a pane with nothing to show says why.

mod accept;
mod answer;
mod cadence;
mod experts;
pub mod footer;
pub mod help;
mod input;
mod kv;
mod memory;
mod overview;
mod pane;
mod queue;
mod scout;
mod shards;
pub mod status;
mod tree;

pub use pane::{ModelKind, Pane, telemetry, telemetry_column};

use super::theme::{Role, Theme};
use super::wrap::wrap_line;
use crate::telemetry::Snapshot;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Widget};

pane::panes! {
    Prompt => input;
    Answer => answer;
    /// The condensed telemetry of a small screen; zoomed, all of the telemetry.
    Overview => overview;
    /// Of a mixture, in place of the cache's pages: see [`ModelKind`].
    Experts => experts;
    Shards => shards;
    Queue => queue;
    Memory => memory;
    Kv => kv;
    Accept => accept;
    Cadence => cadence;
    Scout => scout;
}

/// What a telemetry pane draws from.
pub struct Ctx<'a> {
    pub theme: &'a Theme,
    pub snap: &'a Snapshot,
}

impl Ctx<'_> {
    fn span<'s>(&self, role: Role, text: impl Into<std::borrow::Cow<'s, str>>) -> Span<'s> {
        Span::styled(text, self.theme.style(role))
    }

    /// A word in grey and a figure after it, the most usual thing in a pane.
    fn pair<'s>(
        &self,
        label: &'s str,
        value: impl Into<std::borrow::Cow<'s, str>>,
    ) -> [Span<'s>; 2] {
        [
            self.span(Role::Muted, format!("{label} ")),
            self.span(Role::Value, value),
        ]
    }

    /// Groups of spans with space between them, as many as fit the width.
    fn joined<'s>(&self, groups: Vec<Vec<Span<'s>>>, width: u16) -> Line<'s> {
        let mut line = Line::default();
        for group in groups {
            let more = Line::from(group);
            let gap = if line.spans.is_empty() { 0 } else { 2 };
            if line.width() + gap + more.width() > usize::from(width) {
                continue;
            }
            if gap > 0 {
                line.push_span(Span::raw("  "));
            }
            line.spans.extend(more.spans);
        }
        line
    }
}

/// Draws a pane's border with its title and, at the right, its most telling figures.
/// Returns what is inside.
pub fn frame(
    buf: &mut Buffer,
    area: Rect,
    theme: &Theme,
    title: &str,
    info: Line<'_>,
    focused: bool,
) -> Rect {
    let (border, title_role) = match focused {
        true => (Role::BorderFocused, Role::TitleFocused),
        false => (Role::Border, Role::Title),
    };
    let block = Block::bordered()
        .border_set(theme.glyphs.border)
        .border_style(theme.style(border));
    let inner = block.inner(area);
    block.render(area, buf);
    let title = Span::styled(format!(" {title} "), theme.style(title_role));
    let title_width = title.width() as u16;
    if area.width > 4 {
        buf.set_span(area.x + 2, area.y, &title, area.width - 4);
    }
    let info_width = info.width() as u16;
    // Between the two a piece of the border stays visible.
    if info_width > 0 && title_width + info_width + 8 <= area.width {
        let x = area.right() - info_width - 4;
        buf.set_string(x, area.y, " ", theme.style(Role::Text));
        buf.set_line(x + 1, area.y, &info, info_width);
        buf.set_string(x + 1 + info_width, area.y, " ", theme.style(Role::Text));
    }
    inner
}

/// Says why a pane is empty, in the middle of it.
fn empty(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, text: &str) {
    let rows = wrap_line(text, usize::from(area.width.saturating_sub(2)));
    let count = u16::try_from(rows.len()).unwrap_or(u16::MAX);
    let top = area.y + area.height.saturating_sub(count) / 2;
    for (y, row) in (top..area.bottom()).zip(rows) {
        let span = ctx.span(Role::Placeholder, text[row].trim_end());
        let x = area.x + area.width.saturating_sub(span.width() as u16) / 2;
        buf.set_span(x, y, &span, area.right().saturating_sub(x));
    }
}

/// Says in a section of the overview why it has nothing to show.
fn remark(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, text: &'static str) {
    if area.height > 0 {
        let span = ctx.span(Role::Placeholder, text);
        buf.set_span(area.x, area.y, &span, area.width);
    }
}

/// A horizontal bar of a share from 0 to 1.
fn bar(ctx: &Ctx<'_>, share: f64, width: u16, role: Role) -> [Span<'static>; 2] {
    let width = usize::from(width);
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let filled = (share * width as f64).round() as usize;
    let glyphs = &ctx.theme.glyphs;
    [
        ctx.span(role, glyphs.bar.repeat(filled)),
        ctx.span(Role::BarRest, glyphs.bar_rest.repeat(width - filled)),
    ]
}

/// Groups of spans in as many lines as they need, with space between those of one line.
fn flowed(groups: Vec<Vec<Span<'_>>>, width: u16) -> Vec<Line<'_>> {
    let mut lines = vec![Line::default()];
    for group in groups {
        let group = Line::from(group);
        let used = lines.last().map_or(0, Line::width);
        if used > 0 && used + 2 + group.width() > usize::from(width) {
            lines.push(Line::default());
        }
        if let Some(line) = lines.last_mut() {
            if line.width() > 0 {
                line.push_span(Span::raw("  "));
            }
            line.spans.extend(group.spans);
        }
    }
    lines
}

/// Draws lines one under another, as many as fit.
fn lines<'a>(buf: &mut Buffer, area: Rect, lines: impl IntoIterator<Item = Line<'a>>) {
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        buf.set_line(area.x, y, &line, area.width);
    }
}

/// A column of a graph: `share` of the height, bottom up, in eighths where glyphs allow.
fn column(buf: &mut Buffer, area: Rect, x: u16, share: f64, ctx: &Ctx<'_>, role: Role) {
    let rows = f64::from(area.height);
    for (from_bottom, y) in (area.y..area.bottom()).rev().enumerate() {
        let here = share.clamp(0.0, 1.0) * rows - from_bottom as f64;
        let Some(glyph) = ctx.theme.glyphs.level(here) else {
            break;
        };
        buf.set_string(x, y, glyph, ctx.theme.style(role));
    }
}

/// A rectangle without its last columns.
fn inset(area: Rect, left: u16, right: u16) -> Rect {
    Rect {
        x: area.x + left.min(area.width),
        width: area.width.saturating_sub(left + right),
        ..area
    }
}

/// A rectangle without its first rows.
fn below(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect {
        y: area.y + rows,
        height: area.height - rows,
        ..area
    }
}
