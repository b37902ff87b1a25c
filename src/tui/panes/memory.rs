//! Memory against the promise of `--ram`, and who holds it.

use super::pane::{Column, Draw, Pane, Seat};
use super::{Ctx, bar, empty, lines};
use crate::telemetry::MemoryView;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units::Bytes;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "memory",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: None,
        column: Column::Left,
        share: 2,
        needs: Some(12),
    }),
    // The status line shows it on every screen.
    section: None,
};

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    let memory = &ctx.snap.memory;
    if memory.budget.0 == 0 {
        return Line::default();
    }
    Line::from(vec![
        ctx.span(Role::Muted, "budget "),
        ctx.span(Role::Value, memory.budget.to_string()),
    ])
}

/// Columns of a figure with its unit.
const FIGURE: usize = 10;

/// Of the names that nearly all owners have.
const NAME: usize = 11;

/// Widths of the names, whole where they fit next to a short bar, and of the bars.
fn columns(memory: &MemoryView, width: u16) -> (usize, u16) {
    let longest = memory.owners.iter().map(|(name, _)| name.len());
    let longest = longest.max().unwrap_or_default();
    // An empty margin at the right, unless a long name needs it.
    let air = if longest > NAME { 0 } else { 4 };
    let both = usize::from(width).saturating_sub(FIGURE + 1 + air);
    let names = longest.max(NAME).min(both.saturating_sub(4));
    let bars = u16::try_from(both - names).unwrap_or(u16::MAX);
    (names, bars.min(40))
}

/// The owners, or the largest and a sum of the others where there are fewer rows.
fn shown(memory: &MemoryView, rows: usize) -> impl Iterator<Item = (&'static str, Bytes)> {
    let mut owners = memory.owners.clone();
    if owners.len() > rows && rows > 0 {
        owners.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let others = owners.split_off(rows - 1);
        let sum = others.iter().map(|(_, bytes)| bytes.0).sum();
        owners.push(("others", Bytes(sum)));
    }
    owners.into_iter()
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let memory = &ctx.snap.memory;
    if memory.budget.0 == 0 {
        return empty(
            buf,
            area,
            ctx,
            "The budget is known when the models have been opened.",
        );
    }
    let (names, bars) = columns(memory, area.width);
    let row = |name: &str, bytes: Bytes, role| {
        let share = bytes.0 as f64 / memory.budget.0 as f64;
        let name = text::fit(name, names, ctx.theme.glyphs.ellipsis);
        let mut line = Line::from(ctx.span(Role::Muted, format!("{name:<names$} ")));
        line.spans.extend(bar(ctx, share, bars, role));
        // Before the first look at it, there is nothing to show.
        let figure = match bytes.0 {
            0 => "?".to_owned(),
            _ => bytes.to_string(),
        };
        line.push_span(ctx.span(Role::Value, format!("{figure:>FIGURE$}")));
        line
    };
    let used_role = if memory.rss > memory.budget {
        Role::Bad
    } else {
        Role::Bar
    };
    let mut rows = vec![
        row("process", memory.rss, used_role),
        row("its peak", memory.rss_peak, used_role),
    ];
    if !memory.owners.is_empty() {
        let left = usize::from(area.height).saturating_sub(rows.len() + 1);
        if left > memory.owners.len() {
            rows.push(Line::default());
        }
        rows.push(Line::from(ctx.span(Role::Muted, "planned for")));
        let owners = shown(memory, left);
        rows.extend(owners.map(|(name, bytes)| row(name, bytes, Role::Bar)));
    }
    lines(buf, area, rows);
}
