//! Memory against the promise of `--ram`, and who holds it.

use super::{Ctx, bar, empty, lines};
use crate::tui::theme::Role;
use crate::units::Bytes;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

pub fn info(ctx: &Ctx<'_>) -> Line<'static> {
    let memory = &ctx.snap.memory;
    if memory.budget.0 == 0 {
        return Line::default();
    }
    Line::from(vec![
        ctx.span(Role::Muted, "budget "),
        ctx.span(Role::Value, memory.budget.to_string()),
    ])
}

pub fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let memory = &ctx.snap.memory;
    if memory.budget.0 == 0 {
        return empty(
            buf,
            area,
            ctx,
            "The budget is known when the models have been opened.",
        );
    }
    let width = area.width.saturating_sub(26).clamp(4, 40);
    let row = |name: &str, bytes: Bytes, role, note: &str| {
        let share = bytes.0 as f64 / memory.budget.0 as f64;
        let mut line = Line::from(ctx.span(Role::Muted, format!("{name:<12}")));
        line.spans.extend(bar(ctx, share, width, role));
        line.push_span(ctx.span(Role::Value, format!("{bytes:>10}")));
        line.push_span(ctx.span(Role::Muted, note.to_owned()));
        line
    };
    let used_role = if memory.rss > memory.budget {
        Role::Bad
    } else {
        Role::Bar
    };
    let mut rows = vec![
        row("process", memory.rss, used_role, ""),
        row("its peak", memory.rss_peak, used_role, ""),
        Line::from(Span::raw("")),
    ];
    if !memory.owners.is_empty() {
        rows.push(Line::from(ctx.span(Role::Muted, "planned for")));
        rows.extend(
            memory
                .owners
                .iter()
                .map(|(name, bytes)| row(name, *bytes, Role::Bar, "")),
        );
    }
    lines(buf, area, rows);
}
