//! The prompt being written.

use super::pane::{Draw, Pane};
use super::{Ctx, frame};
use crate::tui::action::{Action, Context};
use crate::tui::app::App;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

pub const PANE: Pane = Pane {
    title: "prompt",
    draw: Draw::Whole(draw),
    seat: None,
    section: None,
};

fn draw(buf: &mut Buffer, area: Rect, app: &mut App, focused: bool) {
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.live(),
    };
    let prefill = ctx.snap.prefill;
    let info = if prefill.prompt_tokens > 0 && !app.prompt.is_blank() {
        Line::from(vec![
            ctx.span(
                Role::Value,
                format!("{}/{}", prefill.ready_tokens, prefill.prompt_tokens),
            ),
            ctx.span(Role::Muted, " tokens read before Enter"),
        ])
    } else {
        Line::default()
    };
    let inner = frame(buf, area, &app.theme, PANE.title, info, focused);

    let key = |action| app.keymap.key(Context::Input, action);
    let placeholder = match (key(Action::Submit), key(Action::Help)) {
        (Some(submit), Some(help)) => {
            format!("Type: the engine reads along. {submit} sends, {help} helps.")
        }
        _ => "Type: the engine reads along.".to_owned(),
    };
    let (text, hint) = (
        app.theme.style(Role::Text),
        app.theme.style(Role::Placeholder),
    );
    let cursor = match focused && app.window_focused {
        true => app.theme.style(Role::Cursor),
        // Where typing would go on, without claiming that it would.
        false => Style::new().underlined(),
    };
    let selection = app.theme.style(Role::Selection);
    let textarea = app.prompt.area_mut();
    textarea.set_placeholder_text(placeholder);
    textarea.set_placeholder_style(hint);
    textarea.set_style(text);
    textarea.set_cursor_line_style(Style::new());
    textarea.set_cursor_style(cursor);
    textarea.set_selection_style(selection);
    (&*textarea).render(inner, buf);
}
