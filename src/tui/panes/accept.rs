//! How much of what is drafted the oracle accepts: a column a pass, and the means; where it
//! fits, the last pass's tree below.

use super::pane::{Column, Draw, Pane, Rows, Seat, Section};
use super::{Ctx, below, column, empty, remark, tree};
use crate::telemetry::{AcceptView, PassView};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "acceptance",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: Some(Constraint::Length(6)),
        column: Column::Right,
        share: 3,
        needs: None,
    }),
    section: Some(Section {
        name: "accept",
        info: short,
        rows: Rows::Fixed(1),
        draw: draw_section,
    }),
};

/// The graph of passes and its figures keep this many rows above a tree.
const LEAST_ROWS: u16 = 4;

/// Accepted over drafted nodes of the answer.
fn rate(accept: &AcceptView) -> Option<f64> {
    (accept.drafted > 0).then(|| accept.accepted as f64 / accept.drafted as f64)
}

/// Answer tokens a pass, once there was a pass that decoded.
fn tokens_a_pass(accept: &AcceptView) -> Option<f64> {
    let decoded = accept.passes > 0 && !accept.recent.is_empty();
    decoded.then(|| accept.tokens as f64 / accept.passes as f64)
}

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    match tokens_a_pass(&ctx.snap.accept) {
        Some(mean) => Line::from(vec![
            ctx.span(Role::Value, format!("{mean:.1}")),
            ctx.span(Role::Muted, " tokens a pass"),
        ]),
        None => Line::default(),
    }
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let accept = &ctx.snap.accept;
    if accept.recent.is_empty() {
        let loaded = !ctx.snap.engine.oracle.is_empty();
        let text = match &ctx.snap.engine.draft {
            _ if loaded && ctx.snap.speculation.max_nodes == 1 => {
                "No guesses: each pass yields one token. The passes of an answer appear here."
            }
            None if loaded => {
                "No draft model: guesses repeat earlier text. The passes of an answer appear here."
            }
            _ => "Each pass of an answer appears here: what was drafted, and what of it stands.",
        };
        return empty(buf, area, ctx, text);
    }
    // Whole, or not at all: half a tree would mislead.
    let of_tree = Some(tree::rows(ctx)).filter(|rows| area.height >= rows + LEAST_ROWS);
    let of_tree = of_tree.unwrap_or(0);
    let graph = Rect {
        height: area.height.saturating_sub(1 + of_tree),
        ..area
    };
    if of_tree > 0 {
        tree::draw(buf, below(area, graph.height + 1), ctx);
    }
    let most = draw_passes(buf, graph, ctx);
    let line = figures(ctx, area.width, most);
    buf.set_line(area.x, area.y + graph.height, &line, area.width);
}

/// Draws the columns; returns how many nodes the full height is.
fn draw_passes(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) -> usize {
    let recent = &ctx.snap.accept.recent;
    let most = recent
        .iter()
        .map(|p| p.drafted.max(p.accepted))
        .max()
        .unwrap_or(0)
        .max(1);
    // Wide panes give a pass two columns, with a gap where there is still more space.
    let columns = usize::from(area.width);
    let step = match recent.len() {
        n if n * 3 <= columns => 3,
        n if n * 2 <= columns => 2,
        _ => 1,
    };
    let shown = (columns / step).min(recent.len());
    for (i, pass) in recent.iter().skip(recent.len() - shown).enumerate() {
        for width in 0..(step - 1).max(1) {
            let x = area.x + (i * step + width) as u16;
            draw_pass(buf, area, x, ctx, pass, most);
        }
    }
    most
}

fn draw_pass(buf: &mut Buffer, area: Rect, x: u16, ctx: &Ctx<'_>, pass: &PassView, most: usize) {
    let drafted = pass.drafted as f64 / most as f64 * f64::from(area.height);
    let accepted = pass.accepted as f64 / most as f64;
    let rejected = ctx.theme.style(Role::Rejected);
    let top = area.bottom().saturating_sub(drafted.ceil() as u16);
    for y in top.max(area.y)..area.bottom() {
        buf.set_string(x, y, ctx.theme.glyphs.rejected, rejected);
    }
    column(buf, area, x, accepted, ctx, Role::Accepted);
}

/// The means of the answer, with the meaning of the two colours.
fn figures(ctx: &Ctx<'_>, width: u16, most: usize) -> Line<'static> {
    let accept = &ctx.snap.accept;
    let glyphs = &ctx.theme.glyphs;
    let mut accepted = vec![
        ctx.span(Role::Accepted, glyphs.levels[glyphs.levels.len() / 2 - 1]),
        ctx.span(Role::Muted, " accepted "),
        ctx.span(Role::Value, text::count(accept.accepted)),
        ctx.span(Role::Muted, format!(" of {}", text::count(accept.drafted))),
    ];
    if let Some(rate) = rate(accept) {
        accepted.push(ctx.span(Role::Value, format!(" = {}", text::percent(rate))));
    }
    let mut groups = vec![accepted];
    groups.push(ctx.pair("passes", text::count(accept.passes)).to_vec());
    if let Some(last) = accept.recent.back() {
        groups.push(ctx.pair("last", text::ms(last.ms)).to_vec());
    }
    groups.push(vec![
        ctx.span(Role::Muted, format!("full height {most} nodes")),
    ]);
    ctx.joined(groups, width)
}

fn draw_section(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    if ctx.snap.accept.recent.is_empty() {
        return remark(buf, area, ctx, "no pass yet");
    }
    draw_passes(buf, area, ctx);
}

/// For the overview: the figures alone.
fn short(ctx: &Ctx<'_>) -> Line<'static> {
    let accept = &ctx.snap.accept;
    let mut line = Line::default();
    if let Some(rate) = rate(accept) {
        line.push_span(ctx.span(Role::Value, text::percent(rate)));
        line.push_span(ctx.span(Role::Muted, "  "));
    }
    if let Some(mean) = tokens_a_pass(accept) {
        line.push_span(ctx.span(Role::Value, format!("{mean:.1}")));
        line.push_span(ctx.span(Role::Muted, " tokens/pass"));
    }
    line
}
