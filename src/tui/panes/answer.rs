//! The conversation: turns, the answer as it comes, and where it is scrolled to.

use super::pane::{Draw, Pane};
use super::{Ctx, below, frame, inset};
use crate::telemetry::{EngineView, Phase};
use crate::tui::action::{Action, Context};
use crate::tui::app::App;
use crate::tui::rows::{Row, RowKind};
use crate::tui::theme::Role;
use crate::tui::wrap::wrap_line;
use crate::vocabulary::OracleForm;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "conversation",
    draw: Draw::Whole(draw),
    seat: None,
    section: None,
};

fn draw(buf: &mut Buffer, area: Rect, app: &mut App, focused: bool) {
    // One empty column on either side; the right one holds the scroll bar.
    let size = inset(area, 2, 2);
    let whole = area.height.saturating_sub(2);
    let greeting = match app.talk.has_turns() || app.fatal.is_some() {
        true => Vec::new(),
        false => greeting(app, size.width),
    };
    // Rows of the greeting above remarks that came before the first prompt, and an empty row.
    let greeted = match greeting.len() as u16 {
        0 => 0,
        _ if app.talk.is_empty() => 0,
        rows => (rows + 1).min(whole.saturating_sub(1)),
    };
    let height = whole - greeted;
    app.talk.layout(size.width.into(), height.into());
    let (top, total, under) = app.talk.position();
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.live(),
    };
    let glyphs = &app.theme.glyphs;
    let info = match under {
        0 => Line::default(),
        1 => Line::from(ctx.span(Role::Warn, format!("{} 1 more row", glyphs.down))),
        n => Line::from(ctx.span(Role::Warn, format!("{} {n} more rows", glyphs.down))),
    };
    let inner = frame(buf, area, &app.theme, PANE.title, info, focused);
    let rows = greeting.len() as u16;
    let first = match app.talk.is_empty() {
        true => inner.y + inner.height.saturating_sub(rows) / 2,
        false => inner.y,
    };
    for (y, text) in (first..inner.bottom()).zip(&greeting) {
        let span = ctx.span(Role::Placeholder, text.as_str());
        let x = size.x + size.width.saturating_sub(span.width() as u16) / 2;
        buf.set_span(x, y, &span, size.width);
    }
    let inner = below(inner, greeted);
    for (y, row) in (inner.y..inner.bottom()).zip(app.talk.visible()) {
        let line = styled(&ctx, row, app, size.width);
        buf.set_line(size.x, y, &line, size.width);
    }
    if total > usize::from(height) {
        scroll_bar(
            buf,
            below(inset(area, area.width - 1, 0), 1 + greeted),
            &ctx,
            top,
            total,
            height,
        );
    }
}

/// What this is and what to type, in rows of at most `width`: a line each where they fit.
fn greeting(app: &App, width: u16) -> Vec<String> {
    let width = usize::from(width);
    let lines = match &app.live().phase {
        Phase::Loading(_) => [
            "NMOS is loading its models.".to_owned(),
            "You can type already: it is read as soon as they are there.".to_owned(),
        ],
        _ => {
            let submit = app.keymap.key(Context::Input, Action::Submit);
            let submit = submit.map_or_else(|| "send it".to_owned(), |key| key.to_string());
            [
                running(&app.live().engine, width),
                format!("Type a question, then {submit}: NMOS reads along while you type."),
            ]
        }
    };
    let wrapped = lines.iter().flat_map(|line| {
        let rows = wrap_line(line, width).into_iter();
        rows.map(|row| line[row].trim_end().to_owned())
    });
    wrapped.collect()
}

