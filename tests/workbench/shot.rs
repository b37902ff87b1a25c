//! Pictures of a session, taken by typing into it.

use nmos::oracle::OracleError;
use nmos::session::{EngineHandle, Event, Intent, RequestError, RequestEvent};
use nmos::telemetry::AnswerStats;
use nmos::tui::shot::{Pace, Shot, ShotOptions, capture, to_svg};
use nmos::tui::{ColorDepth, DEFAULT_THEME, ThemeLoader};
use nmos::typing::{Edit, MonotonicClock};
use ratatui::layout::Size;
use std::sync::Arc;
use std::time::Duration;

/// A session that answers `reply` to whatever is sent.
fn session(reply: RequestEvent) -> EngineHandle {
    EngineHandle::start(Arc::new(MonotonicClock::new()), move |end| {
        let clients = &end.clients;
        clients.tell_all(Event::Ready);
        for stamped in &end.intents {
            match stamped.intent {
                Intent::Typing(event) if event.edit == Edit::Enter => {
                    let (client, id) = (stamped.client, clients.next_request());
                    clients.tell(client, id, RequestEvent::Text("word ".repeat(40)));
                    clients.tell(client, id, reply.clone());
                }
                Intent::Shutdown => return,
                _ => {}
            }
        }
    })
}

fn shots(reply: RequestEvent, prompt: &str) -> anyhow::Result<Vec<Shot>> {
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
    let shots = capture(&handle.connect(), options);
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
    let shots = shots(RequestEvent::Done(Box::new(stats)), "two\nlines").unwrap();
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
    let no_weights = OracleError::Graph("no weights".into());
    let failed = RequestEvent::Failed(RequestError::Pass(Arc::new(no_weights)));
    let error = shots(failed.clone(), "x").err().unwrap();
    assert!(error.to_string().contains("no weights"), "{error}");
    assert!(shots(failed, "  ").is_err(), "nothing to send");
}
