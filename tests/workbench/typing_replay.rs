//! Replays and rhythm on a virtual clock.

use nmos::typing::{Cadence, Clock, Composer, Edit, Replay, Trace, TypingEvent, VirtualClock};
use std::path::Path;

fn trace(name: &str) -> Trace {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces");
    Trace::load(&dir.join(format!("{name}.jsonl"))).unwrap()
}

fn typed(t_us: u64, text: &str) -> TypingEvent {
    let edit = Edit::Insert {
        text: text.into(),
        paste: false,
    };
    TypingEvent { t_us, edit }
}

/// Plays on a virtual clock that ticks by `tick_us`; events with the time they came at.
fn play(events: &[TypingEvent], speed: f64, tick_us: u64) -> Vec<(u64, TypingEvent)> {
    let clock = VirtualClock::new();
    let mut replay = Replay::new(events.to_vec(), speed).unwrap();
    let mut seen = Vec::new();
    while replay.next_due_us().is_some() {
        while let Some(event) = replay.pop_due(clock.now_us()) {
            seen.push((clock.now_us(), event));
        }
        clock.advance(tick_us);
    }
    seen
}

#[test]
fn a_replay_is_the_same_whatever_the_clock_ticks() {
    let trace = trace("ca-w29-641b8258-8");
    let fine: Vec<_> = play(trace.events(), 1.0, 1_000);
    let coarse: Vec<_> = play(trace.events(), 1.0, 700_000);
    let events = |seen: &[(u64, TypingEvent)]| -> Vec<TypingEvent> {
        seen.iter().map(|(_, e)| e.clone()).collect()
    };
    assert_eq!(events(&fine), trace.events());
    assert_eq!(events(&coarse), trace.events());
    for (came, event) in &fine {
        assert!(
            *came >= event.t_us && came - event.t_us < 1_000,
            "never early"
        );
    }
}

#[test]
fn speed_divides_the_times() {
    let events = [typed(0, "a"), typed(100, "b"), typed(301, "c")];
    let mut replay = Replay::new(events.to_vec(), 2.0).unwrap();
    assert_eq!(replay.pop_due(0).unwrap().t_us, 0);
    assert_eq!(replay.next_due_us(), Some(50));
    assert_eq!(replay.pop_due(49), None);
    assert_eq!(replay.pop_due(50).unwrap().t_us, 50);
    assert_eq!(replay.next_due_us(), Some(151));
    assert_eq!(replay.pop_due(u64::MAX).unwrap().t_us, 151);
    assert_eq!(replay.next_due_us(), None);
    assert_eq!(replay.pop_due(u64::MAX), None);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Replay::new(Vec::new(), bad).unwrap_err();
        assert!(error.to_string().contains("speed"), "{error}");
    }
}

/// A typist, a text and a virtual clock.
#[derive(Default)]
struct Desk {
    clock: VirtualClock,
    composer: Composer,
    cadence: Cadence,
}

impl Desk {
    fn edit(&mut self, after_ms: u64, edit: Edit) {
        self.clock.advance(after_ms * 1_000);
        self.composer.apply(&edit).unwrap();
        let now = self.clock.now_us();
        self.cadence.observe(&edit, now, &self.composer);
    }

    fn keys(&mut self, gap_ms: u64, text: &str) {
        for c in text.chars() {
            let edit = typed(0, &c.to_string()).edit;
            self.edit(gap_ms, edit);
        }
    }

    fn pauses_after(&self, ms: u64) -> bool {
        self.cadence.is_pause(self.clock.now_us() + ms * 1_000)
    }
}

#[test]
fn gaps_corrections_and_pauses_are_counted() {
    let mut desk = Desk::default();
    assert_eq!(desk.cadence.view(0).pause_ms, None);
    assert_eq!(desk.cadence.view(0).predicted_submit, None);
    desk.keys(100, "Hello ther");
    desk.edit(300, Edit::Backspace);
    let view = desk.cadence.view(desk.clock.now_us() + 2_000);
    assert_eq!(view.gaps_ms.len(), 10, "the first key has no gap");
    assert_eq!(view.median_gap_ms, Some(100.0));
    assert_eq!((view.keys, view.backspaces, view.pastes), (11, 1, 0));
    assert_eq!(view.pause_ms, Some(2.0));

    // A move of the cursor ends a pause and makes no gap, before it or after.
    desk.edit(5_000, Edit::Cursor { pos: 0 });
    desk.keys(5_000, "x");
    let view = desk.cadence.view(desk.clock.now_us());
    assert_eq!(view.gaps_ms.len(), 10);
    assert_eq!(view.pause_ms, Some(0.0));

    // The rhythm outlives the prompt, the counts do not.
    desk.edit(100, Edit::Enter);
    let view = desk.cadence.view(desk.clock.now_us());
    assert_eq!((view.keys, view.backspaces, view.pause_ms), (0, 0, None));
    assert_eq!(view.median_gap_ms, Some(100.0));
    assert_eq!(view.predicted_submit, None);
}

