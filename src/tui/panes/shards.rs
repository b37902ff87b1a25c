//! Where every shard of the oracle is: a cell a shard, in order of use.
//!
//! Cells of one layer are next to each other. Where there are more shards than cells, a cell
//! represents several and shows the state of most of their bytes; the legend says how many.

use super::pane::{Column, Draw, Pane, Rows, Seat, Section};
use super::{Ctx, below, empty};
use crate::telemetry::{Residency, ShardView};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::wrap::wrap_line;
use crate::units::Bytes;
use crate::vocabulary::OracleForm;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub const PANE: Pane = Pane {
    title: "shards",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: Some(Constraint::Min(6)),
        column: Column::Left,
        share: 3,
        needs: None,
    }),
    // In the overview too it is the picture.
    section: Some(Section {
        name: "shards",
        info: held,
        rows: Rows::Rest(8),
        draw: draw_section,
    }),
};

/// How a cell looks: disk, loading, RAM for a while, RAM for good, VRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellState {
    Disk,
    Loading,
    Ram,
    Pinned,
    Vram,
}

impl CellState {
    const ALL: [Self; 5] = [
        Self::Pinned,
        Self::Ram,
        Self::Loading,
        Self::Disk,
        Self::Vram,
    ];

    fn of(shard: &ShardView) -> Self {
        match shard.residency {
            Residency::Disk => Self::Disk,
            Residency::Loading => Self::Loading,
            Residency::Ram if shard.pinned => Self::Pinned,
            Residency::Ram => Self::Ram,
            Residency::Vram => Self::Vram,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Loading => "loading",
            Self::Ram => "RAM",
            Self::Pinned => "RAM, pinned",
            Self::Vram => "VRAM",
        }
    }

    fn look(self, ctx: &Ctx<'_>) -> (&'static str, Style) {
        let glyphs = &ctx.theme.glyphs;
        let (glyph, role) = match self {
            Self::Disk => (glyphs.shard_disk, Role::ShardDisk),
            Self::Loading => (glyphs.shard_loading, Role::ShardLoading),
            Self::Ram => (glyphs.shard_ram, Role::ShardRam),
            Self::Pinned => (glyphs.shard_pinned, Role::ShardPinned),
            Self::Vram => (glyphs.shard_vram, Role::ShardVram),
        };
        (glyph, ctx.theme.style(role))
    }
}

/// How a shard looks that the pass computes with at this instant, wherever it is.
fn in_use(ctx: &Ctx<'_>) -> (&'static str, Style) {
    (
        ctx.theme.glyphs.shard_in_use,
        ctx.theme.style(Role::ShardInUse),
    )
}

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    let shards = &ctx.snap.shards;
    if shards.is_empty() {
        return Line::default();
    }
    let held: u64 = shards
        .iter()
        .filter(|s| matches!(s.residency, Residency::Ram | Residency::Vram))
        .map(|s| s.bytes.0)
        .sum();
    let all: u64 = shards.iter().map(|s| s.bytes.0).sum();
    Line::from(vec![
        ctx.span(Role::Value, Bytes(held).to_string()),
        ctx.span(Role::Muted, format!(" of {} in memory", Bytes(all))),
    ])
}

