//! The last pass's tree, drawn small, and how guesses fared in the answer so far.
//!
//! ```text
//!  tree 9 of 63 nodes  draft 12 ms  pass 150 ms
//!  ● ● ◆ ○             a column a depth, the kept path on top: full is kept, hollow is not;
//!  ○ ○                 each drafter has a mark of its own
//! ```

use super::{Ctx, below, lines};
use crate::telemetry::{SpeculationView, Tally};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::vocabulary::DrafterId;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Rows of figures above and below the tree.
const FIGURES: u16 = 5;

/// Rows of the tree at the most: deeper trees are wider, not higher.
const MOST_ROWS: u16 = 6;

/// Rows that it fills where they fit; none before a tree was verified.
pub fn rows(ctx: &Ctx<'_>) -> u16 {
    let widest = by_depth(&ctx.snap.speculation).iter().map(Vec::len).max();
    match widest {
        None => 0,
        Some(widest) => FIGURES + u16::try_from(widest).unwrap_or(MOST_ROWS).min(MOST_ROWS),
    }
}

pub fn draw(buf: &mut Buffer, area: Rect, ctx: &Ctx<'_>) {
    let view = &ctx.snap.speculation;
    lines(buf, area, [head(ctx, area.width)]);
    let tree = Rect {
        height: rows(ctx)
            .saturating_sub(FIGURES)
            .min(area.height.saturating_sub(1)),
        ..below(area, 1)
    };
    for (x, nodes) in (tree.x..tree.right()).step_by(2).zip(by_depth(view)) {
        for (y, (drafter, kept)) in (tree.y..tree.bottom()).zip(nodes) {
            let marks = drafter.marks(ctx.theme.glyphs.ascii);
            let role = if kept { Role::Accepted } else { Role::Rejected };
            buf.set_span(x, y, &ctx.span(role, marks[usize::from(!kept)]), 1);
        }
    }
    let figures = [
        drafters(ctx, area.width),
        tokens_a_pass(ctx, area.width),
        depths(ctx),
        calibration(ctx, area.width),
    ];
    lines(buf, below(area, 1 + tree.height), figures);
}

/// The guesses of each depth, those that were kept first.
fn by_depth(view: &SpeculationView) -> Vec<Vec<(DrafterId, bool)>> {
    let mut columns: Vec<Vec<(DrafterId, bool)>> = Vec::new();
    for (node, depth) in view.tree.nodes.iter().zip(view.tree.depths()) {
        let Some((drafter, column)) = node.drafter.zip(depth.checked_sub(1)) else {
            continue;
        };
        columns.resize(columns.len().max(column + 1), Vec::new());
        columns[column].push((drafter, node.kept));
    }
    for column in &mut columns {
        column.sort_by_key(|(_, kept)| !kept);
    }
    columns
}

fn head(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let view = &ctx.snap.speculation;
    let nodes = format!("{} of {} nodes", view.tree.nodes.len(), view.max_nodes);
    let mut groups = vec![ctx.pair("tree", nodes).to_vec()];
    for (name, ms) in [("draft", view.draft_ms), ("pass", view.pass_ms)] {
        groups.extend(ms.map(|ms| ctx.pair(name, text::ms(ms)).to_vec()));
    }
    ctx.joined(groups, width)
}

/// What became of each drafter's guesses.
fn drafters(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let group = |&(drafter, tally): &(DrafterId, Tally)| {
        let [kept, _] = drafter.marks(ctx.theme.glyphs.ascii);
        let mut group = vec![
            ctx.span(Role::Accepted, kept),
            ctx.span(Role::Muted, format!(" {} ", drafter.name())),
        ];
        match tally.rate() {
            Some(rate) => {
                group.push(ctx.span(Role::Value, text::percent(rate)));
                group.push(ctx.span(Role::Muted, format!(" of {}", text::count(tally.judged))));
            }
            None => group.push(ctx.span(Role::Muted, "no guess judged")),
        }
        group
    };
    let all = ctx.snap.speculation.by_drafter.iter();
    ctx.joined(all.map(group).collect(), width)
}

/// A level for each share, in a row.
fn levels(ctx: &Ctx<'_>, shares: impl Iterator<Item = f64>) -> Span<'static> {
    let glyph = |share| ctx.theme.glyphs.level(share).unwrap_or(" ");
    ctx.span(Role::Value, shares.map(glyph).collect::<String>())
}

/// A column for each number of tokens from one up, as high as the number of passes that yielded so
/// many; where it fits, what the last pass hid of the draft's time.
fn tokens_a_pass(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let view = &ctx.snap.speculation;
    let counts = &view.tokens_a_pass;
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let columns = vec![
        ctx.span(Role::Muted, "tokens a pass 1 "),
        levels(ctx, counts.iter().map(|&n| n as f64 / most as f64)),
        ctx.span(Role::Muted, format!(" {}", counts.len())),
    ];
    let hidden = view.draft_hidden_ms.map(text::ms);
    let hidden = hidden.map(|ms| ctx.pair("draft hidden", ms).to_vec());
    ctx.joined([columns].into_iter().chain(hidden).collect(), width)
}

/// A column for each depth, as high as guesses of that depth were kept.
fn depths(ctx: &Ctx<'_>) -> Line<'static> {
    let tallies = &ctx.snap.speculation.by_depth;
    Line::from(vec![
        ctx.span(Role::Muted, "kept by depth 1 "),
        levels(ctx, tallies.iter().map(|t| t.rate().unwrap_or(0.0))),
        ctx.span(Role::Muted, format!(" {}", tallies.len())),
    ])
}

/// The probability stated for guesses, and the share of them that was kept, as far as it fits.
fn calibration(ctx: &Ctx<'_>, width: u16) -> Line<'static> {
    let mut groups = vec![vec![ctx.span(Role::Muted, "stated/kept")]];
    let bins = ctx.snap.speculation.calibration.iter().rev();
    for (stated, kept) in bins.filter_map(|bin| bin.stated_and_kept()) {
        groups.push(vec![
            ctx.span(Role::Predicted, text::percent(stated)),
            ctx.span(Role::Muted, "/"),
            ctx.span(Role::Value, text::percent(kept)),
        ]);
    }
    ctx.joined(groups, width)
}
