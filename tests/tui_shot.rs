//! Pictures of a session, taken by typing into it.
#![allow(clippy::unwrap_used)]

use crossbeam_channel::unbounded;
use nmos::session::{EngineHandle, Event, Intent, IntentSender};
use nmos::telemetry::{AnswerStats, Hub};
use nmos::tui::shot::{Pace, Shot, ShotOptions, capture, to_svg};
use nmos::tui::{ColorDepth, DEFAULT_THEME, ThemeLoader};
use nmos::typing::{Edit, MonotonicClock};
use ratatui::layout::Size;
use std::sync::Arc;
use std::time::Duration;

/// A session that answers `reply` to whatever is sent.
fn session(reply: Event) -> EngineHandle {
    let (intents, heard) = IntentSender::new(Arc::new(MonotonicClock::new()));
    let (say, events) = unbounded();
    let thread = std::thread::spawn(move || {
        say.send(Event::Ready).unwrap();
        for (_, intent) in heard {
            match intent {
                Intent::Typing(event) if event.edit == Edit::Enter => {
                    say.send(Event::Text("word ".repeat(40))).unwrap();
                    say.send(reply.clone()).unwrap();
                }
                Intent::Shutdown => return,
                _ => {}
            }
        }
    });
    EngineHandle {
        intents,
        events,
        hub: Hub::new(),
        thread: Some(thread),
    }
}

fn shots(reply: Event, prompt: &str) -> anyhow::Result<Vec<Shot>> {
    let handle = session(reply);
    let options = ShotOptions {
        size: Size::new(120, 40),
        theme: DEFAULT_THEME.into(),
        themes: ThemeLoader {
            depth: ColorDepth::TrueColor,
            ..ThemeLoader::default()
        },
        prompt: prompt.into(),
        pace: Pace {
            key_gap: Duration::ZERO,
            settle: Duration::ZERO,
        },
    };
    let shots = capture(&handle, options);
    handle.shutdown();
    shots
}

fn text(shot: &Shot) -> String {
    shot.buffer.content.iter().map(|c| c.symbol()).collect()
}

#[test]
fn the_four_moments_show_what_happened() {
    let stats = AnswerStats {
        tokens: 40,
        ..AnswerStats::default()
    };
    let shots = shots(Event::Done(Box::new(stats)), "two\nlines").unwrap();
    let moments: Vec<_> = shots.iter().map(|s| s.moment).collect();
    assert_eq!(moments, ["typing", "answering", "answer", "help"]);
    let [typing, answering, answer, help] = &shots[..] else {
        panic!("four")
    };
    assert!(text(typing).contains("lines") && !text(typing).contains("word"));
    assert!(text(answering).contains("word") && !text(answering).contains("40 tokens"));
    assert!(text(answer).contains("40 tokens"));
    assert!(text(help).contains("Anywhere"));
    let svg = to_svg(&answer.buffer, answer.defaults);
    assert!(svg.starts_with("<svg") && svg.contains("word"));
}

#[test]
fn a_session_that_fails_fails_the_pictures() {
    let error = shots(Event::Error("no weights".into()), "x").err().unwrap();
    assert_eq!(error.to_string(), "no weights");
    assert!(shots(Event::Ready, "  ").is_err(), "nothing to send");
}