/// The share that is in memory or on its way there.
fn held(ctx: &Ctx<'_>) -> Line<'static> {
    let shards = &ctx.snap.shards;
    let held = shards.iter().filter(|s| s.residency != Residency::Disk);
    let held: u64 = held.map(|s| s.bytes.0).sum();
    let all: u64 = shards.iter().map(|s| s.bytes.0).sum();
    if all == 0 {
        return Line::default();
    }
    Line::from(vec![
        ctx.span(Role::Value, text::percent(held as f64 / all as f64)),
        ctx.span(Role::Muted, format!(" of {}", Bytes(all))),
    ])
}

fn draw_section(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    if ctx.snap.shards.is_empty() {
        let text = none(ctx);
        let rows = wrap_line(text, area.width.into()).into_iter();
        let rows = rows.map(|r| Line::from(ctx.span(Role::Placeholder, &text[r])));
        super::lines(buf, area, rows);
    } else {
        draw_cells(buf, area, ctx);
    }
}

/// Why there are no shards to show.
fn none(ctx: &Ctx<'_>) -> &'static str {
    match ctx.snap.engine.form {
        Some(OracleForm::Resident) => "The whole model is in memory: there is nothing to place.",
        _ => "The shards appear when the model has been opened.",
    }
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    if ctx.snap.shards.is_empty() {
        return empty(buf, area, ctx, none(ctx));
    }
    // Below the cells: the legend.
    let legend_rows = if area.height >= 4 { 2 } else { 1 };
    let cells = Rect {
        height: area.height.saturating_sub(legend_rows),
        ..area
    };
    let per_cell = draw_cells(buf, cells, ctx);
    legend(buf, below(area, cells.height), ctx, per_cell);
}

/// Draws the cells alone; returns how many shards a cell shows.
fn draw_cells(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) -> usize {
    for scale in SCALES {
        if let Some(rows) = by_layer(&ctx.snap.shards, area, scale) {
            for (i, row) in rows.iter().enumerate() {
                let y = area.y + i as u16 * scale.pitch;
                draw_row(buf, Rect { y, ..area }, ctx, row, scale);
            }
            return 1;
        }
    }
    let cells = usize::from(area.width) * usize::from(area.height);
    if cells == 0 {
        return 0;
    }
    let per_cell = ctx.snap.shards.len().div_ceil(cells);
    for (i, group) in ctx.snap.shards.chunks(per_cell).enumerate() {
        let (column, row) = (i % usize::from(area.width), i / usize::from(area.width));
        let at = (area.x + column as u16, area.y + row as u16);
        draw_cell(buf, at, 1, ctx, group);
    }
    per_cell
}

/// How large a shard is drawn: its columns, and rows from one line of layers to the next.
#[derive(Clone, Copy)]
struct Scale {
    columns: u16,
    pitch: u16,
}

/// Tried from the largest.
const SCALES: [Scale; 5] = [
    Scale {
        columns: 3,
        pitch: 2,
    },
    Scale {
        columns: 2,
        pitch: 2,
    },
    Scale {
        columns: 1,
        pitch: 2,
    },
    Scale {
        columns: 2,
        pitch: 1,
    },
    Scale {
        columns: 1,
        pitch: 1,
    },
];

/// Columns of a row's label, as in `L12 `.
const LABEL: u16 = 5;

/// Rows of whole layers, if a cell a shard fits at this scale.
fn by_layer(shards: &[ShardView], area: Rect, scale: Scale) -> Option<Vec<Vec<&[ShardView]>>> {
    let columns = usize::from(area.width.checked_sub(LABEL)?);
    let wide = |layer: &[ShardView]| layer.len() * usize::from(scale.columns);
    let mut rows: Vec<Vec<&[ShardView]>> = vec![Vec::new()];
    let mut used = 0;
    for layer in shards.chunk_by(|a, b| a.layer == b.layer) {
        if wide(layer) > columns {
            return None;
        }
        let gap = usize::from(used > 0);
        if used + gap + wide(layer) > columns {
            rows.push(Vec::new());
            used = 0;
        }
        used += wide(layer) + usize::from(used > 0);
        rows.last_mut()?.push(layer);
    }
    let height = (rows.len() - 1) * usize::from(scale.pitch) + 1;
    (height <= usize::from(area.height)).then_some(rows)
}

fn draw_row(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, layers: &[&[ShardView]], scale: Scale) {
    let label = match layers.first().and_then(|l| l.first()).map(|s| s.layer) {
        Some(Some(layer)) => format!("L{layer}"),
        Some(None) => "head".into(),
        None => String::new(),
    };
    buf.set_span(area.x, area.y, &ctx.span(Role::Muted, label), LABEL);
    let mut x = area.x + LABEL;
    for layer in layers {
        for shard in *layer {
            draw_cell(
                buf,
                (x, area.y),
                scale.columns,
                ctx,
                std::slice::from_ref(shard),
            );
            x += scale.columns;
        }
        x += 1;
    }
}

fn draw_cell(
    buf: &mut Buffer,
    (x, y): (u16, u16),
    columns: u16,
    ctx: &Ctx<'_>,
    group: &[ShardView],
) {
    let bytes_in = |state| -> u64 {
        let of_state = group.iter().filter(|s| CellState::of(s) == state);
        of_state.map(|s| s.bytes.0.max(1)).sum()
    };
    let Some(most) = CellState::ALL.into_iter().max_by_key(|s| bytes_in(*s)) else {
        return;
    };
    let (glyph, style) = match group.iter().any(|s| s.in_use) {
        true => in_use(ctx),
        false => most.look(ctx),
    };
    buf.set_string(x, y, glyph.repeat(columns.into()), style);
}

fn legend(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, per_cell: usize) {
    let bytes_in = |state| -> u64 {
        let of_state = ctx.snap.shards.iter().filter(|s| CellState::of(s) == state);
        of_state.map(|s| s.bytes.0).sum()
    };
    let mut entries: Vec<Vec<Span<'_>>> = Vec::new();
    if per_cell > 1 {
        let text = format!("a cell is {per_cell} shards");
        entries.push(vec![ctx.span(Role::Muted, text)]);
    }
    for state in CellState::ALL {
        let bytes = bytes_in(state);
        // VRAM is only of interest where there is any.
        if bytes == 0 && state == CellState::Vram {
            continue;
        }
        let (glyph, style) = state.look(ctx);
        let mut entry = vec![
            Span::styled(glyph, style),
            ctx.span(Role::Muted, format!(" {}", state.name())),
        ];
        if bytes > 0 {
            entry.push(ctx.span(Role::Value, format!(" {}", Bytes(bytes))));
        }
        entries.push(entry);
    }
    let (glyph, style) = in_use(ctx);
    entries.push(vec![
        Span::styled(glyph, style),
        ctx.span(Role::Muted, " in use"),
    ]);
    super::lines(buf, area, super::flowed(entries, area.width));
}
