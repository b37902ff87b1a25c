//! The shards on their way: when each will be there against when it will be needed.

use super::pane::{Column, Draw, Pane, Rows, Seat, Section};
use super::{Ctx, below, empty, lines, remark};
use crate::telemetry::{QueueItem, QueueView};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units::Bytes;
use crate::vocabulary::OracleForm;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "prefetch",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: Some(Constraint::Length(7)),
        column: Column::Left,
        share: 3,
        needs: Some(12),
    }),
    section: Some(Section {
        name: "prefetch",
        info,
        rows: Rows::Fixed(1),
        draw: draw_section,
    }),
};

/// Share of shards that were there when they were needed.
fn hit_rate(queue: &QueueView) -> Option<f64> {
    let all = queue.hits + queue.misses;
    (all > 0).then(|| queue.hits as f64 / all as f64)
}

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    let queue = &ctx.snap.queue;
    if queue.bytes_read == 0 {
        return Line::default();
    }
    let rate = format!("{:.2} GB/s", queue.read_gb_s);
    Line::from(ctx.span(Role::Value, rate))
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let queue = &ctx.snap.queue;
    if ctx.snap.engine.form == Some(OracleForm::Resident) {
        return empty(buf, area, ctx, "The model is resident: nothing streams.");
    }
    if queue.next.is_empty() && queue.bytes_read == 0 {
        return empty(
            buf,
            area,
            ctx,
            "Nothing has been read yet: the first pass starts the reader.",
        );
    }
    buf.set_line(area.x, area.y, &figures(ctx, area.width), area.width);
    let table = below(area, 1);
    if queue.next.is_empty() {
        return empty(
            buf,
            table,
            ctx,
            "The ring is full: reading goes on with the next pass.",
        );
    }
    let columns = Columns::of(table.width);
    let head = columns.row("next shard", "size", "~need", "~arrival", "~slack");
    let head = Line::from(ctx.span(Role::Muted, head));
    let rows = queue.next.iter().map(|item| row(ctx, &columns, item));
    lines(buf, table, std::iter::once(head).chain(rows));
}

fn draw_section(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let queue = &ctx.snap.queue;
    if ctx.snap.engine.form == Some(OracleForm::Resident) {
        return remark(buf, area, ctx, "resident: nothing streams");
    }
    if queue.bytes_read == 0 {
        return remark(buf, area, ctx, "nothing read yet");
    }
    let mut groups = Vec::new();
    if let Some(rate) = hit_rate(queue) {
        groups.push(ctx.pair("on time", text::percent(rate)).to_vec());
    }
    groups.push(ctx.pair("stall", text::ms(queue.stall_ms)).to_vec());
    lines(buf, area, [ctx.joined(groups, area.width)]);
}

/// The measured figures on one line.
fn figures(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let queue = &ctx.snap.queue;
    let mut groups = vec![
        ctx.pair("read", Bytes(queue.bytes_read).to_string())
            .to_vec(),
    ];
    if let Some(rate) = hit_rate(queue) {
        groups.push(ctx.pair("on time", text::percent(rate)).to_vec());
    }
    groups.push(ctx.pair("stalled", text::ms(queue.stall_ms)).to_vec());
    ctx.joined(groups, width)
}

/// Widths of the table's columns. Where it is narrow, sizes make way for times.
struct Columns {
    name: usize,
    size: usize,
    time: usize,
}

impl Columns {
    fn of(width: u16) -> Self {
        let width = usize::from(width);
        let (least, time) = (10, 9);
        let size = if width >= least + 8 + 3 * time { 8 } else { 0 };
        let name = width.saturating_sub(size + 3 * time).clamp(least, 20);
        Self { name, size, time }
    }

    fn row(&self, name: &str, size: &str, need: &str, arrival: &str, slack: &str) -> String {
        let Self {
            name: n,
            size: s,
            time: t,
        } = *self;
        let size = if s > 0 { size } else { "" };
        format!("{name:<n$}{size:>s$}{need:>t$}{arrival:>t$}{slack:>t$}")
    }
}

fn row(ctx: &Ctx<'_>, columns: &Columns, item: &QueueItem) -> Line<'static> {
    let shard = ctx.snap.shards.get(item.shard);
    let name = shard.map_or_else(|| format!("shard {}", item.shard), text::shard);
    let size = shard.filter(|_| columns.size > 0);
    let size = size.map_or_else(String::new, |s| s.bytes.to_string());
    let here = item.predicted_arrival_ms <= 0.0;
    let arrival = match here {
        true => "here".to_owned(),
        false => format!("~{}", text::ms(item.predicted_arrival_ms)),
    };
    let need = item.predicted_need_ms.map(|n| format!("~{}", text::ms(n)));
    let slack = item
        .predicted_need_ms
        .map(|n| n - item.predicted_arrival_ms);
    let slack_text = slack.map_or_else(String::new, |s| format!("~{}", text::signed_ms(s)));
    let (n, s, t) = (columns.name, columns.size, columns.time);
    let name = text::fit(&name, n, ctx.theme.glyphs.ellipsis);
    let slack_role = match slack {
        Some(slack) if slack < 0.0 => Role::Bad,
        _ => Role::Predicted,
    };
    let arrival_role = if here { Role::Good } else { Role::Predicted };
    Line::from(vec![
        ctx.span(Role::Text, format!("{name:<n$}")),
        ctx.span(Role::Muted, format!("{size:>s$}")),
        ctx.span(
            Role::Predicted,
            format!("{:>t$}", need.unwrap_or_else(|| "unknown".into())),
        ),
        ctx.span(arrival_role, format!("{arrival:>t$}")),
        ctx.span(slack_role, format!("{slack_text:>t$}")),
    ])
}
