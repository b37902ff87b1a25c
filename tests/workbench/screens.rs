//! What the workbench looks like at three sizes in each phase, and each pane alone, from hand-made
//! snapshots.
//!
//! With `NMOS_SHOTS=DIR` the same screens are written there as PNG, to be looked at.

use crate::headless::{
    ANSWER, answered, app, asked, fatal, key, loader, mixture, of, press, render, streamed, text,
    type_text,
};
use nmos::session::{Event as EngineEvent, Notice, RequestEvent};
use nmos::telemetry::*;
use nmos::tui::app::App;
use nmos::tui::shot::{self, Defaults};
use nmos::tui::{Keymap, Player, Recorder};
use nmos::typing::{Edit, TypingEvent};
use nmos::units::Bytes;
use nmos::vocabulary::OracleForm;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::Rect;

/// Compares the screens of the three sizes, and writes pictures of them where asked to.
fn check(name: &str, mut make: impl FnMut() -> App) {
    for (width, height) in [(80, 24), (120, 40), (200, 60)] {
        let mut app = make();
        // The first frame tells the layout; a settled screen is the second.
        render(&mut app, width, height);
        let buffer = render(&mut app, width, height);
        if let Ok(dir) = std::env::var("NMOS_SHOTS") {
            let background = nmos::tui::theme::to_rgb(app.theme.background, [18, 18, 18]);
            let defaults = Defaults {
                foreground: [216, 216, 216],
                background,
            };
            let png = shot::to_png(&shot::to_svg(&buffer, defaults)).unwrap();
            std::fs::write(format!("{dir}/{name}-{width}x{height}.png"), png).unwrap();
        }
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), text(&buffer));
    }
}

#[test]
fn loading() {
    check("loading", || {
        let mut app = app();
        app.set_snapshot(Snapshot {
            phase: Phase::Loading("Qwen2.5-Coder-1.5B-Instruct".into()),
            ..Snapshot::default()
        });
        type_text(&mut app, "I type already");
        app
    });
}

#[test]
fn idle() {
    check("idle", || {
        let mut app = app();
        app.engine(EngineEvent::Ready, 0);
        let mut snapshot = streamed();
        snapshot.phase = Phase::Idle;
        snapshot.queue = QueueView::default();
        snapshot.accept = AcceptView::default();
        snapshot.cadence = CadenceView::default();
        snapshot.scout = ScoutView::default();
        snapshot.kv = KvView::default();
        snapshot.prefill = PrefillView::default();
        app.set_snapshot(snapshot);
        app
    });
}

#[test]
fn remarks_before_the_first_prompt_leave_the_greeting() {
    for (width, height) in [(80, 24), (120, 40), (160, 48), (200, 60)] {
        let mut app = app();
        app.engine(
            EngineEvent::Notice(Notice::Setup("no draft: it is not here yet".into())),
            0,
        );
        app.engine(EngineEvent::Ready, 0);
        app.set_snapshot(Snapshot {
            phase: Phase::Idle,
            ..streamed()
        });
        let screen = text(&render(&mut app, width, height));
        for words in [
            "streamed: ~8.1",
            "tokens/s predicted",
            "Type a question",
            "no draft: it",
        ] {
            assert!(screen.contains(words), "{words}:\n{screen}");
        }
        type_text(&mut app, "hi");
        press(&mut app, KeyCode::Enter);
        let screen = text(&render(&mut app, width, height));
        assert!(!screen.contains("Type a question"), "{screen}");
        assert!(screen.contains("no draft: it"), "{screen}");
    }
}

