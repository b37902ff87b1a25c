//! What the workbench looks like at three sizes in each phase, from hand-made snapshots.
//!
//! With `NMOS_SHOTS=DIR` the same screens are written there as PNG, to be looked at.
#![allow(clippy::unwrap_used)]

use nmos::session::{Event as EngineEvent, Intent};
use nmos::speculate::{LookupDrafter, ModelDrafter};
use nmos::telemetry::*;
use nmos::tui::app::{App, Effect};
use nmos::tui::shot::{self, Defaults};
use nmos::tui::{ColorDepth, Keymap, Player, Recorder, ThemeLoader, view};
use nmos::typing::{Edit, TypingEvent};
use nmos::units::Bytes;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::Rect;

fn loader() -> ThemeLoader {
    ThemeLoader {
        dir: None,
        depth: ColorDepth::TrueColor,
        ascii: false,
    }
}

fn app() -> App {
    App::new(Keymap::default(), loader(), "nmos-dark").unwrap()
}

fn key(app: &mut App, code: KeyCode, modifiers: KeyModifiers) {
    app.input(&Event::Key(KeyEvent::new(code, modifiers)), 0);
}

fn press(app: &mut App, code: KeyCode) {
    key(app, code, KeyModifiers::NONE);
}

fn type_text(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, KeyCode::Char(c));
    }
}

fn edits(app: &mut App) -> Vec<Edit> {
    app.take_effects()
        .into_iter()
        .filter_map(|e| match e {
            Effect::Send(Intent::Typing(event)) => Some(event.edit),
            _ => None,
        })
        .collect()
}

fn render(app: &mut App, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view::draw(&mut buffer, area, app);
    buffer
}

fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut out = String::new();
    for y in 0..area.height {
        let mut row = String::new();
        let mut x = 0;
        while x < area.width {
            let symbol = buffer[(x, y)].symbol();
            row.push_str(symbol);
            x += unicode_width::UnicodeWidthStr::width(symbol).max(1) as u16;
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

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

/// Passes over a bush of guesses: the draft model's best three at each depth, and a chain that
/// was looked up.
fn speculation() -> SpeculationView {
    let node = |parent, drafter, stated_p, kept| TreeNodeView {
        parent,
        drafter,
        stated_p,
        kept,
    };
    let mut view = SpeculationView {
        max_nodes: 63,
        draft_ms: Some(41.0),
        draft_hidden_ms: Some(186.0),
        pass_ms: Some(233.0),
        ..SpeculationView::default()
    };
    for right in [4, 2, 6, 4] {
        let mut nodes = vec![node(None, None, 1.0, true)];
        let mut last = 0;
        for depth in 1..=6 {
            let kept = depth <= right;
            let best = nodes.len();
            nodes.push(node(Some(last), Some(ModelDrafter::ID), 0.82, kept));
            nodes.push(node(Some(last), Some(ModelDrafter::ID), 0.11, false));
            if depth > 2 {
                nodes.push(node(Some(last), Some(LookupDrafter::ID), 0.34, false));
            }
            last = best;
        }
        view.count_pass(TreeView { nodes }, right + 1);
    }
    view
}

/// A 28-layer model of which the first half is pinned, in the middle of a pass.
fn streamed() -> Snapshot {
    let mut shards = Vec::new();
    for layer in 0..28u32 {
        for (part, mib) in [
            (ShardPart::Attention, 4),
            (ShardPart::FeedForwardUp, 15),
            (ShardPart::FeedForwardDown, 9),
        ] {
            let pinned = layer % 2 == 0;
            let (residency, in_use) = match layer {
                9 => (Residency::Ram, part == ShardPart::FeedForwardUp),
                11 => (Residency::Ram, false),
                13 if part == ShardPart::Attention => (Residency::Ram, false),
                13 => (Residency::Loading, false),
                l if l % 2 == 0 => (Residency::Ram, false),
                _ => (Residency::Disk, false),
            };
            shards.push(ShardView {
                layer: Some(layer),
                part,
                bytes: Bytes::mib(mib),
                residency,
                pinned,
                in_use,
            });
        }
    }
    shards.push(ShardView {
        layer: None,
        part: ShardPart::Head,
        bytes: Bytes::mib(182),
        residency: Residency::Ram,
        pinned: true,
        in_use: false,
    });
    let item = |shard, need, arrival| QueueItem {
        shard,
        predicted_need_ms: Some(need),
        predicted_arrival_ms: arrival,
    };
    Snapshot {
        phase: Phase::Answering,
        engine: EngineView {
            oracle: "Qwen2.5-Coder-1.5B-Instruct".into(),
            form: "streamed",
            draft: Some("Qwen2.5-Coder-0.5B".into()),
            threads: 2,
            threads_now: 0,
            threads_max: 0,
            predicted_tokens_per_s: Some(8.1),
            ctx_tokens: 4096,
            width_class: (2, 8),
            reader: "io_uring, O_DIRECT".into(),
        },
        memory: MemoryView {
            budget: Bytes::mib(960),
            rss: Bytes::mib(893),
            rss_peak: Bytes::mib(911),
            owners: vec![
                ("weights", Bytes::mib(420)),
                ("ring", Bytes::mib(60)),
                ("draft", Bytes::mib(310)),
                ("KV", Bytes::mib(64)),
                ("scout", Bytes::mib(12)),
                ("program", Bytes::mib(70)),
            ],
        },
        shards,
        queue: QueueView {
            next: vec![
                item(33, 12.0, 0.0),
                item(39, 41.0, 0.0),
                item(40, 46.0, 31.0),
                item(41, 55.0, 62.0),
                item(45, 88.0, 64.0),
                item(46, 93.0, 72.0),
            ],
            read_gb_s: 1.87,
            bytes_read: 11_830_000_000,
            stall_ms: 412.0,
            hits: 1208,
            misses: 37,
        },
        kv: KvView {
            page_bytes: Bytes::mib(16),
            pages: (0..4)
                .map(|_| {
                    (0..8)
                        .map(|i| KvPageView {
                            mapped: i < 3,
                            used: [1.0, 1.0, 0.4].get(i).copied().unwrap_or(0.0),
                        })
                        .collect()
                })
                .collect(),
            tokens_per_page: 512,
            cells_used: 1229,
            cells_max: 4096,
            mapped_bytes: Bytes::mib(192),
            on_device: false,
        },
        accept: AcceptView {
            recent: (0..21)
                .map(|i| PassView {
                    drafted: 8 - i % 3,
                    accepted: [6, 3, 6, 0, 5, 4, 2][i % 7],
                    ms: 274.0,
                })
                .collect(),
            tokens: 104,
            passes: 21,
            drafted: 147,
            accepted: 83,
            tokens_per_s: Some(17.4),
            ttft_ms: Some(312.0),
        },
        cadence: CadenceView {
            gaps_ms: (0..40)
                .map(|i| [92.0, 130.0, 71.0, 240.0, 110.0, 850.0, 64.0][i % 7])
                .collect(),
            median_gap_ms: Some(110.0),
            keys: 231,
            backspaces: 12,
            pastes: 1,
            pause_ms: Some(640.0),
            predicted_submit: Some(0.34),
        },
        scout: ScoutView {
            predicted: Some([0.81, 0.13, 0.06]),
            reasons: vec!["names a language".into(), "asks to write".into()],
            last_us: 240,
        },
        speculation: speculation(),
        prefill: PrefillView {
            prompt_tokens: 131,
            ready_tokens: 118,
        },
    }
}

const ANSWER: &str = "Merging walks both slices with one index each and takes the smaller head:\n\n\
```rust\nfn merge(a: &[i32], b: &[i32]) -> Vec<i32> {\n    let (mut i, mut j) = (0, 0);\n    let mut out = Vec::with_capacity(a.len() + b.len());\n    while i < a.len() && j < b.len() {\n        if a[i] <= b[j] {\n            out.push(a[i]);\n            i += 1;\n        } else {\n            out.push(b[j]);\n            j += 1;\n        }\n    }\n    out.extend_from_slice(&a[i..]);\n    out.extend_from_slice(&b[j..]);\n    out\n}\n```\n\n\
It takes linear time, and equal elements keep their order.";

fn stats() -> AnswerStats {
    AnswerStats {
        ttft_ms: Some(312.0),
        tokens: 187,
        tokens_per_s: Some(17.4),
        passes: 36,
        accepted_per_pass: Some(5.2),
        ..AnswerStats::default()
    }
}

fn asked() -> App {
    let mut app = app();
    app.engine(EngineEvent::Ready, 0);
    app.set_snapshot(streamed());
    type_text(
        &mut app,
        "Write a Rust function that merges two sorted slices.",
    );
    press(&mut app, KeyCode::Enter);
    app
}

fn answered() -> App {
    let mut app = asked();
    app.engine(EngineEvent::Text(ANSWER.into()), 0);
    app.engine(EngineEvent::Done(Box::new(stats())), 0);
    let mut snapshot = streamed();
    snapshot.phase = Phase::Idle;
    app.set_snapshot(snapshot);
    app
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
            EngineEvent::Notice("no draft: it is not here yet".into()),
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
        app.engine(EngineEvent::Text(ANSWER[..260].into()), 0);
        app
    });
}

