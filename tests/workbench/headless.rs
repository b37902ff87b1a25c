//! A workbench without a terminal: pressed keys in, screens out, and hand-made snapshots to draw.

use nmos::oracle::OpenError;
use nmos::session::{Clients, Event as EngineEvent, RequestEvent, SessionError};
use nmos::speculate::{LookupDrafter, ModelDrafter};
use nmos::telemetry::*;
use nmos::tui::app::App;
use nmos::tui::{ColorDepth, Keymap, ThemeLoader, view};
use nmos::units::Bytes;
use nmos::vocabulary::{OracleForm, ShardPart};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use std::sync::Arc;

pub fn loader() -> ThemeLoader {
    ThemeLoader {
        dir: None,
        depth: ColorDepth::TrueColor,
        ascii: false,
    }
}

pub fn app() -> App {
    App::new(Keymap::default(), loader(), "nmos-dark").unwrap()
}

pub fn key(app: &mut App, code: KeyCode, modifiers: KeyModifiers) {
    app.input(&Event::Key(KeyEvent::new(code, modifiers)), 0);
}

pub fn press(app: &mut App, code: KeyCode) {
    key(app, code, KeyModifiers::NONE);
}

pub fn type_text(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, KeyCode::Char(c));
    }
}

pub fn render(app: &mut App, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view::draw(&mut buffer, area, app);
    buffer
}

pub fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut out = String::new();
    for y in area.top()..area.bottom() {
        let mut row = String::new();
        let mut x = area.left();
        while x < area.right() {
            let symbol = buffer[(x, y)].symbol();
            row.push_str(symbol);
            x += unicode_width::UnicodeWidthStr::width(symbol).max(1) as u16;
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

/// Passes over a bush of guesses: the draft model's best three at each depth, and a chain that
/// was looked up.
pub fn speculation() -> SpeculationView {
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
pub fn streamed() -> Snapshot {
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
            form: Some(OracleForm::Streamed),
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
        experts: ExpertsView::default(),
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
            ..AcceptView::default()
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

/// A mixture of so many layers and experts, in whose memory half of them fit, in an answer.
pub fn mixture(layers: u32, experts: u32) -> Snapshot {
    let mut snapshot = streamed();
    snapshot.engine.oracle = "Qwen3-30B-A3B".into();
    snapshot.engine.form = Some(OracleForm::Hooked);
    snapshot.engine.draft = None;
    snapshot.memory.budget = Bytes::mib(10_240);
    snapshot.memory.rss = Bytes::mib(9_830);
    snapshot.memory.rss_peak = Bytes::mib(9_902);
    snapshot.memory.owners = vec![
        ("program, vocabulary, draft", Bytes::mib(140)),
        ("weights that stay", Bytes::mib(980)),
        ("experts", Bytes::mib(8_192)),
        ("context", Bytes::mib(720)),
    ];
    snapshot.kv = KvView::default();
    snapshot.shards = (0..layers)
        .map(|layer| ShardView {
            layer: Some(layer),
            part: ShardPart::Whole,
            bytes: Bytes::mib(14),
            residency: Residency::Ram,
            pinned: true,
            in_use: layer == 9,
        })
        .collect();
    // Without a pattern.
    let mixed = |layer: u32, expert: u32| {
        let x = (layer * 1009 + expert).wrapping_mul(0x9E37_79B1);
        (x ^ x >> 15).wrapping_mul(0x85EB_CA77) >> 16
    };
    let state = |layer, expert| match mixed(layer, expert) % 32 {
        0 => ExpertState::Hit,
        1 => ExpertState::Missed,
        of if of % 2 == 0 => ExpertState::Here,
        _ => ExpertState::Absent,
    };
    let row = |layer| ExpertRow {
        layer,
        experts: (0..experts).map(|expert| state(layer, expert)).collect(),
    };
    let tally = |tokens, hits, simulated_lru_hits| ExpertTally {
        tokens,
        hits,
        misses: tokens * 384 - hits,
        bytes: (tokens * 384 - hits) * 2_300_000,
        simulated_lru_hits,
    };
    snapshot.queue = QueueView::default();
    snapshot.experts = ExpertsView {
        rows: (0..layers).map(row).collect(),
        budget: Bytes::mib(8192),
        held: Bytes::mib(8188),
        all: Bytes::mib(16_384),
        recent: (0..40)
            .map(|i| tally(1, [60, 140, 220, 250, 218, 310, 280][i % 7], 160))
            .collect(),
        answer: Some(tally(100, 21_888, 16_128)),
        total: tally(340, 60_000, 50_000),
        predicted_hit_rate: 0.75,
        predicted_token_bytes: Bytes::mib(210),
    };
    snapshot
}

pub const ANSWER: &str = "Merging walks both slices with one index each and takes the smaller head:\n\n\
```rust\nfn merge(a: &[i32], b: &[i32]) -> Vec<i32> {\n    let (mut i, mut j) = (0, 0);\n    let mut out = Vec::with_capacity(a.len() + b.len());\n    while i < a.len() && j < b.len() {\n        if a[i] <= b[j] {\n            out.push(a[i]);\n            i += 1;\n        } else {\n            out.push(b[j]);\n            j += 1;\n        }\n    }\n    out.extend_from_slice(&a[i..]);\n    out.extend_from_slice(&b[j..]);\n    out\n}\n```\n\n\
It takes linear time, and equal elements keep their order.";

pub fn stats() -> AnswerStats {
    AnswerStats {
        ttft_ms: Some(312.0),
        tokens: 187,
        tokens_per_s: Some(17.4),
        passes: 36,
        accepted_per_pass: Some(5.2),
        ..AnswerStats::default()
    }
}

/// The engine cannot go on.
pub fn fatal(why: &'static str) -> EngineEvent {
    EngineEvent::Fatal(Arc::new(SessionError::Load(
        OpenError::Io(std::io::Error::other(why)).into(),
    )))
}

/// What became of the prompt that was sent.
pub fn of(event: RequestEvent) -> EngineEvent {
    EngineEvent::Request(Clients::default().next_request(), event)
}

pub fn asked() -> App {
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

pub fn answered() -> App {
    let mut app = asked();
    app.engine(of(RequestEvent::Text(ANSWER.into())), 0);
    app.engine(of(RequestEvent::Done(Box::new(stats()))), 0);
    let mut snapshot = streamed();
    snapshot.phase = Phase::Idle;
    app.set_snapshot(snapshot);
    app
}
