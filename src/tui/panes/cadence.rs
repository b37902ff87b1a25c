//! The rhythm of the typing: gaps between keys, pauses, and how likely Enter is.

use super::pane::{Column, Draw, Pane, Rows, Seat, Section};
use super::{Ctx, bar, column, empty, remark};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "cadence",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: Some(Constraint::Length(5)),
        column: Column::Right,
        share: 2,
        needs: None,
    }),
    section: Some(Section {
        name: "cadence",
        info,
        rows: Rows::Fixed(1),
        draw: draw_section,
    }),
};

/// Gaps from which on a column is full height; longer ones are pauses.
const FULL_MS: f64 = 1_000.0;

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    match ctx.snap.cadence.median_gap_ms {
        Some(median) => Line::from(vec![
            ctx.span(Role::Muted, "median "),
            ctx.span(Role::Value, text::ms(median)),
        ]),
        None => Line::default(),
    }
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let cadence = &ctx.snap.cadence;
    if cadence.keys == 0 && cadence.pastes == 0 {
        return empty(
            buf,
            area,
            ctx,
            "The gaps between your keys appear here as you type.",
        );
    }
    let text_rows = if area.height >= 3 { 2 } else { 1 };
    let graph = Rect {
        height: area.height.saturating_sub(text_rows),
        ..area
    };
    draw_gaps(buf, graph, ctx);
    let mut rows = vec![figures(ctx, area.width)];
    if text_rows == 2 {
        rows.push(submit(ctx, area.width));
    }
    let text_area = Rect {
        y: area.y + graph.height,
        height: area.height - graph.height,
        ..area
    };
    super::lines(buf, text_area, rows);
}

fn draw_section(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    match ctx.snap.cadence.keys {
        0 => remark(buf, area, ctx, "no keys yet"),
        _ => draw_gaps(buf, area, ctx),
    }
}

/// The last gaps, the latest at the right.
fn draw_gaps(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let gaps = &ctx.snap.cadence.gaps_ms;
    let shown = gaps.len().min(area.width.into());
    for (x, gap) in (area.x..).zip(gaps.iter().skip(gaps.len() - shown)) {
        // Gaps spread over decades: the square root keeps the short ones apart.
        let share = (f64::from(*gap) / FULL_MS).sqrt();
        column(buf, area, x, share.max(0.02), ctx, Role::Cadence);
    }
}

fn figures(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let cadence = &ctx.snap.cadence;
    let mut groups = Vec::new();
    if let Some(pause) = cadence.pause_ms {
        groups.push(ctx.pair("pause", text::ms(pause)).to_vec());
    }
    groups.push(ctx.pair("keys", text::count(cadence.keys)).to_vec());
    groups.push(
        ctx.pair("backspaces", text::count(cadence.backspaces))
            .to_vec(),
    );
    groups.push(ctx.pair("pastes", text::count(cadence.pastes)).to_vec());
    groups.push(vec![ctx.span(Role::Muted, "full height 1 s")]);
    ctx.joined(groups, width)
}

/// How likely Enter is within a second.
fn submit(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let Some(share) = ctx.snap.cadence.predicted_submit else {
        return Line::from(ctx.span(Role::Muted, "pred. Enter within 1 s: not known yet"));
    };
    let mut line = Line::from(ctx.span(Role::Predicted, "pred. Enter within 1 s "));
    line.push_span(ctx.span(Role::Predicted, format!("{:>4} ", text::percent(share))));
    let bar_width = width.saturating_sub(line.width() as u16).min(20);
    line.spans
        .extend(bar(ctx, share, bar_width, Role::Predicted));
    line
}
