//! The KV cache's pages: rows are groups of eight layers, columns runs of tokens, and the
//! height of a cell is how full its page is.

use super::pane::{Column, Draw, Pane, Rows, Seat, Section};
use super::{Ctx, below, empty};
use crate::telemetry::KvPageView;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::vocabulary::OracleForm;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Line;

pub const PANE: Pane = Pane {
    title: "KV pages",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: Some(Constraint::Length(7)),
        column: Column::Right,
        share: 3,
        needs: None,
    }),
    // The overview shows its heading alone.
    section: Some(Section {
        name: "KV",
        info,
        rows: Rows::Fixed(0),
        draw: |_, _, _| {},
    }),
};

/// Layers in one row of the map.
const LAYERS: usize = 8;

/// Columns of a row's label, as in `L16-23 `.
const LABEL: u16 = 8;

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    let kv = &ctx.snap.kv;
    if kv.cells_max == 0 {
        return Line::default();
    }
    Line::from(vec![
        ctx.span(Role::Value, text::count(kv.cells_used as u64)),
        ctx.span(
            Role::Muted,
            format!(" of {} cells", text::count(kv.cells_max as u64)),
        ),
    ])
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let kv = &ctx.snap.kv;
    if kv.pages.is_empty() {
        let text = match ctx.snap.engine.form {
            Some(OracleForm::Resident | OracleForm::Hooked) => {
                "llama.cpp keeps this model's cache: it has no pages."
            }
            _ => "No pages yet: the first tokens that are read map one.",
        };
        return empty(buf, area, ctx, text);
    }
    let map = Rect {
        height: area.height.saturating_sub(1),
        ..area
    };
    let cells = usize::from(map.width.saturating_sub(LABEL));
    let columns = kv.pages.iter().map(Vec::len).max().unwrap_or(0);
    let per_cell = columns.div_ceil(cells.max(1)).max(1);
    // A page is drawn as wide as fits.
    let wide = (cells / columns.div_ceil(per_cell).max(1)).clamp(1, 4);
    // The last group of layers need not be a full one.
    let layers = ctx.snap.shards.iter().filter_map(|s| s.layer);
    let last_layer = layers.max().map_or(usize::MAX, |l| l as usize);
    let rows_per_line = kv
        .pages
        .len()
        .div_ceil(usize::from(map.height).max(1))
        .max(1);
    for (i, (y, rows)) in (map.y..map.bottom())
        .zip(kv.pages.chunks(rows_per_line))
        .enumerate()
    {
        let first = i * rows_per_line * LAYERS;
        let last = (first + rows.len() * LAYERS - 1).min(last_layer);
        let label = ctx.span(Role::Muted, format!("L{first}-{last}"));
        buf.set_span(map.x, y, &label, LABEL);
        for column in 0..columns.div_ceil(per_cell) {
            let from = column * per_cell;
            let group: Vec<KvPageView> = rows
                .iter()
                .flat_map(|row| row.iter().skip(from).take(per_cell).copied())
                .collect();
            let (glyph, style) = cell(ctx, &group);
            let x = map.x + LABEL + (column * wide) as u16;
            buf.set_string(x, y, glyph.repeat((wide - 1).max(1)), style);
        }
    }
    legend(buf, below(area, map.height), ctx, per_cell * rows_per_line);
}

fn cell(ctx: &Ctx<'_>, group: &[KvPageView]) -> (&'static str, Style) {
    let glyphs = &ctx.theme.glyphs;
    let mapped = group.iter().filter(|p| p.mapped).count();
    if mapped == 0 {
        return (glyphs.kv_unmapped, ctx.theme.style(Role::KvUnmapped));
    }
    let used: f32 = group.iter().map(|p| p.used).sum::<f32>() / mapped as f32;
    // A mapped page without a token still takes memory, and shows as the lowest level.
    // A full one stays below its neighbour, so that rows can be told apart.
    let height = f64::from(used) * 7.0 / 8.0;
    let glyph = glyphs.level(height).unwrap_or(glyphs.levels[0]);
    (glyph, ctx.theme.style(Role::KvMapped))
}

fn legend(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, pages_per_cell: usize) {
    let kv = &ctx.snap.kv;
    let glyphs = &ctx.theme.glyphs;
    let mapped = kv.pages.iter().flatten().filter(|p| p.mapped).count();
    let mut groups = vec![
        vec![
            ctx.span(Role::KvMapped, glyphs.levels[0]),
            ctx.span(Role::KvMapped, glyphs.levels[glyphs.levels.len() / 2]),
            ctx.span(Role::Value, format!(" {mapped}")),
            ctx.span(
                Role::Muted,
                if kv.on_device { " in VRAM" } else { " mapped" },
            ),
        ],
        vec![
            ctx.span(Role::KvUnmapped, glyphs.kv_unmapped),
            ctx.span(Role::Muted, " unmapped"),
        ],
    ];
    if pages_per_cell > 1 {
        groups.push(vec![
            ctx.span(Role::Muted, format!("a cell is {pages_per_cell} pages")),
        ]);
    }
    let mut page = vec![ctx.span(Role::Muted, format!("page {}", kv.page_bytes))];
    let tokens = format!(", {} tokens", text::count(kv.tokens_per_page as u64));
    let used = ctx.joined(groups.clone(), area.width).width() + 2 + page[0].width();
    if used + tokens.len() <= usize::from(area.width) {
        page.push(ctx.span(Role::Muted, tokens));
    }
    groups.push(page);
    groups.push(vec![
        ctx.span(Role::Muted, format!("{} in all", kv.mapped_bytes)),
    ]);
    let line = ctx.joined(groups, area.width);
    buf.set_line(area.x, area.y, &line, area.width);
}
