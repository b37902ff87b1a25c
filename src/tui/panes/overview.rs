//! All telemetry in one narrow column, for small screens: a heading and a row or two each.

use super::{Ctx, accept, cadence, kv, queue, scout, shards};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::wrap::wrap_line;
use crate::units::Bytes;
use crate::vocabulary::OracleForm;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

pub fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let mut y = area.y;
    let mut place = |rows: u16| {
        let room = Rect {
            y,
            height: rows.min(area.bottom().saturating_sub(y)),
            ..area
        };
        y += rows;
        room
    };
    // What remains over the fixed rows goes to the shards: they are the picture.
    let scout_rows = if area.height >= 20 { 3 } else { 1 };
    let fixed = 1 + 2 + 1 + 2 + 2 + 1 + scout_rows;
    let cells = area.height.saturating_sub(fixed).clamp(1, 8);

    heading(buf, place(1), ctx, "shards", shards_info(ctx));
    let room = place(cells);
    if ctx.snap.shards.is_empty() {
        let text = shards::none(ctx);
        let rows = wrap_line(text, room.width.into()).into_iter();
        let rows = rows.map(|r| Line::from(ctx.span(Role::Placeholder, &text[r])));
        super::lines(buf, room, rows);
    } else {
        shards::draw_cells(buf, room, ctx);
    }
    heading(buf, place(1), ctx, "prefetch", queue::info(ctx));
    let room = place(1);
    match (ctx.snap.engine.form, ctx.snap.queue.bytes_read) {
        (Some(OracleForm::Resident), _) => text_row(buf, room, ctx, "resident: nothing streams"),
        (_, 0) => text_row(buf, room, ctx, "nothing read yet"),
        _ => {
            let line = queue_row(ctx, room.width);
            buf.set_line(room.x, room.y, &line, room.width);
        }
    }
    heading(buf, place(1), ctx, "KV", kv::info(ctx));
    heading(buf, place(1), ctx, "accept", accept::short(ctx));
    let room = place(1);
    match ctx.snap.accept.recent.is_empty() {
        true => text_row(buf, room, ctx, "no pass yet"),
        false => {
            accept::draw_passes(buf, room, ctx);
        }
    }
    heading(buf, place(1), ctx, "cadence", cadence::info(ctx));
    let room = place(1);
    match ctx.snap.cadence.keys {
        0 => text_row(buf, room, ctx, "no keys yet"),
        _ => cadence::draw_gaps(buf, room, ctx),
    }
    let room = place(1);
    heading(buf, room, ctx, "scout", scout_info(ctx));
    let room = place(scout_rows);
    match scout_rows {
        1 => super::lines(buf, room, [scout::words(ctx)]),
        _ => super::lines(buf, room, scout::bars(ctx, area.width)),
    }
}

/// A name at the left, figures at the right.
fn heading(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, name: &'static str, info: Line<'_>) {
    if area.height == 0 {
        return;
    }
    buf.set_span(area.x, area.y, &ctx.span(Role::Title, name), area.width);
    let room = area.width.saturating_sub(name.len() as u16 + 1);
    let width = (info.width() as u16).min(room);
    buf.set_line(area.right() - width, area.y, &info, width);
}

fn text_row(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, text: &'static str) {
    if area.height > 0 {
        buf.set_span(
            area.x,
            area.y,
            &ctx.span(Role::Placeholder, text),
            area.width,
        );
    }
}

fn shards_info(ctx: &Ctx<'_>) -> Line<'static> {
    let held: u64 = ctx
        .snap
        .shards
        .iter()
        .filter(|s| s.residency != crate::telemetry::Residency::Disk)
        .map(|s| s.bytes.0)
        .sum();
    let all: u64 = ctx.snap.shards.iter().map(|s| s.bytes.0).sum();
    if all == 0 {
        return Line::default();
    }
    Line::from(vec![
        ctx.span(Role::Value, text::percent(held as f64 / all as f64)),
        ctx.span(Role::Muted, format!(" of {}", Bytes(all))),
    ])
}

fn queue_row(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let queue = &ctx.snap.queue;
    let mut groups = Vec::new();
    if let Some(rate) = queue::hit_rate(queue) {
        groups.push(ctx.pair("on time", text::percent(rate)).to_vec());
    }
    groups.push(ctx.pair("stall", text::ms(queue.stall_ms)).to_vec());
    ctx.joined(groups, width)
}

fn scout_info(ctx: &Ctx<'_>) -> Line<'static> {
    match ctx.snap.scout.predicted {
        Some(_) => Line::from(ctx.span(Role::Predicted, "pred.")),
        None => Line::from(Span::styled(
            "no text yet",
            ctx.theme.style(Role::Placeholder),
        )),
    }
}
