//! The help box, written from the key map. Where it fits, each row ends in the name that
//! a configuration file binds.

use super::{Ctx, frame, lines};
use crate::tui::action::Context;
use crate::tui::app::App;
use crate::tui::chord::Chord;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Widget};

/// Columns of the keys, of what they do, and of its name.
const KEYS: usize = 24;
const WHAT: usize = 27;
const NAME: usize = 21;

/// Two columns of actions with the border, without their names and with them.
const TWO_COLUMNS: u16 = 118;
const TWO_WITH_NAMES: u16 = 2 * (KEYS + WHAT + NAME + 4) as u16;

pub fn draw(buf: &mut Buffer, area: Rect, app: &mut App) {
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.live(),
    };
    // On a narrow screen slivers of the panes at its sides would only confuse.
    let width = match area.width {
        narrow @ 0..84 => narrow,
        84..TWO_COLUMNS => 80,
        TWO_COLUMNS..TWO_WITH_NAMES => TWO_COLUMNS - 2,
        _ => TWO_WITH_NAMES - 2,
    };
    let two = area.width >= TWO_COLUMNS;
    let column = usize::from(width) / if two { 2 } else { 1 };
    let rows = rows(&ctx, app, column >= KEYS + WHAT + NAME + 3);
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

fn rows(ctx: &Ctx<'_>, app: &App, names: bool) -> Vec<Line<'static>> {
    let mut rows = Vec::new();
    for context in Context::ALL {
        if !rows.is_empty() {
            rows.push(Line::default());
        }
        let mut heading = Line::from(ctx.span(Role::Strong, context.title()));
        if names {
            let gap = (KEYS + 1 + WHAT).saturating_sub(context.title().len());
            let table = format!("{:gap$}[keys.{}]", "", context.name());
            heading.push_span(ctx.span(Role::Muted, table));
        }
        rows.push(heading);
        for (action, chords) in app.keymap.help(context) {
            let keys = keys(&chords, ctx.theme.glyphs.ellipsis);
            let mut row = Line::from(ctx.span(Role::Key, format!("{keys:<KEYS$} ")));
            match names {
                true => {
                    row.push_span(ctx.span(Role::Text, format!("{:<WHAT$}", action.help())));
                    row.push_span(ctx.span(Role::Muted, action.name()));
                }
                false => row.push_span(ctx.span(Role::Text, action.help())),
            }
            rows.push(row);
        }
    }
    if !app.mouse {
        return rows;
    }
    rows.push(Line::default());
    rows.push(Line::from(ctx.span(Role::Strong, "With the mouse")));
    for (what, does) in [
        ("Wheel", "scroll the conversation"),
        ("Click in the prompt", "move the cursor"),
        ("Click on a title", "zoom its pane, and back"),
        ("Drag with Shift held", "select text to copy"),
    ] {
        rows.push(Line::from(vec![
            ctx.span(Role::Key, format!("{what:<KEYS$} ")),
            ctx.span(Role::Text, does),
        ]));
    }
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