#[test]
fn history_is_bounded() {
    let mut desk = Desk::default();
    desk.keys(50, &"a".repeat(100));
    desk.keys(90, &"b".repeat(64));
    let view = desk.cadence.view(0);
    assert_eq!(view.gaps_ms.len(), nmos::telemetry::HISTORY);
    assert!(view.gaps_ms.iter().all(|&g| g == 90.0));
}

#[test]
fn pastes_are_seen_with_or_without_their_flag() {
    let paste = Edit::Insert {
        text: "a long passage".into(),
        paste: true,
    };
    let mut flagged = Desk::default();
    flagged.keys(120, "So ");
    flagged.edit(900, paste);
    flagged.keys(900, "?");
    let view = flagged.cadence.view(0);
    assert_eq!((view.pastes, view.keys), (1, 4));
    assert_eq!(
        Vec::from(view.gaps_ms),
        [120.0, 120.0],
        "none next to a paste"
    );

    let mut by_key = Desk::default();
    by_key.keys(120, "So ");
    by_key.edit(900, typed(0, "p").edit);
    by_key.keys(2, "asted text");
    let view = by_key.cadence.view(0);
    assert_eq!((view.pastes, view.keys), (1, 3));
    assert_eq!(
        Vec::from(view.gaps_ms),
        [120.0, 120.0],
        "none of it is rhythm"
    );
    by_key.keys(120, "ok");
    assert_eq!(by_key.cadence.view(0).pastes, 1);

    let mut fast = Desk::default();
    fast.keys(9, "not pasted");
    assert_eq!(fast.cadence.view(0).pastes, 0);
    fast.keys(2, "shor");
    assert_eq!(
        fast.cadence.view(0).pastes,
        0,
        "five characters are no paste"
    );
}

#[test]
fn a_pause_is_relative_to_the_typist_and_the_place() {
    let typist = |gap_ms, text: &str| {
        let mut desk = Desk::default();
        desk.keys(gap_ms, "some words before ");
        desk.keys(gap_ms, text);
        desk
    };
    let fast = typist(100, "it ends.");
    assert!(!fast.pauses_after(190) && fast.pauses_after(200));
    let fast = typist(100, "it ends ");
    assert!(!fast.pauses_after(390) && fast.pauses_after(400));
    let fast = typist(100, "it en");
    assert!(!fast.pauses_after(590) && fast.pauses_after(600));
    let slow = typist(240, "it ends.");
    assert!(!slow.pauses_after(470) && slow.pauses_after(480));
    let slowest = typist(2_000, "it en");
    assert!(slowest.pauses_after(1_500), "an upper bound for anybody");
    let fastest = typist(20, "it ends.");
    assert!(!fastest.pauses_after(140), "a lower bound for anybody");
}

#[test]
fn enter_is_likelier_after_a_sentence_than_inside_a_word() {
    let mut desk = Desk::default();
    desk.keys(120, "Why is the sky blu");
    let inside = desk.cadence.view(desk.clock.now_us() + 300_000);
    desk.keys(120, "e?");
    let after = desk.cadence.view(desk.clock.now_us() + 300_000);
    let later = desk.cadence.view(desk.clock.now_us() + 9_000_000);
    let [inside, after, later] = [inside, after, later].map(|v| v.predicted_submit.unwrap());
    assert!(after > 5.0 * inside, "{after} {inside}");
    assert!(after > 5.0 * later, "someone who waits has gone to think");
    desk.edit(100, Edit::Backspace);
    let corrected = desk.cadence.view(desk.clock.now_us() + 300_000);
    assert!(corrected.predicted_submit.unwrap() < after);
}
