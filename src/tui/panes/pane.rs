//! What the workbench knows of a pane. Each pane's file declares its own as `PANE`; the table in
//! [`super`] lists them, and layouts, the overview and drawing follow from that.

use super::{Ctx, PaneId, frame};
use crate::telemetry::Snapshot;
use crate::tui::app::App;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

/// Height from which a column of [`telemetry`] has rows to give away.
const AMPLE_ROWS: u16 = 42;

/// One pane.
pub struct Pane {
    /// Shown in its border.
    pub title: &'static str,
    pub draw: Draw,
    /// Where it is among the telemetry; `None` for what layouts place themselves.
    pub seat: Option<Seat>,
    /// Its part of the overview, if it has one.
    pub section: Option<Section>,
}

/// How a pane is drawn.
pub enum Draw {
    /// All of it, border and all, from the workbench's state; told whether it has the focus.
    Whole(fn(&mut Buffer, Rect, &mut App, bool)),
    /// What is inside the border, from a snapshot; `info` is at the right of the border.
    Inside {
        info: fn(&Ctx<'_>) -> Line<'static>,
        draw: fn(&mut Buffer, Rect, &Ctx<'_>),
    },
}

/// Where a pane of telemetry is. Above and below it are its neighbours in the table.
pub struct Seat {
    /// Its height in the one column of a medium screen; `None`: not shown there.
    pub medium: Option<Constraint>,
    /// Its column of the two of a full screen.
    pub column: Column,
    /// Its share of that column's height.
    pub share: u16,
    /// Rows that it needs: all that it takes where there are rows to give away. `None`: a
    /// picture, which is the better the larger it is.
    pub needs: Option<u16>,
}

/// A column of a full screen's telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Left,
    Right,
}

/// A pane's part of the overview: a heading, and rows below it.
pub struct Section {
    /// At the left of the heading.
    pub name: &'static str,
    /// At its right.
    pub info: fn(&Ctx<'_>) -> Line<'static>,
    pub rows: Rows,
    /// Draws the rows below the heading.
    pub draw: fn(&mut Buffer, Rect, &Ctx<'_>),
}

/// Rows of a section below its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    Fixed(u16),
    /// In a short overview, and in a tall one.
    ShortOrTall(u16, u16),
    /// What the others leave, from one row to this many. One section of all has these.
    Rest(u16),
}

/// What the model is, as far as it decides which panes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    Dense,
    /// Experts come and go: their map is what there is to see. Shards are the dense parts, most of
    /// which stay, and llama.cpp keeps the cache, which has no pages.
    Mixture,
}

impl ModelKind {
    pub fn of(snap: &Snapshot) -> Self {
        match snap.experts.rows.is_empty() {
            true => Self::Dense,
            false => Self::Mixture,
        }
    }

    /// Whether `pane` concerns such a model.
    fn has(self, pane: PaneId) -> bool {
        let other = match self {
            Self::Dense => PaneId::Experts,
            Self::Mixture => PaneId::Kv,
        };
        pane != other
    }

    /// Whether it also does where there is no space for all: on a medium screen, in the overview.
    pub fn has_foremost(self, pane: PaneId) -> bool {
        self.has(pane) && !(self == Self::Mixture && pane == PaneId::Shards)
    }
}

impl Pane {
    /// Draws it into `area`, from what the workbench shows.
    pub fn draw(&self, buf: &mut Buffer, area: Rect, app: &mut App, focused: bool) {
        match self.draw {
            Draw::Whole(draw) => draw(buf, area, app, focused),
            Draw::Inside { info, draw } => {
                let ctx = Ctx {
                    theme: &app.theme,
                    snap: app.shown(),
                };
                let inner = frame(buf, area, ctx.theme, self.title, info(&ctx), focused);
                draw(buf, inner, &ctx);
            }
        }
    }
}

macro_rules! panes {
    ($($(#[$meta:meta])* $name:ident => $file:ident;)*) => {
        /// Names a pane. The focus moves in this order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PaneId { $($(#[$meta])* $name,)* }

        impl PaneId {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What its file declares.
            pub const fn pane(self) -> &'static Pane {
                match self { $(Self::$name => &$file::PANE,)* }
            }
        }
    };
}
pub(super) use panes;

/// The panes of a medium screen's telemetry, one under another.
pub fn telemetry_column(area: Rect, model: ModelKind) -> Vec<(PaneId, Rect)> {
    let seats = seats(model).filter(|(pane, _)| model.has_foremost(*pane));
    let heights = seats.filter_map(|(pane, seat)| Some((pane, seat.medium?)));
    stacked(area, &heights.collect::<Vec<_>>())
}

/// All panes of telemetry in two columns.
pub fn telemetry(area: Rect, model: ModelKind) -> Vec<(PaneId, Rect)> {
    // Lists take what they need where there are rows to give away, and pictures the rest.
    let height = |seat: &Seat| match seat.needs {
        Some(rows) if area.height >= AMPLE_ROWS => Constraint::Length(rows),
        _ => Constraint::Fill(seat.share),
    };
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas::<2>(area);
    let mut panes = Vec::new();
    for (half, column) in halves.into_iter().zip([Column::Left, Column::Right]) {
        let of_column = seats(model).filter(|(_, seat)| seat.column == column);
        let heights = of_column.map(|(pane, seat)| (pane, height(seat)));
        panes.extend(stacked(half, &heights.collect::<Vec<_>>()));
    }
    panes
}

fn seats(model: ModelKind) -> impl Iterator<Item = (PaneId, &'static Seat)> {
    let all = PaneId::ALL.iter().filter(move |id| model.has(**id));
    all.filter_map(|id| Some((*id, id.pane().seat.as_ref()?)))
}

fn stacked(area: Rect, heights: &[(PaneId, Constraint)]) -> Vec<(PaneId, Rect)> {
    let areas = Layout::vertical(heights.iter().map(|(_, height)| *height)).split(area);
    let panes = heights.iter().zip(areas.iter());
    panes.map(|((pane, _), area)| (*pane, *area)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_section_takes_what_the_others_leave() {
        for model in [ModelKind::Dense, ModelKind::Mixture] {
            let panes = PaneId::ALL.iter().filter(|id| model.has_foremost(**id));
            let sections = panes.filter_map(|id| id.pane().section.as_ref());
            let rest = sections.filter(|section| matches!(section.rows, Rows::Rest(_)));
            assert_eq!(rest.count(), 1, "{model:?}");
        }
    }

    #[test]
    fn titles_tell_panes_apart() {
        let mut titles: Vec<_> = PaneId::ALL.iter().map(|id| id.pane().title).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), PaneId::ALL.len());
    }
}
