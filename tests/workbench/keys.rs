//! What keys, clicks, replays and the engine do to the workbench, and what the session hears.

use crate::headless::{
    answered, app, asked, fatal, key, of, press, render, stats, text, type_text,
};
use nmos::model::TextError;
use nmos::session::{Event as EngineEvent, Intent, RequestError, RequestEvent};
use nmos::telemetry::{AnswerEnd, AnswerStats};
use nmos::tui::Player;
use nmos::tui::app::{App, Effect};
use nmos::typing::{Edit, TypingEvent};
use ratatui::crossterm::event::{
    Event, KeyCode, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

fn edits(app: &mut App) -> Vec<Edit> {
    app.take_effects()
        .into_iter()
        .filter_map(|e| match e {
            Effect::Send(Intent::Typing(event)) => Some(event.edit),
            _ => None,
        })
        .collect()
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
    let error = RequestError::from(TextError::NoToken('é'));
    app.engine(of(RequestEvent::Failed(error)), 9);
    assert!(!app.busy);
    assert_eq!(
        app.prompt.text(),
        "Write a Rust function that merges two sorted slices."
    );
    // The session hears of the restored text, so that Enter sends it.
    assert_eq!(edits(&mut app).len(), 1);
    assert!(text(&render(&mut app, 80, 24)).contains("the model has no token for 'é'"));
    press(&mut app, KeyCode::Enter);
    assert_eq!(edits(&mut app), [Edit::Enter]);
}

#[test]
fn escape_stops_and_keeps_the_text() {
    let mut app = asked();
    app.engine(of(RequestEvent::Text("partial".into())), 0);
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
    app.engine(of(RequestEvent::Done(Box::new(stats))), 0);
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
    dead.engine(fatal("gone"), 0);
    dead.take_effects();
    assert!(matches!(ctrl_c(&mut dead)[..], [Effect::Quit]));
}

#[test]
fn ctrl_c_stops_an_answer_and_a_second_quits_without_waiting() {
    let mut app = asked();
    app.engine(of(RequestEvent::Text("partial".into())), 0);
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
    app.engine(of(RequestEvent::Done(Box::new(stats()))), 0);
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
