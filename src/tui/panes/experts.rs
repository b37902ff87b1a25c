//! Which routed experts are in memory, and how often tokens find theirs there.
//!
//! ```text
//!  L0   · ▄ ▄ · █ ◆ ·     a row a layer, a cell an expert
//!  L1   ▄ · █ ▄ ◆ · ·
//!  hits ▃▅▅▆▇▆▇           a column a pass
//!  hits 57%  pred. ~55%  plain LRU 42% simulated
//!  █ hit now 2  ◆ missed now 2  ▄ RAM 5  · disk 5
//! ```
//!
//! The last pass is now. Where there are more experts than cells, a cell represents several of them,
//! of one layer or of neighbouring ones, and the legend says how many. Such a cell shows whether most
//! of those hit which the last pass asked for, if it did for any; else where most of them are.

use super::pane::{Column, Draw, Pane, Rows, Seat, Section};
use super::{Ctx, below, column, empty, flowed, lines};
use crate::telemetry::{ExpertRow, ExpertState, ExpertTally, ExpertsView};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units::Bytes;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub const PANE: Pane = Pane {
    title: "experts",
    draw: Draw::Inside { info, draw },
    seat: Some(Seat {
        medium: Some(Constraint::Min(6)),
        column: Column::Right,
        share: 8,
        needs: None,
    }),
    section: Some(Section {
        name: "experts",
        info: short,
        rows: Rows::Rest(16),
        draw: draw_section,
    }),
};

/// States in the order of the legend.
const STATES: [ExpertState; 4] = [
    ExpertState::Hit,
    ExpertState::Missed,
    ExpertState::Here,
    ExpertState::Absent,
];

const fn name(state: ExpertState) -> &'static str {
    match state {
        ExpertState::Absent => "disk",
        ExpertState::Here => "RAM",
        ExpertState::Hit => "hit now",
        ExpertState::Missed => "missed now",
    }
}

fn look(ctx: &Ctx<'_>, state: ExpertState) -> (&'static str, Style) {
    let glyphs = &ctx.theme.glyphs;
    let (glyph, role) = match state {
        ExpertState::Absent => (glyphs.expert_absent, Role::ExpertAbsent),
        ExpertState::Here => (glyphs.expert_here, Role::ExpertHere),
        ExpertState::Hit => (glyphs.expert_hit, Role::ExpertHit),
        ExpertState::Missed => (glyphs.expert_missed, Role::ExpertMissed),
    };
    (glyph, ctx.theme.style(role))
}

fn info(ctx: &Ctx<'_>) -> Line<'static> {
    let experts = &ctx.snap.experts;
    if experts.rows.is_empty() {
        return Line::default();
    }
    Line::from(vec![
        ctx.span(Role::Value, experts.held.to_string()),
        ctx.span(Role::Muted, format!(" of {} budget", experts.budget)),
    ])
}

/// For the overview.
fn short(ctx: &Ctx<'_>) -> Line<'static> {
    let (tally, _) = shown(&ctx.snap.experts);
    let mut line = Line::default();
    if let Some(hits) = tally.hit_rate() {
        line.push_span(ctx.span(Role::Value, text::percent(hits)));
    }
    if let Some(lru) = tally.simulated_lru_hit_rate() {
        line.push_span(ctx.span(Role::Muted, "  LRU "));
        line.push_span(ctx.span(Role::Predicted, text::percent(lru)));
        line.push_span(ctx.span(Role::Muted, " sim."));
    }
    line
}

/// The answer's figures where it has asked for experts, else those of all passes; with words for
/// which they are.
fn shown(experts: &ExpertsView) -> (ExpertTally, &'static str) {
    let answer = experts.answer.filter(|answer| answer.hit_rate().is_some());
    match answer {
        Some(answer) => (answer, "this answer"),
        None => (experts.total, "all passes"),
    }
}

fn draw_section(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let rows = &ctx.snap.experts.rows;
    // The last row says what a cell is, where it is several.
    let is_cut = area.height > 3 && Scale::of(rows, area).words().is_some();
    let map = Rect {
        height: area.height - u16::from(is_cut),
        ..area
    };
    let scale = Scale::of(rows, map);
    draw_map(buf, map, ctx, rows, scale);
    let words = scale.words().filter(|_| is_cut);
    let words = words.map(|words| Line::from(ctx.span(Role::Muted, words)));
    lines(buf, below(area, map.height), words);
}

fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let experts = &ctx.snap.experts;
    let rows = &experts.rows;
    if rows.is_empty() {
        return empty(
            buf,
            area,
            ctx,
            "This model has no experts that are read when tokens choose them.",
        );
    }
    // How far the map is cut down decides what the legend says, which takes rows from the map.
    let mut legend_rows = 1;
    let (parts, legend) = loop {
        let parts = Parts::of(area, rows.len(), legend_rows);
        let legend = legend(ctx, area.width, Scale::of(rows, parts.map));
        let needed = u16::try_from(legend.len()).unwrap_or(u16::MAX);
        if needed <= legend_rows {
            break (parts, legend);
        }
        legend_rows = needed;
    };
    draw_map(buf, parts.map, ctx, rows, Scale::of(rows, parts.map));
    draw_passes(buf, parts.graph, ctx);
    lines(buf, parts.figures, figures(ctx, area.width));
    lines(buf, parts.legend, legend);
}

/// Where each part of the pane is, from the top down.
struct Parts {
    map: Rect,
    graph: Rect,
    figures: Rect,
    legend: Rect,
}

impl Parts {
    /// Most rows of the graph.
    const GRAPH: u16 = 6;

    /// For a map that has `layers` rows at most. Text gives way to it where there are few rows.
    fn of(area: Rect, layers: usize, legend: u16) -> Self {
        let (figures, legend, graph) = match area.height {
            0..=1 => (0, 0, 0),
            2..=3 => (1, 0, 0),
            4..=5 => (1, legend.min(1), 0),
            6..=7 => (1, legend.min(2), 0),
            _ => (2, legend, 1),
        };
        let free = area.height.saturating_sub(figures + legend);
        let layers = u16::try_from(layers).unwrap_or(u16::MAX);
        let map = free.saturating_sub(graph).min(layers);
        // Rows of as many layers each.
        let map = match map {
            0 => 0,
            _ => layers.div_ceil(layers.div_ceil(map)),
        };
        let graph = (free - map).min(Self::GRAPH);
        // What is left separates the two.
        let gap = free - map - graph;
        let part = |from: u16, height: u16| Rect {
            height: height.min(area.height.saturating_sub(from)),
            ..below(area, from)
        };
        Self {
            map: part(0, map),
            graph: part(map + gap, graph),
            figures: part(free, figures),
            legend: part(free + figures, legend),
        }
    }
}

/// Columns of a row's label, as in `L12 `.
const LABEL: u16 = 5;

/// How much of the map a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    /// Experts of a layer, and layers, that a cell represents.
    experts: usize,
    layers: usize,
    /// Columns from one cell to the next.
    columns: u16,
}

