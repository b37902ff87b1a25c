//! Where each pane is, for every size of the screen.
//!
//! ```text
//!  compact, from 60x18        medium, from 110x34        full, from 160x48
//!  +--------status-------+    +--------status-------+    +---------status--------+
//!  | answer   | overview |    | answer   | shards   |    | answer | shards | kv  |
//!  |          |          |    |          | queue    |    |        | queue  | acc |
//!  +---------------------+    |          | kv ...   |    |        |        | ... |
//!  | prompt              |    | prompt   | scout    |    | prompt | memory |     |
//!  +--------footer-------+    +--------footer-------+    +---------footer--------+
//! ```
//!
//! A mixture whose experts come and go has their map in place of `kv`, and of `shards` on any but a
//! full screen.

use super::panes::{ModelKind, PaneId, telemetry, telemetry_column};
use ratatui::layout::{Constraint, Layout as Split, Position, Rect, Size};

/// The least size that shows anything useful.
pub const MIN_SIZE: Size = Size {
    width: 60,
    height: 18,
};

/// Rectangles of one frame; also what a click is looked up in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    pub status: Rect,
    pub footer: Rect,
    /// In the order in which the focus moves.
    pub panes: Vec<(PaneId, Rect)>,
}

impl Layout {
    /// The layout of a screen, or `None` if it is smaller than [`MIN_SIZE`].
    /// `model` decides which panes there are; `prompt_rows` gives the rows that the prompt wants at a width.
    pub fn new(
        screen: Rect,
        zoom: Option<PaneId>,
        model: ModelKind,
        prompt_rows: impl Fn(u16) -> usize,
    ) -> Option<Self> {
        if screen.width < MIN_SIZE.width || screen.height < MIN_SIZE.height {
            return None;
        }
        let [status, body, footer] = Split::vertical([
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(screen);
        let prompt_height = |width: u16, most: u16| {
            let rows = u16::try_from(prompt_rows(width.saturating_sub(2))).unwrap_or(u16::MAX);
            rows.clamp(2, most) + 2
        };
        let panes = match zoom {
            Some(PaneId::Prompt) => vec![(PaneId::Prompt, body)],
            Some(pane) => {
                let [top, prompt] = Split::vertical([
                    Constraint::Fill(1),
                    Constraint::Length(prompt_height(body.width, 3)),
                ])
                .areas(body);
                vec![(PaneId::Prompt, prompt), (pane, top)]
            }
            None if screen.width >= 160 && screen.height >= 48 => full(body, model, prompt_height),
            None if screen.width >= 110 && screen.height >= 34 => {
                medium(body, model, prompt_height)
            }
            None => compact(body, prompt_height),
        };
        Some(Self {
            status,
            footer,
            panes,
        })
    }

    pub fn area(&self, pane: PaneId) -> Option<Rect> {
        self.panes.iter().find(|(p, _)| *p == pane).map(|(_, r)| *r)
    }

    pub fn hit(&self, column: u16, row: u16) -> Option<PaneId> {
        let at = Position::new(column, row);
        self.panes
            .iter()
            .find(|(_, area)| area.contains(at))
            .map(|(pane, _)| *pane)
    }

    /// The pane after (`+1`) or before (`-1`) another; the first where that one is not shown.
    pub fn neighbour(&self, pane: PaneId, step: isize) -> PaneId {
        let count = self.panes.len() as isize;
        match self.panes.iter().position(|(p, _)| *p == pane) {
            Some(at) => self.panes[(at as isize + step).rem_euclid(count) as usize].0,
            None => PaneId::Prompt,
        }
    }
}

fn compact(body: Rect, prompt_height: impl Fn(u16, u16) -> u16) -> Vec<(PaneId, Rect)> {
    let [top, prompt] = Split::vertical([
        Constraint::Fill(1),
        Constraint::Length(prompt_height(body.width, 5)),
    ])
    .areas(body);
    let [answer, overview] =
        Split::horizontal([Constraint::Fill(1), Constraint::Length(31)]).areas(top);
    vec![
        (PaneId::Prompt, prompt),
        (PaneId::Answer, answer),
        (PaneId::Overview, overview),
    ]
}

fn medium(
    body: Rect,
    model: ModelKind,
    prompt_height: impl Fn(u16, u16) -> u16,
) -> Vec<(PaneId, Rect)> {
    let side = (body.width * 42 / 100).clamp(48, 64);
    let [left, right] =
        Split::horizontal([Constraint::Fill(1), Constraint::Length(side)]).areas(body);
    let mut panes = talk(left, &prompt_height, 8);
    panes.extend(telemetry_column(right, model));
    panes
}

fn full(
    body: Rect,
    model: ModelKind,
    prompt_height: impl Fn(u16, u16) -> u16,
) -> Vec<(PaneId, Rect)> {
    let side = (body.width * 27 / 100).clamp(46, 72);
    let [left, right] =
        Split::horizontal([Constraint::Fill(1), Constraint::Length(2 * side)]).areas(body);
    let mut panes = talk(left, &prompt_height, 12);
    panes.extend(telemetry(right, model));
    panes
}

fn talk(area: Rect, prompt_height: &impl Fn(u16, u16) -> u16, most: u16) -> Vec<(PaneId, Rect)> {
    let [answer, prompt] = Split::vertical([
        Constraint::Fill(1),
        Constraint::Length(prompt_height(area.width, most)),
    ])
    .areas(area);
    vec![(PaneId::Prompt, prompt), (PaneId::Answer, answer)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(width: u16, height: u16, zoom: Option<PaneId>) -> Option<Layout> {
        of(width, height, zoom, ModelKind::Dense)
    }

    fn of(width: u16, height: u16, zoom: Option<PaneId>, model: ModelKind) -> Option<Layout> {
        Layout::new(Rect::new(0, 0, width, height), zoom, model, |_| 3)
    }

    #[test]
    fn panes_tile_the_screen_at_every_size() {
        for (width, height) in [
            (60, 18),
            (80, 24),
            (109, 60),
            (120, 40),
            (160, 48),
            (200, 60),
            (400, 120),
        ] {
            for zoom in [None, Some(PaneId::Prompt), Some(PaneId::Kv)] {
                for model in [ModelKind::Dense, ModelKind::Mixture] {
                    let layout = of(width, height, zoom, model).unwrap();
                    let cells: u32 = layout.panes.iter().map(|(_, r)| r.area()).sum();
                    assert_eq!(
                        cells,
                        u32::from(width) * u32::from(height - 2),
                        "{width}x{height} {zoom:?} {model:?}"
                    );
                    for (pane, area) in &layout.panes {
                        assert!(
                            area.width >= 28 && area.height >= 4,
                            "{width}x{height} {pane:?} {area}"
                        );
                        assert_eq!(layout.hit(area.x, area.bottom() - 1), Some(*pane));
                    }
                }
            }
        }
        assert_eq!(at(59, 40, None), None);
        assert_eq!(at(80, 17, None), None);
    }

    #[test]
    fn experts_have_a_pane_where_they_come_and_go() {
        for (width, height, has_shards) in [(120, 40, false), (200, 60, true)] {
            let dense = of(width, height, None, ModelKind::Dense).unwrap();
            assert_eq!(dense.area(PaneId::Experts), None);
            let mixture = of(width, height, None, ModelKind::Mixture).unwrap();
            assert!(mixture.area(PaneId::Experts).unwrap().height >= 10);
            assert_eq!(mixture.area(PaneId::Shards).is_some(), has_shards);
            assert_eq!(mixture.area(PaneId::Kv), None);
            for pane in [PaneId::Shards, PaneId::Kv] {
                assert!(dense.area(pane).is_some());
            }
        }
    }

    #[test]
    fn the_focus_goes_round() {
        let layout = at(80, 24, None).unwrap();
        let mut pane = PaneId::Prompt;
        for wanted in [PaneId::Answer, PaneId::Overview, PaneId::Prompt] {
            pane = layout.neighbour(pane, 1);
            assert_eq!(pane, wanted);
        }
        assert_eq!(layout.neighbour(PaneId::Prompt, -1), PaneId::Overview);
        assert_eq!(layout.neighbour(PaneId::Kv, 1), PaneId::Prompt);
    }
}
