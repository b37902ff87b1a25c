//! What the scout takes the prompt for. All of it is predicted.

use super::pane::{Column, Draw, Pane, Rows, Seat, Section};
use super::{Ctx, bar, empty, lines};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::vocabulary::Label;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "scout",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: Some(Constraint::Length(5)),
        column: Column::Right,
        share: 2,
        needs: Some(7),
    }),
    section: Some(Section {
        name: "scout",
        info: short,
        rows: Rows::ShortOrTall(1, 3),
        draw: draw_section,
    }),
};

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    let scout = &ctx.snap.scout;
    if scout.predicted.is_none() {
        return Line::default();
    }
    Line::from(vec![
        ctx.span(Role::Predicted, "pred."),
        ctx.span(Role::Muted, " in "),
        ctx.span(Role::Value, text::ms(scout.last_us as f64 / 1e3)),
    ])
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    if ctx.snap.scout.predicted.is_none() {
        return empty(
            buf,
            area,
            ctx,
            "The scout guesses what the prompt asks for once there is text.",
        );
    }
    let mut rows = bars(ctx, area.width);
    let reasons = &ctx.snap.scout.reasons;
    if !reasons.is_empty() {
        let because = format!("because: {}", reasons.join(", "));
        let width = usize::from(area.width);
        let free_rows = usize::from(area.height).saturating_sub(rows.len());
        let wrapped = crate::tui::wrap::wrap_line(&because, width);
        rows.extend(
            wrapped
                .into_iter()
                .take(free_rows)
                .map(|r| Line::from(ctx.span(Role::Muted, because[r].trim_end().to_owned()))),
        );
    }
    lines(buf, area, rows);
}

/// For the overview: says that what is below is predicted.
fn short(ctx: &Ctx<'_>) -> Line<'static> {
    match ctx.snap.scout.predicted {
        Some(_) => Line::from(ctx.span(Role::Predicted, "pred.")),
        None => Line::from(ctx.span(Role::Placeholder, "no text yet")),
    }
}

fn draw_section(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    match area.height {
        0 | 1 => lines(buf, area, [words(ctx)]),
        _ => lines(buf, area, bars(ctx, area.width)),
    }
}

/// The labels on one line.
fn words(ctx: &Ctx<'_>) -> Line<'static> {
    let mut line = Line::default();
    let best = ctx.snap.scout.best().map(|(label, _)| label);
    for (label, share) in Label::ALL
        .into_iter()
        .zip(ctx.snap.scout.predicted.into_iter().flatten())
    {
        let role = if best == Some(label) {
            Role::Strong
        } else {
            Role::Muted
        };
        let gap = if line.spans.is_empty() { "" } else { " " };
        line.push_span(ctx.span(role, format!("{gap}{} ", label.name())));
        line.push_span(ctx.span(Role::Predicted, format!("~{}", text::percent(share.into()))));
    }
    line
}

/// A bar a label.
fn bars(ctx: &Ctx<'_>, width: u16) -> Vec<Line<'static>> {
    let Some(predicted) = ctx.snap.scout.predicted else {
        return Vec::new();
    };
    let best = ctx.snap.scout.best().map(|(label, _)| label);
    Label::ALL
        .into_iter()
        .zip(predicted)
        .map(|(label, share)| {
            let role = match label {
                Label::Code => Role::ScoutCode,
                Label::Chat => Role::ScoutChat,
                Label::Docs => Role::ScoutDocs,
            };
            let name_role = if best == Some(label) {
                Role::Strong
            } else {
                Role::Muted
            };
            let mut line = Line::from(ctx.span(name_role, format!("{:<5}", label.name())));
            let bar_width = width.saturating_sub(11).min(40);
            line.spans.extend(bar(ctx, share.into(), bar_width, role));
            let percent = format!("{:>6}", format!("~{}", text::percent(share.into())));
            line.push_span(ctx.span(Role::Predicted, percent));
            line
        })
        .collect()
}
