//! All telemetry in one narrow column, for small screens: each pane's section, a heading and a
//! row or two. Zoomed, the panes themselves.

use super::pane::{Draw, Pane, Rows, Section};
use super::{Ctx, ModelKind, PaneId, frame, telemetry};
use crate::tui::app::App;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "telemetry",
    draw: Draw::Whole(draw),
    seat: None,
    section: None,
};

/// Rows from which an overview is tall.
const TALL_ROWS: u16 = 20;

fn draw(buf: &mut Buffer, area: Rect, app: &mut App, focused: bool) {
    if app.zoom.is_some() {
        for (pane, area) in telemetry(area, ModelKind::of(app.shown())) {
            pane.pane().draw(buf, area, app, false);
        }
        return;
    }
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.shown(),
    };
    let inner = frame(buf, area, ctx.theme, PANE.title, Line::default(), focused);
    draw_sections(buf, inner, &ctx);
}

fn draw_sections(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let model = ModelKind::of(ctx.snap);
    let sections = || {
        PaneId::ALL
            .iter()
            .filter(|id| model.has_foremost(**id))
            .filter_map(|id| id.pane().section.as_ref())
    };
    let rows = |section: &Section| match section.rows {
        Rows::Fixed(rows) => Some(rows),
        Rows::ShortOrTall(short, _) if area.height < TALL_ROWS => Some(short),
        Rows::ShortOrTall(_, tall) => Some(tall),
        Rows::Rest(_) => None,
    };
    let taken: u16 = sections().map(|s| 1 + rows(s).unwrap_or(0)).sum();
    let rest = area.height.saturating_sub(taken);
    let mut y = area.y;
    let mut place = |rows: u16| {
        let here = Rect {
            y,
            height: rows.min(area.bottom().saturating_sub(y)),
            ..area
        };
        y += rows;
        here
    };
    for section in sections() {
        heading(buf, place(1), ctx, section);
        let rows = match section.rows {
            Rows::Rest(most) => rest.clamp(1, most),
            _ => rows(section).unwrap_or(0),
        };
        (section.draw)(buf, place(rows), ctx);
    }
}

/// A name at the left, figures at the right.
fn heading(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, section: &Section) {
    if area.height == 0 {
        return;
    }
    let (name, info) = (section.name, (section.info)(ctx));
    buf.set_span(area.x, area.y, &ctx.span(Role::Title, name), area.width);
    let free = area.width.saturating_sub(name.len() as u16 + 1);
    let width = (info.width() as u16).min(free);
    buf.set_line(area.right() - width, area.y, &info, width);
}