/// The model, its form, and the speed to expect, in the most words that fit a line.
fn running(engine: &EngineView, width: usize) -> String {
    let (short, long) = match engine.form {
        Some(OracleForm::Resident) => ("in memory", "all of it in memory"),
        _ => ("streamed", "streamed from the disk"),
    };
    let oracle = match engine.oracle.as_str() {
        "" => "a model without a name",
        name => name,
    };
    let (rate, brief) = match engine.predicted_tokens_per_s {
        Some(rate) => (
            format!(": ~{rate:.1} tokens/s predicted"),
            format!(": pred. ~{rate:.1} tokens/s"),
        ),
        None => Default::default(),
    };
    let least = format!("{oracle}, {short}{rate}");
    [
        format!("This is NMOS with {oracle}, {long}{rate}"),
        format!("This is NMOS with {least}"),
        format!("NMOS: {least}"),
        least.clone(),
        format!("{oracle}, {short}{brief}"),
    ]
    .into_iter()
    .find(|line| wrap_line(line, width).len() == 1)
    .unwrap_or(least)
}

fn styled<'a>(ctx: &Ctx<'_>, row: &'a Row, app: &App, width: u16) -> Line<'a> {
    let glyphs = &ctx.theme.glyphs;
    let span = |role, text: &'a str| Line::from(ctx.span(role, text));
    let spin = glyphs.spinner[app.spinner % glyphs.spinner.len()];
    let fold = match app.talk.shows_thoughts() {
        true => glyphs.unfolded,
        false => glyphs.folded,
    };
    match row.kind {
        RowKind::User => Line::from(vec![
            ctx.span(Role::User, format!("{} ", glyphs.user)),
            ctx.span(Role::User, row.text.as_str()),
        ]),
        RowKind::Text => span(Role::Answer, &row.text),
        RowKind::Heading => span(Role::Strong, &row.text),
        RowKind::Code => span(Role::CodeText, &row.text),
        RowKind::Waiting => Line::from(ctx.span(Role::Muted, format!("{spin} {}", waiting(ctx)))),
        RowKind::Thinking => {
            Line::from(ctx.span(Role::Muted, format!("{fold} {} {spin}", row.text)))
        }
        RowKind::Thought => Line::from(ctx.span(Role::Muted, format!("{fold} {}", row.text))),
        RowKind::ThoughtText => Line::from(ctx.span(Role::Muted, format!("  {}", row.text))),
        RowKind::Fence | RowKind::Figures => span(Role::Muted, &row.text),
        RowKind::Notice => Line::from(vec![ctx.span(Role::Warn, row.text.as_str())]),
        RowKind::Error => span(Role::Bad, &row.text),
        RowKind::Divider => {
            let rest = usize::from(width).saturating_sub(row.text.len() + 4);
            let dash = glyphs.border.horizontal_top;
            Line::from(ctx.span(
                Role::Muted,
                format!("{} {} {}", dash.repeat(2), row.text, dash.repeat(rest)),
            ))
        }
        RowKind::Blank => Line::default().style(Style::new()),
    }
}

/// What is still to be done between a sent prompt and its first token.
fn waiting(ctx: &Ctx<'_>) -> String {
    if let Phase::Loading(_) = ctx.snap.phase {
        return "queued: answered as soon as the models are loaded".into();
    }
    let used = ctx.snap.shards.iter().find(|s| s.in_use);
    let last = ctx.snap.shards.iter().filter_map(|s| s.layer).max();
    match (used, last) {
        (Some(shard), Some(last)) => {
            let layer = shard.layer.map_or(last + 1, |l| l + 1);
            // As long as the narrowest conversation is wide.
            format!("waiting for the first token: layer {layer} of {}", last + 1)
        }
        _ => "waiting for the first token".into(),
    }
}

fn scroll_bar(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, top: usize, total: usize, height: u16) {
    let rows = usize::from(height);
    let thumb = (rows * rows / total).max(1);
    let travel = rows - thumb;
    let hidden = (total - rows).max(1);
    let start = (top * travel).div_ceil(hidden);
    let glyphs = &ctx.theme.glyphs;
    for (i, y) in (area.y..area.y + height).enumerate() {
        let (glyph, role) = match (start..start + thumb).contains(&i) {
            true => (glyphs.scroll_thumb, Role::Muted),
            false => (glyphs.scroll_track, Role::Border),
        };
        buf.set_string(area.x, y, glyph, ctx.theme.style(role));
    }
}
