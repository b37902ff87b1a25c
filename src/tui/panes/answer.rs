//! The conversation: turns, the answer as it comes, and where it is scrolled to.

use super::{Ctx, below, empty, frame, inset};
use crate::telemetry::Phase;
use crate::tui::app::App;
use crate::tui::conversation::{Row, RowKind};
use crate::tui::layout::PaneId;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

pub fn draw(buf: &mut Buffer, area: Rect, app: &mut App, focused: bool) {
    // One column of air on either side; the right one holds the scroll bar.
    let size = inset(area, 2, 2);
    let height = area.height.saturating_sub(2);
    app.talk.layout(size.width.into(), height.into());
    let (top, total, under) = app.talk.position();
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.live(),
    };
    let glyphs = &app.theme.glyphs;
    let info = match under {
        0 => Line::default(),
        1 => Line::from(ctx.span(Role::Warn, format!("{} 1 more row", glyphs.down))),
        n => Line::from(ctx.span(Role::Warn, format!("{} {n} more rows", glyphs.down))),
    };
    let inner = frame(buf, area, &app.theme, PaneId::Answer.title(), info, focused);
    if app.talk.is_empty() {
        let text = match &ctx.snap.phase {
            Phase::Loading(_) => {
                "The models are loading. You can type already: the prompt is read as soon as they are there."
            }
            _ => {
                "Nothing said yet. What you type is read while you type it, so that the answer starts early."
            }
        };
        return empty(buf, inset(inner, 1, 1), &ctx, text);
    }
    for (y, row) in (inner.y..inner.bottom()).zip(app.talk.visible()) {
        let line = styled(&ctx, row, app.spinner, size.width);
        buf.set_line(size.x, y, &line, size.width);
    }
    if total > usize::from(height) {
        scroll_bar(
            buf,
            below(inset(area, area.width - 1, 0), 1),
            &ctx,
            top,
            total,
            height,
        );
    }
}

fn styled<'a>(ctx: &Ctx<'_>, row: &'a Row, spinner: usize, width: u16) -> Line<'a> {
    let glyphs = &ctx.theme.glyphs;
    let span = |role, text: &'a str| Line::from(ctx.span(role, text));
    match row.kind {
        RowKind::User => Line::from(vec![
            ctx.span(Role::User, format!("{} ", glyphs.user)),
            ctx.span(Role::User, row.text.as_str()),
        ]),
        RowKind::Text => span(Role::Answer, &row.text),
        RowKind::Heading => span(Role::Strong, &row.text),
        RowKind::Code => span(Role::CodeText, &row.text),
        RowKind::Waiting => {
            let spin = glyphs.spinner[spinner % glyphs.spinner.len()];
            Line::from(ctx.span(Role::Muted, format!("{spin} {}", waiting(ctx))))
        }
        RowKind::Fence | RowKind::Figures => span(Role::Muted, &row.text),
        RowKind::Notice => Line::from(vec![ctx.span(Role::Warn, row.text.as_str())]),
        RowKind::Error => span(Role::Bad, &row.text),
        RowKind::Divider => {
            let rest = usize::from(width).saturating_sub(row.text.len() + 4);
            let dash = glyphs.border.horizontal_top;
            Line::from(ctx.span(
                Role::Muted,
                format!("{} {} {}", dash.repeat(2), row.text, dash.repeat(rest)),
            ))
        }
        RowKind::Blank => Line::default().style(Style::new()),
    }
}

/// What stands between a sent prompt and its first token.
fn waiting(ctx: &Ctx<'_>) -> String {
    if let Phase::Loading(_) = ctx.snap.phase {
        return "queued: answered as soon as the models are loaded".into();
    }
    let used = ctx.snap.shards.iter().find(|s| s.in_use);
    let last = ctx.snap.shards.iter().filter_map(|s| s.layer).max();
    match (used, last) {
        (Some(shard), Some(last)) => {
            let layer = shard.layer.map_or(last + 1, |l| l + 1);
            // As long as the narrowest conversation is wide.
            format!("waiting for the first token: layer {layer} of {}", last + 1)
        }
        _ => "waiting for the first token".into(),
    }
}

fn scroll_bar(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, top: usize, total: usize, height: u16) {
    let rows = usize::from(height);
    let thumb = (rows * rows / total).max(1);
    let room = rows - thumb;
    let hidden = (total - rows).max(1);
    let start = (top * room).div_ceil(hidden);
    let glyphs = &ctx.theme.glyphs;
    for (i, y) in (area.y..area.y + height).enumerate() {
        let (glyph, role) = match (start..start + thumb).contains(&i) {
            true => (glyphs.scroll_thumb, Role::Muted),
            false => (glyphs.scroll_track, Role::Border),
        };
        buf.set_string(area.x, y, glyph, ctx.theme.style(role));
    }
}