#[test]
fn a_narrow_memory_pane_and_queue_show_whole_figures() {
    let mut app = app();
    let mut snapshot = streamed();
    snapshot.memory.owners[0].0 = "program, vocabulary, draft";
    snapshot.memory.rss = Bytes(0);
    app.set_snapshot(snapshot);
    let screen = text(&render(&mut app, 160, 48));
    for words in [
        "program, vocabulary, draft ━",
        "420 MiB",
        "~need",
        "~slack",
        "~+15 ms",
    ] {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    assert!(!screen.contains("0 B"), "{screen}");
}

#[test]
fn fewer_threads_than_may_compute_are_told() {
    let mut app = app();
    for (now, most, told) in [(1, 2, true), (2, 2, false), (0, 2, false), (0, 0, false)] {
        let mut snapshot = streamed();
        snapshot.engine.threads_now = now;
        snapshot.engine.threads_max = most;
        app.set_snapshot(snapshot);
        for (width, height) in [(80, 24), (120, 40), (160, 48), (200, 60)] {
            let screen = text(&render(&mut app, width, height));
            let words = match width {
                80 => "1 of 2 threads",
                _ => "1 of 2 threads: the cores are in use",
            };
            assert_eq!(screen.contains(words), told, "{screen}");
        }
    }
}

#[test]
fn typing() {
    check("typing", || {
        let mut app = answered();
        let mut snapshot = streamed();
        snapshot.phase = Phase::Anticipating;
        app.set_snapshot(snapshot);
        type_text(
            &mut app,
            "Now make it generic over Ord, and keep it stable for equal elements",
        );
        key(&mut app, KeyCode::Enter, KeyModifiers::ALT);
        type_text(&mut app, "- no unsafe");
        app
    });
}

#[test]
fn answering() {
    check("answering", || {
        let mut app = asked();
        app.engine(of(RequestEvent::Text(ANSWER[..260].into())), 0);
        app
    });
}

#[test]
fn answer_done() {
    check("answered", answered);
}

#[test]
fn a_mixture_of_experts() {
    check("mixture", || {
        let mut app = asked();
        app.engine(of(RequestEvent::Text(ANSWER[..260].into())), 0);
        app.set_snapshot(mixture(48, 128));
        app
    });
}

/// Of a few experts a cell is one, in any theme; of many, it says how many.
#[test]
fn the_map_of_experts_says_what_a_cell_is() {
    for (layers, experts, words) in [
        (8, 24, "◆ missed now"),
        (60, 384, "cell: 6 experts x"),
        (12, 128, "cell: 2 experts "),
    ] {
        let mut app = answered();
        app.set_snapshot(mixture(layers, experts));
        let pane = zoomed(&mut app, "experts", 80, 24);
        assert!(pane.contains(words), "{pane}");
        let is_one = layers == 8;
        assert_eq!(!pane.contains("cell:"), is_one, "{pane}");
        insta::assert_snapshot!(format!("pane_experts_{layers}x{experts}"), pane);
    }
}

#[test]
fn states_of_experts_differ_without_colour() {
    let mut app = App::new(Keymap::default(), loader(), "ascii").unwrap();
    app.set_snapshot(mixture(8, 24));
    let screen = text(&render(&mut app, 200, 60));
    for words in ["# hit now ", "x missed now ", "o RAM ", ". disk "] {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    assert!(screen.is_ascii(), "{screen}");
}

#[test]
fn a_dense_model_has_no_pane_of_experts() {
    let mut app = answered();
    for (width, height) in [(80, 24), (120, 40), (200, 60)] {
        let screen = text(&render(&mut app, width, height));
        assert!(!screen.contains("experts"), "{screen}");
    }
}

#[test]
fn before_the_first_answer_the_map_shows_all_passes() {
    let mut app = answered();
    let mut snapshot = mixture(48, 128);
    snapshot.experts.answer = None;
    app.set_snapshot(snapshot.clone());
    let pane = zoomed(&mut app, "experts", 120, 40);
    assert!(pane.contains("all passes"), "{pane}");
    snapshot.experts.total = ExpertTally::default();
    snapshot.experts.recent.clear();
    app.set_snapshot(snapshot);
    let pane = text(&render(&mut app, 120, 40));
    assert!(pane.contains("hits -  pred. ~75%  plain LRU -"), "{pane}");
}

#[test]
fn resident_model() {
    check("resident", || {
        let mut app = asked();
        let mut snapshot = streamed();
        snapshot.engine.form = Some(OracleForm::Resident);
        snapshot.engine.draft = None;
        snapshot.shards.clear();
        snapshot.queue = QueueView::default();
        snapshot.accept.recent.clear();
        app.set_snapshot(snapshot);
        app
    });
}

#[test]
fn failed() {
    check("failed", || {
        let mut app = asked();
        app.engine(
            fatal(
                "The draft model draft.gguf is truncated: it ends at 81 MB of 491 MB. \
                 Fetch it again with `nmos models pull`.",
            ),
            0,
        );
        app
    });
}

#[test]
fn help() {
    check("help", || {
        let mut app = answered();
        press(&mut app, KeyCode::F(1));
        app
    });
}

#[test]
fn badges_and_a_frozen_zoomed_pane() {
    check("zoomed", || {
        let mut app = answered();
        let recorder: Recorder = Box::new(|_| Ok(()));
        app.set_recorder(recorder);
        let event = TypingEvent {
            t_us: 0,
            edit: Edit::Backspace,
        };
        app.set_replay(Player::new(vec![vec![event]], 4.0).unwrap());
        render(&mut app, 200, 60);
        press(&mut app, KeyCode::BackTab);
        press(&mut app, KeyCode::Char('z'));
        press(&mut app, KeyCode::Char('f'));
        app
    });
}

#[test]
fn the_page_map_says_when_pages_are_in_vram() {
    let mut app = answered();
    let mut snapshot = streamed();
    snapshot.kv.on_device = true;
    app.set_snapshot(snapshot);
    render(&mut app, 120, 40);
    let screen = text(&render(&mut app, 120, 40));
    assert!(
        screen.contains("12 in VRAM  · unmapped  page 16 MiB"),
        "{screen}"
    );
}

#[test]
fn thousands_of_shards_are_grouped() {
    check("many_shards", || {
        let mut app = answered();
        let mut snapshot = streamed();
        let one = snapshot.shards[0];
        snapshot.shards = (0..9000)
            .map(|i| ShardView {
                layer: Some(i / 100),
                residency: if i % 1000 < 400 {
                    Residency::Ram
                } else {
                    Residency::Disk
                },
                pinned: i % 1000 < 300,
                in_use: i == 4200,
                ..one
            })
            .collect();
        app.set_snapshot(snapshot);
        app
    });
}

#[test]
fn every_theme_draws() {
    for name in loader().names() {
        let mut app = App::new(Keymap::default(), loader(), &name).unwrap();
        app.set_snapshot(streamed());
        type_text(&mut app, "theme");
        let buffer = render(&mut app, 120, 40);
        if let Ok(dir) = std::env::var("NMOS_SHOTS") {
            let background = nmos::tui::theme::to_rgb(app.theme.background, [18, 18, 18]);
            let defaults = Defaults {
                foreground: [216, 216, 216],
                background,
            };
            let png = shot::to_png(&shot::to_svg(&buffer, defaults)).unwrap();
            std::fs::write(format!("{dir}/theme-{name}.png"), png).unwrap();
        }
        assert_eq!(text(&buffer).is_ascii(), name == "ascii", "{name}");
    }
}

#[test]
fn too_small_says_the_size_it_needs() {
    let mut app = app();
    let screen = text(&render(&mut app, 50, 10));
    assert!(screen.contains("The screen is 50 x 10."), "{screen}");
    assert!(screen.contains("NMOS needs 60 x 18."), "{screen}");
    // Any size at all can be drawn.
    for (width, height) in [
        (0, 0),
        (1, 1),
        (3, 2),
        (60, 17),
        (60, 18),
        (61, 200),
        (400, 18),
    ] {
        render(&mut app, width, height);
    }
}

/// The rows of one part of a screen.
fn part(buffer: &Buffer, area: Rect) -> String {
    let mut alone = Buffer::empty(area);
    for position in area.positions() {
        alone[position] = buffer[position].clone();
    }
    text(&alone)
}

/// The pane of this title, zoomed on a screen of that size. A large screen has all panes: the
/// focus goes through them until it is there.
fn zoomed(app: &mut App, title: &str, width: u16, height: u16) -> String {
    for _ in 0..16 {
        render(app, 200, 60);
        press(app, KeyCode::Tab);
        if app.focus.pane().title == title {
            break;
        }
    }
    press(app, KeyCode::Char('z'));
    let buffer = render(app, width, height);
    let (_, area) = app.layout.panes[1];
    let pane = part(&buffer, area);
    assert!(pane.contains(&format!(" {title} ")), "{title}:\n{pane}");
    pane
}

/// Each pane at the size that a small terminal gives it when it is zoomed.
#[test]
fn each_pane_alone() {
    let titles = [
        "conversation",
        "shards",
        "prefetch",
        "memory",
        "KV pages",
        "acceptance",
        "cadence",
        "scout",
    ];
    for (i, title) in titles.into_iter().enumerate() {
        let mut app = answered();
        // A large screen has all panes: the focus goes through them.
        render(&mut app, 200, 60);
        for _ in 0..=i {
            press(&mut app, KeyCode::Tab);
        }
        press(&mut app, KeyCode::Char('z'));
        let buffer = render(&mut app, 80, 24);
        let (_, area) = app.layout.panes[1];
        let pane = part(&buffer, area);
        assert!(pane.contains(&format!(" {title} ")), "{title}:\n{pane}");
        insta::assert_snapshot!(format!("pane_{}", title.replace(' ', "_")), pane);
    }
}