#[test]
fn answer_done() {
    check("answered", answered);
}

#[test]
fn resident_model() {
    check("resident", || {
        let mut app = asked();
        let mut snapshot = streamed();
        snapshot.engine.form = "resident";
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
            EngineEvent::Fatal(
                "The draft model draft.gguf is truncated: it ends at 81 MB of 491 MB. \
                 Fetch it again with `nmos models pull`."
                    .into(),
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

#[test]
fn typing_is_told_to_the_session_in_order() {
    let mut app = app();
    type_text(&mut app, "ab");
    key(&mut app, KeyCode::Left, KeyModifiers::NONE);
    app.input(&Event::Paste("x\r\ny".into()), 5);
    press(&mut app, KeyCode::Backspace);
    key(&mut app, KeyCode::Char('j'), KeyModifiers::CONTROL);
    press(&mut app, KeyCode::Enter);
    let insert = |text: &str, paste| Edit::Insert {
        text: text.into(),
        paste,
    };
    let wanted = [
        insert("a", false),
        insert("b", false),
        Edit::Cursor { pos: 1 },
        insert("x\ny", true),
        Edit::Backspace,
        insert("\n", false),
        Edit::Enter,
    ];
    assert_eq!(edits(&mut app), wanted);
    assert!(app.busy && app.prompt.is_blank());
}

#[test]
fn a_prompt_that_fails_comes_back_and_can_be_sent_again() {
    let mut app = asked();
    app.take_effects();
    app.engine(EngineEvent::Error("cannot read model.gguf".into()), 9);
    assert!(!app.busy);
    assert_eq!(
        app.prompt.text(),
        "Write a Rust function that merges two sorted slices."
    );
    // The session hears of the restored text, so that Enter sends it.
    assert_eq!(edits(&mut app).len(), 1);
    assert!(text(&render(&mut app, 80, 24)).contains("cannot read model.gguf"));
    press(&mut app, KeyCode::Enter);
    assert_eq!(edits(&mut app), [Edit::Enter]);
}

#[test]
fn escape_stops_and_keeps_the_text() {
    let mut app = asked();
    app.engine(EngineEvent::Text("partial".into()), 0);
    app.take_effects();
    press(&mut app, KeyCode::Esc);
    let effects = app.take_effects();
    assert!(
        matches!(effects[..], [Effect::Send(Intent::Stop)]),
        "{effects:?}"
    );
    let stats = AnswerStats {
        end: AnswerEnd::Stopped,
        ..stats()
    };
    app.engine(EngineEvent::Done(Box::new(stats)), 0);
    let screen = text(&render(&mut app, 80, 24));
    assert!(
        screen.contains("partial") && screen.contains("stopped"),
        "{screen}"
    );
}

#[test]
fn enter_while_an_answer_is_under_way_keeps_the_prompt() {
    let mut app = asked();
    type_text(&mut app, "next");
    app.take_effects();
    press(&mut app, KeyCode::Enter);
    assert!(edits(&mut app).is_empty());
    assert_eq!(app.prompt.text(), "next");
    assert!(text(&render(&mut app, 80, 24)).contains("Esc stops it"));
}

fn click(app: &mut App, column: u16, row: u16) {
    let kind = MouseEventKind::Down(MouseButton::Left);
    let modifiers = KeyModifiers::NONE;
    let event = MouseEvent {
        kind,
        column,
        row,
        modifiers,
    };
    app.input(&Event::Mouse(event), 0);
}

#[test]
fn a_click_moves_the_cursor_and_takes_the_keyboard_from_nobody() {
    let mut app = app();
    type_text(&mut app, "hello");
    render(&mut app, 80, 24);
    app.take_effects();
    click(&mut app, 3, 20);
    assert_eq!(edits(&mut app), [Edit::Cursor { pos: 2 }]);
    // Letters that are commands in a pane.
    click(&mut app, 5, 5);
    type_text(&mut app, "zq");
    assert_eq!(app.prompt.text(), "hezqllo");
    // A title zooms its pane and back, and typing goes on meanwhile.
    click(&mut app, 5, 1);
    let zoomed = text(&render(&mut app, 80, 24));
    assert!(!zoomed.contains("telemetry"), "{zoomed}");
    type_text(&mut app, "f");
    assert_eq!(app.prompt.text(), "hezqfllo");
    click(&mut app, 5, 1);
    assert!(text(&render(&mut app, 80, 24)).contains("telemetry"));
}

#[test]
fn what_is_no_command_in_a_pane_is_typed() {
    let mut app = app();
    render(&mut app, 80, 24);
    press(&mut app, KeyCode::Tab);
    press(&mut app, KeyCode::Char('z'));
    let screen = text(&render(&mut app, 80, 24));
    assert!(
        screen.contains("unzoom") && !screen.contains("telemetry"),
        "{screen}"
    );
    type_text(&mut app, "Why?");
    assert_eq!(app.prompt.text(), "Why?");
    assert!(text(&render(&mut app, 80, 24)).contains("Enter send"));
}

fn ctrl_c(app: &mut App) -> Vec<Effect> {
    key(app, KeyCode::Char('c'), KeyModifiers::CONTROL);
    app.take_effects()
}

#[test]
fn quitting_asks_first_where_something_would_be_lost() {
    let mut empty = app();
    assert!(matches!(ctrl_c(&mut empty)[..], [Effect::Quit]));

    let mut typed = app();
    type_text(&mut typed, "half a prompt");
    typed.take_effects();
    assert!(ctrl_c(&mut typed).is_empty());
    assert!(text(&render(&mut typed, 80, 24)).contains("Ctrl-C again quits"));
    // Another key calls it off, a paste and a click as well.
    press(&mut typed, KeyCode::Left);
    typed.take_effects();
    assert!(!text(&render(&mut typed, 80, 24)).contains("again quits"));
    assert!(ctrl_c(&mut typed).is_empty());
    typed.input(&Event::Paste("x".into()), 0);
    typed.take_effects();
    assert!(ctrl_c(&mut typed).is_empty());
    click(&mut typed, 5, 5);
    assert!(ctrl_c(&mut typed).is_empty());
    assert!(matches!(ctrl_c(&mut typed)[..], [Effect::Quit]));

    // In a pane too, by its own key, and either key answers the other.
    let mut pane = answered();
    render(&mut pane, 80, 24);
    press(&mut pane, KeyCode::Tab);
    pane.take_effects();
    press(&mut pane, KeyCode::Char('q'));
    assert!(pane.take_effects().is_empty());
    assert!(text(&render(&mut pane, 80, 24)).contains("q again quits"));
    assert!(matches!(ctrl_c(&mut pane)[..], [Effect::Quit]));

    // Where nothing can go on, once is enough.
    let mut dead = asked();
    dead.engine(EngineEvent::Fatal("gone".into()), 0);
    dead.take_effects();
    assert!(matches!(ctrl_c(&mut dead)[..], [Effect::Quit]));
}

#[test]
fn ctrl_c_stops_an_answer_and_a_second_quits_without_waiting() {
    let mut app = asked();
    app.engine(EngineEvent::Text("partial".into()), 0);
    app.take_effects();
    let effects = ctrl_c(&mut app);
    assert!(
        matches!(effects[..], [Effect::Send(Intent::Stop)]),
        "{effects:?}"
    );
    assert!(text(&render(&mut app, 80, 24)).contains("stopping"));
    assert!(matches!(ctrl_c(&mut app)[..], [Effect::Quit]));

    // The remark outlives the answer as long as it holds.
    let mut app = asked();
    app.take_effects();
    ctrl_c(&mut app);
    app.engine(EngineEvent::Done(Box::new(stats())), 0);
    let screen = text(&render(&mut app, 80, 24));
    assert!(
        screen.contains("Ctrl-C again quits") && !screen.contains("stopping"),
        "{screen}"
    );
}

#[test]
fn a_new_conversation_asks_first_where_there_is_one() {
    let mut app = answered();
    app.take_effects();
    press(&mut app, KeyCode::F(5));
    assert!(app.take_effects().is_empty());
    let screen = text(&render(&mut app, 80, 24));
    assert!(screen.contains("F5 again begins a new"), "{screen}");
    press(&mut app, KeyCode::Left);
    press(&mut app, KeyCode::F(5));
    assert!(app.take_effects().is_empty());
    press(&mut app, KeyCode::F(5));
    let effects = app.take_effects();
    assert!(
        matches!(effects[..], [Effect::Send(Intent::NewConversation)]),
        "{effects:?}"
    );
    // There is nothing more to forget.
    press(&mut app, KeyCode::F(5));
    press(&mut app, KeyCode::F(5));
    assert!(app.take_effects().is_empty());
}

#[test]
fn the_cursor_leaves_a_wrapped_prompt_only_at_its_edges() {
    let mut app = answered();
    let long = "a prompt that is longer than the pane is wide ".repeat(3);
    type_text(&mut app, long.trim_end());
    render(&mut app, 80, 24);
    press(&mut app, KeyCode::Up);
    assert_eq!(app.prompt.text(), long.trim_end(), "a row up");
    press(&mut app, KeyCode::Up);
    assert!(app.prompt.text().starts_with("Write a Rust function"));
    let ctrl_n = (KeyCode::Char('n'), KeyModifiers::CONTROL);
    key(&mut app, ctrl_n.0, ctrl_n.1);
    assert_eq!(app.prompt.text(), long.trim_end(), "and back");
}

#[test]
fn a_replay_types_through_the_prompt_and_holds_the_keyboard_off() {
    let event = |t_us, edit| TypingEvent { t_us, edit };
    let insert = |text: &str| Edit::Insert {
        text: text.into(),
        paste: false,
    };
    let mut app = app();
    let prompt = vec![
        event(0, insert("h")),
        event(1_000, insert("i")),
        event(2_000, Edit::Enter),
    ];
    app.set_replay(Player::new(vec![prompt], 2.0).unwrap());
    assert!(!app.tick(0), "waits for the models");
    app.engine(EngineEvent::Ready, 0);
    assert!(app.tick(100));
    assert_eq!(app.wake_us(), Some(600));
    type_text(&mut app, "no");
    assert_eq!(app.prompt.text(), "h");
    app.tick(1_100);
    assert!(app.busy);
    let sent = edits(&mut app);
    assert_eq!(sent, [insert("h"), insert("i"), Edit::Enter]);
    assert!(text(&render(&mut app, 120, 40)).contains("REPLAY 2x done"));
}