impl Scale {
    fn of(rows: &[ExpertRow], area: Rect) -> Self {
        let widest = rows.iter().map(|row| row.experts.len()).max();
        let widest = widest.unwrap_or(0).max(1);
        let columns = usize::from(area.width.saturating_sub(LABEL).max(1));
        let experts = widest.div_ceil(columns);
        let layers = rows.len().div_ceil(usize::from(area.height.max(1)));
        let columns = columns / widest.div_ceil(experts);
        Self {
            experts,
            layers: layers.max(1),
            columns: columns.clamp(1, 3) as u16,
        }
    }

    /// What a cell is, where it is more than one expert.
    fn words(self) -> Option<String> {
        match (self.experts, self.layers) {
            (1, 1) => None,
            (experts, 1) => Some(format!("cell: {experts} experts")),
            (1, layers) => Some(format!("cell: {layers} layers")),
            (experts, layers) => Some(format!("cell: {experts} experts x {layers} layers")),
        }
    }
}

fn draw_map(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>, rows: &[ExpertRow], scale: Scale) {
    for (y, group) in (area.y..area.bottom()).zip(rows.chunks(scale.layers)) {
        let label = format!("L{}", group[0].layer);
        buf.set_span(area.x, y, &ctx.span(Role::Muted, label), LABEL);
        let widest = group.iter().map(|row| row.experts.len()).max();
        let firsts = (0..widest.unwrap_or(0)).step_by(scale.experts);
        let places = (area.x + LABEL..area.right()).step_by(scale.columns.into());
        for (x, first) in places.zip(firsts) {
            let of_cell = |row: &ExpertRow| {
                let experts = row.experts.iter().skip(first).take(scale.experts);
                experts.copied().collect::<Vec<_>>()
            };
            let (glyph, style) = look(ctx, cell(group.iter().flat_map(of_cell)));
            // Cells stay apart where there is space.
            let width = (scale.columns - 1).max(1);
            buf.set_string(x, y, glyph.repeat(width.into()), style);
        }
    }
}

/// The state that a cell of several experts shows.
fn cell(experts: impl Iterator<Item = ExpertState>) -> ExpertState {
    let mut counts = [0; STATES.len()];
    for state in experts {
        counts[state as usize] += 1;
    }
    let of = |state: ExpertState| counts[state as usize];
    let (hits, misses) = (of(ExpertState::Hit), of(ExpertState::Missed));
    if hits + misses > 0 {
        match misses >= hits {
            true => ExpertState::Missed,
            false => ExpertState::Hit,
        }
    } else if of(ExpertState::Here) > of(ExpertState::Absent) {
        ExpertState::Here
    } else {
        ExpertState::Absent
    }
}

