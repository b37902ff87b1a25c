//! The first line: what the engine does, what runs, memory against its budget, speed.

use super::Ctx;
use crate::telemetry::Phase;
use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::vocabulary::OracleForm;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Draws the line, dropping what matters least where it is too long.
pub fn draw(buf: &mut Buffer, area: Rect, app: &App) {
    let ctx = Ctx {
        theme: &app.theme,
        snap: app.live(),
    };
    let glyphs = &app.theme.glyphs;
    let badges = badges(&ctx, app);
    let width = area.width.saturating_sub(badges.width() as u16 + 1);

    let mut line = Line::from(ctx.span(Role::TitleFocused, " NMOS "));
    let (role, sign, phase) = phase(app, &ctx);
    line.push_span(ctx.span(role, format!("{sign} {phase}")));
    let groups = groups(&ctx);
    // The order of importance is not the order on the line.
    let mut kept = vec![None; groups.len()];
    let mut used = line.width() as u16;
    let mut by_rank: Vec<usize> = (0..groups.len()).collect();
    by_rank.sort_by_key(|&i| groups[i].rank);
    for i in by_rank {
        let wide = |form: &Line<'_>| form.width() as u16 + 3;
        let forms = &groups[i].forms;
        kept[i] = forms.iter().position(|form| used + wide(form) <= width);
        used += kept[i].map_or(0, |form| wide(&forms[form]));
    }
    for (mut group, form) in groups.into_iter().zip(kept) {
        let Some(form) = form else {
            continue;
        };
        let group = group.forms.swap_remove(form);
        line.push_span(ctx.span(Role::Border, format!(" {} ", glyphs.separator)));
        line.spans.extend(group.spans);
    }
    buf.set_line(area.x, area.y, &line, area.width);
    let x = area.right().saturating_sub(badges.width() as u16);
    buf.set_line(x, area.y, &badges, badges.width() as u16);
}

fn phase(app: &App, ctx: &Ctx<'_>) -> (Role, &'static str, String) {
    let glyphs = &app.theme.glyphs;
    let spin = glyphs.spinner[app.spinner % glyphs.spinner.len()];
    if app.fatal.is_some() {
        return (Role::Bad, glyphs.failed, "failed".into());
    }
    match &ctx.snap.phase {
        Phase::Loading(what) => (Role::Warn, spin, format!("loading {what}")),
        Phase::Failed(_) => (Role::Bad, glyphs.failed, "failed".into()),
        Phase::Idle if app.busy => (Role::Warn, spin, "waiting".into()),
        // The answer has ended; the session says so next.
        Phase::Answering if !app.busy => (Role::Good, glyphs.ok, "idle".into()),
        Phase::Idle => (Role::Good, glyphs.ok, "idle".into()),
        Phase::Composing => (Role::Good, glyphs.ok, "composing".into()),
        Phase::Anticipating => (Role::Warn, glyphs.ok, "anticipating".into()),
        Phase::Answering if ctx.snap.accept.is_thinking => {
            let tokens = ctx.snap.accept.thinking_tokens;
            (
                Role::Good,
                spin,
                format!("thinking, {}", text::tokens(tokens)),
            )
        }
        Phase::Answering => (Role::Good, spin, "answering".into()),
    }
}

/// A figure, or what belongs together.
struct Group {
    /// The lower, the longer it stays.
    rank: u8,
    /// In more words and in fewer: the first that fits is shown.
    forms: Vec<Line<'static>>,
}

/// What to show, in the order of the line.
fn groups(ctx: &Ctx<'_>) -> Vec<Group> {
    let snap = ctx.snap;
    let mut groups = Vec::new();
    let mut push = |rank, forms| groups.push(Group { rank, forms });
    let engine = &snap.engine;
    if !engine.oracle.is_empty() {
        let form = engine.form.map_or("", OracleForm::name);
        push(
            3,
            vec![Line::from(vec![
                ctx.span(Role::Strong, engine.oracle.clone()),
                ctx.span(Role::Muted, format!(" {form}")),
            ])],
        );
        let draft = match &engine.draft {
            Some(name) => format!("draft {name}"),
            None => "no draft".into(),
        };
        push(6, vec![Line::from(ctx.span(Role::Muted, draft))]);
    }
    if 0 < engine.threads_now && engine.threads_now < engine.threads_max {
        let (now, most) = (engine.threads_now, engine.threads_max);
        let few = format!("{now} of {most} threads");
        let more = format!("{few}: the cores are in use");
        let forms = [more, few].map(|words| Line::from(ctx.span(Role::Warn, words)));
        push(2, forms.to_vec());
    }
    let memory = &snap.memory;
    if memory.budget.0 > 0 {
        let over = memory.rss > memory.budget;
        let role = if over { Role::Bad } else { Role::Value };
        push(
            1,
            vec![match memory.rss.0 {
                // Not measured yet.
                0 => Line::from(ctx.span(Role::Muted, format!("RAM budget {}", memory.budget))),
                _ => Line::from(vec![
                    ctx.span(Role::Muted, "RAM "),
                    ctx.span(role, memory.rss.to_string()),
                    ctx.span(Role::Muted, format!(" of {}", memory.budget)),
                ]),
            }],
        );
    }
    let mut figure = |rank, label: &'static str, value: Option<String>| {
        if let Some(value) = value {
            push(rank, vec![Line::from(ctx.pair(label, value).to_vec())]);
        }
    };
    let ready = snap.prefill;
    figure(
        5,
        "prefilled",
        (ready.prompt_tokens > 0)
            .then(|| format!("{}/{} tokens", ready.ready_tokens, ready.prompt_tokens)),
    );
    figure(4, "TTFT", snap.accept.ttft_ms.map(text::ms));
    let thought = snap.accept.thinking_tokens > 0;
    let answer = snap.accept.first_answer_ms.filter(|_| thought);
    figure(4, "answer after", answer.map(text::ms));
    let rate = snap.accept.tokens_per_s;
    figure(0, "speed", rate.map(|r| format!("{r:.1} tokens/s")));
    groups
}

fn badges(ctx: &Ctx<'_>, app: &App) -> Line<'static> {
    let mut line = Line::default();
    let mut badge = |role, text: String| {
        line.push_span(Span::raw(" "));
        line.push_span(ctx.span(role, text));
    };
    if app.is_frozen() {
        badge(Role::BadgeFrozen, " FROZEN ".into());
    }
    match app.replay_state() {
        Some((speed, 0)) => badge(Role::BadgeReplay, format!(" REPLAY {speed}x done ")),
        Some((speed, _)) => badge(Role::BadgeReplay, format!(" REPLAY {speed}x ")),
        None => {}
    }
    if app.is_recording() {
        badge(
            Role::BadgeRecording,
            format!(" {} REC ", app.theme.glyphs.recording),
        );
    }
    line
}
