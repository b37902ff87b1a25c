//! The help box, written from the key map.

use super::{Ctx, frame, lines};
use crate::tui::action::Context;
use crate::tui::app::App;
use crate::tui::chord::Chord;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Widget};

/// Widest useful box: two columns of actions.
const MAX_WIDTH: u16 = 118;

/// Columns of the keys.
const KEYS: usize = 24;

pub fn draw(buf: &mut Buffer, area: Rect, app: &mut App) {
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.live(),
    };
    let rows = rows(&ctx, app);
    let two = area.width >= MAX_WIDTH;
    // On a narrow screen slivers of the panes at its sides would only confuse.
    let width = match area.width {
        0..84 => area.width,
        wide => wide.min(if two { MAX_WIDTH } else { 76 }) - 2,
    };
    let split = if two {
        rows.len().div_ceil(2)
    } else {
        rows.len()
    };
    let height = (split as u16 + 2).min(area.height.saturating_sub(2));
    let outer = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(outer, buf);
    let base = ctx.theme.style(Role::Text).bg(ctx.theme.background);
    buf.set_style(outer, base);
    let hidden = split.saturating_sub(usize::from(height) - 2);
    let scroll = app.help_scroll.min(hidden);
    let info = match hidden - scroll {
        0 => Line::default(),
        n => Line::from(ctx.span(
            Role::Warn,
            format!("{} {n} more rows", ctx.theme.glyphs.down),
        )),
    };
    let inner = frame(buf, outer, ctx.theme, "keys", info, true).inner(Margin::new(1, 0));
    if two {
        let half = Rect {
            width: inner.width / 2 - 1,
            ..inner
        };
        let (left, right) = rows.split_at(split);
        lines(buf, half, left.iter().skip(scroll).cloned());
        let right_half = Rect {
            x: half.right() + 2,
            ..half
        };
        lines(buf, right_half, right.iter().skip(scroll).cloned());
    } else {
        lines(buf, inner, rows.into_iter().skip(scroll));
    }
    app.help_scroll = scroll;
}

fn rows(ctx: &Ctx<'_>, app: &App) -> Vec<Line<'static>> {
    let mut rows = Vec::new();
    for context in Context::ALL {
        if !rows.is_empty() {
            rows.push(Line::default());
        }
        rows.push(Line::from(ctx.span(Role::Strong, context.title())));
        for (action, chords) in app.keymap.help(context) {
            let keys = keys(&chords, ctx.theme.glyphs.ellipsis);
            rows.push(Line::from(vec![
                ctx.span(Role::Key, format!("{keys:<KEYS$} ")),
                ctx.span(Role::Text, action.help()),
            ]));
        }
    }
    rows.push(Line::default());
    rows.push(Line::from(
        ctx.span(Role::Muted, "Mouse: the wheel scrolls, a click focuses."),
    ));
    rows
}

/// The keys that fit, and a mark if there are more.
fn keys(chords: &[Chord], ellipsis: &str) -> String {
    let mut text = String::new();
    for chord in chords {
        let next = format!("{chord} ");
        if text.len() + next.len() > KEYS {
            return text + ellipsis;
        }
        text += &next;
    }
    text
}