/// The part of experts that were here, a column a pass, the latest at the right.
fn draw_passes(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    if area.height == 0 {
        return;
    }
    let mut label = |y, text: &'static str| {
        buf.set_span(area.x, y, &ctx.span(Role::Muted, text), LABEL);
    };
    match area.height {
        1 => label(area.y, "hits"),
        _ => {
            label(area.y, "100%");
            label(area.bottom() - 1, "hits");
        }
    }
    let graph = super::inset(area, LABEL, 0);
    let recent = &ctx.snap.experts.recent;
    let shown = recent.len().min(graph.width.into());
    for (x, pass) in (graph.x..).zip(recent.iter().skip(recent.len() - shown)) {
        let share = pass.hit_rate().unwrap_or(0.0);
        // A pass without a hit is a pass too.
        column(buf, graph, x, share.max(0.02), ctx, Role::Bar);
    }
}

/// What was found, against what was expected and what plain LRU would have had.
fn figures(ctx: &Ctx<'_>, width: u16) -> [Line<'static>; 2] {
    let experts = &ctx.snap.experts;
    let (tally, of) = shown(experts);
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), text::percent);
    let size = |bytes: f64| Bytes(bytes as u64).to_string();
    let predicted = |what: String| ctx.span(Role::Predicted, format!("pred. ~{what}"));
    let hits = vec![
        ctx.pair("hits", percent(tally.hit_rate())).to_vec(),
        vec![predicted(text::percent(experts.predicted_hit_rate))],
        vec![
            ctx.span(Role::Muted, "plain LRU "),
            ctx.span(Role::Predicted, percent(tally.simulated_lru_hit_rate())),
            ctx.span(Role::Muted, " simulated"),
        ],
    ];
    let read = tally.bytes_per_token().map_or_else(|| "-".to_owned(), size);
    let bytes = vec![
        vec![
            ctx.span(Role::Muted, "read "),
            ctx.span(Role::Value, read),
            ctx.span(Role::Muted, " a token"),
        ],
        vec![predicted(experts.predicted_token_bytes.to_string())],
        vec![ctx.span(Role::Muted, of)],
        ctx.pair("all experts", experts.all.to_string()).to_vec(),
    ];
    [ctx.joined(hits, width), ctx.joined(bytes, width)]
}

fn legend(ctx: &Ctx<'_>, width: u16, scale: Scale) -> Vec<Line<'static>> {
    let rows = &ctx.snap.experts.rows;
    let states = || rows.iter().flat_map(|row| &row.experts);
    let entry = |state| {
        let (glyph, style) = look(ctx, state);
        let count = states().filter(|of| **of == state).count() as u64;
        vec![
            Span::styled(glyph, style),
            ctx.span(Role::Muted, format!(" {} ", name(state))),
            ctx.span(Role::Value, text::count(count)),
        ]
    };
    let cell = scale.words();
    let cell = cell.map(|words| vec![ctx.span(Role::Muted, words)]);
    let entries = cell.into_iter().chain(STATES.map(entry));
    flowed(entries.collect(), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(layers: u32, experts: usize) -> Vec<ExpertRow> {
        let row = |layer| ExpertRow {
            layer,
            experts: vec![ExpertState::Absent; experts].into(),
        };
        (0..layers).map(row).collect()
    }

    #[test]
    fn every_expert_has_a_cell_at_any_size() {
        for (layers, experts) in [(1, 1), (8, 24), (48, 128), (61, 384), (94, 7)] {
            let rows = rows(layers, experts);
            for (width, height) in [(1, 1), (6, 1), (29, 8), (46, 13), (78, 20), (300, 90)] {
                let scale = Scale::of(&rows, Rect::new(0, 0, width, height));
                let across = experts.div_ceil(scale.experts) * usize::from(scale.columns);
                let down = rows.len().div_ceil(scale.layers);
                let columns = usize::from(width.saturating_sub(LABEL).max(1));
                assert!(
                    across <= columns && down <= usize::from(height),
                    "{layers} x {experts} in {width} x {height}: {scale:?}"
                );
            }
        }
        let scale = Scale::of(&rows(24, 64), Rect::new(0, 0, 140, 24));
        let whole = Scale {
            experts: 1,
            layers: 1,
            columns: 2,
        };
        assert_eq!(scale, whole);
    }

    #[test]
    fn parts_fill_any_height_and_none_is_drawn_over_another() {
        for height in 0..60 {
            for layers in [1, 8, 48, 100] {
                let area = Rect::new(3, 2, 40, height);
                let parts = Parts::of(area, layers, 2);
                let mut y = area.y;
                for part in [parts.map, parts.graph, parts.figures, parts.legend] {
                    assert!(part.y >= y, "{height} {layers}");
                    y = part.bottom();
                }
                assert!(y <= area.bottom());
                assert!(height == 0 || parts.map.height > 0, "{height} {layers}");
            }
        }
    }

    #[test]
    fn a_cell_of_several_shows_what_was_asked_for_first() {
        use ExpertState::{Absent, Here, Hit, Missed};
        for (experts, shown) in [
            (&[Absent, Here, Hit, Missed][..], Missed),
            (&[Missed, Hit, Hit], Hit),
            (&[Here, Here, Hit], Hit),
            (&[Here, Here, Absent], Here),
            (&[Here, Absent], Absent),
            (&[], Absent),
        ] {
            assert_eq!(cell(experts.iter().copied()), shown);
        }
    }
}
