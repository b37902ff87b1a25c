//! Draws a frame: lays the panes out and hands each its part of the snapshot.

use super::app::App;
use super::layout::{Layout, MIN_SIZE};
use super::panes::{self, ModelKind, PaneId};
use super::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Draws everything over `area`, and remembers in `app` where it is.
pub fn draw(buf: &mut Buffer, area: Rect, app: &mut App) {
    let base = app
        .theme
        .style(Role::Text)
        .patch(Style::new().bg(app.theme.background));
    buf.set_style(area, base);
    let model = ModelKind::of(app.shown());
    let rows = |width| app.prompt.rows(width);
    let Some(layout) = Layout::new(area, app.zoom, model, rows) else {
        return too_small(buf, area, app);
    };
    // A pane that this size does not show cannot keep the focus.
    if layout.area(app.focus).is_none() {
        app.focus = match app.focus {
            PaneId::Overview => PaneId::Answer,
            _ if layout.area(PaneId::Overview).is_some() => PaneId::Overview,
            _ => PaneId::Prompt,
        };
    }
    panes::status::draw(buf, layout.status, app);
    panes::footer::draw(buf, layout.footer, app);
    for &(pane, area) in &layout.panes {
        let focused = app.focus == pane;
        pane.pane().draw(buf, area, app, focused);
    }
    app.layout = layout;
    if app.help {
        panes::help::draw(buf, area, app);
    }
}

fn too_small(buf: &mut Buffer, area: Rect, app: &App) {
    let lines = [
        format!("The screen is {} x {}.", area.width, area.height),
        format!("NMOS needs {} x {}.", MIN_SIZE.width, MIN_SIZE.height),
    ];
    let top = area.y + area.height.saturating_sub(2) / 2;
    for (row, text) in (top..area.bottom()).zip(lines) {
        let width = u16::try_from(text.len()).unwrap_or(u16::MAX);
        let x = area.x + area.width.saturating_sub(width) / 2;
        let line = Line::from(Span::styled(text, app.theme.style(Role::Warn)));
        buf.set_line(x, row, &line, area.right() - x);
    }
}
