//! The last line: what the likeliest keys do now, from the key map; or a remark.

use super::Ctx;
use crate::tui::action::{Action, Context};
use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

pub fn draw(buf: &mut Buffer, area: Rect, app: &App) {
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.live(),
    };
    if let Some(toast) = &app.toast {
        let cut = text::fit(
            toast,
            usize::from(area.width.saturating_sub(2)),
            app.theme.glyphs.ellipsis,
        );
        buf.set_span(area.x + 1, area.y, &ctx.span(Role::Warn, cut), area.width);
        return;
    }
    let mut line = Line::default();
    for (action, label) in hints(app) {
        let Some(chord) = app.keymap.key(app.context(), action) else {
            continue;
        };
        let key = format!(" {chord}");
        let label = format!(" {label} ");
        if line.width() + key.len() + label.len() > usize::from(area.width) {
            break;
        }
        line.push_span(ctx.span(Role::Key, key));
        line.push_span(ctx.span(Role::Muted, label));
    }
    buf.set_line(area.x, area.y, &line, area.width);
}

/// What to hint at, the most useful first.
fn hints(app: &App) -> Vec<(Action, &'static str)> {
    if app.help {
        return vec![
            (Action::Cancel, "close"),
            (Action::ScrollPageDown, "scroll"),
        ];
    }
    if app.fatal.is_some() {
        return vec![(Action::Quit, "quit"), (Action::ScrollPageUp, "scroll")];
    }
    let mut hints = Vec::new();
    if app.busy {
        hints.push((Action::Cancel, "stop"));
    }
    if app.talk.has_thoughts() {
        let label = match app.talk.shows_thoughts() {
            true => "fold thoughts",
            false => "show thoughts",
        };
        hints.push((Action::ToggleThinking, label));
    }
    match app.context() {
        Context::Input => hints.extend([
            (Action::Submit, "send"),
            (Action::Newline, "new line"),
            (Action::Help, "help"),
            (Action::FocusNext, "panes"),
            (Action::Quit, "quit"),
            (Action::NewConversation, "new conversation"),
            (Action::ScrollPageUp, "scroll"),
        ]),
        _ => hints.extend([
            (Action::FocusInput, "prompt"),
            (
                Action::Zoom,
                if app.zoom.is_some() { "unzoom" } else { "zoom" },
            ),
            (
                Action::Freeze,
                if app.is_frozen() {
                    "unfreeze"
                } else {
                    "freeze"
                },
            ),
            (Action::Help, "help"),
            (Action::FocusNext, "next pane"),
            (Action::Quit, "quit"),
        ]),
    }
    hints.push((Action::Freeze, "freeze"));
    hints.push((Action::NextTheme, "theme"));
    let mut seen = Vec::new();
    hints.retain(|(action, _)| {
        let new = !seen.contains(action);
        seen.push(*action);
        new
    });
    hints
}
