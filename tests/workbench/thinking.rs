//! Thoughts on the screen: folded, with their length, and shown by a key.

use crate::headless::{asked, of, press, render, stats, streamed, text};
use crate::pty::Terminal;
use crate::scripted_model::{Scripted, USER_DEFINED};
use nmos::session::RequestEvent;
use nmos::telemetry::{AnswerStats, Phase};
use nmos::tui::app::App;
use portable_pty::CommandBuilder;
use ratatui::crossterm::event::KeyCode;

const THOUGHT: &str = "The user wants a function that merges two slices which are sorted already.\n\n\
One index each will do. Which of two equal elements comes first? The first slice's, so that the \
order is kept.\n";

fn thinks(app: &mut App) {
    let thought = RequestEvent::Thought {
        text: THOUGHT.into(),
        tokens: 41,
    };
    app.engine(of(thought), 0);
    let mut snapshot = streamed();
    snapshot.accept.thinking_tokens = 41;
    snapshot.accept.is_thinking = true;
    app.set_snapshot(snapshot);
}

fn answers(app: &mut App) {
    app.engine(of(RequestEvent::Text("It walks both slices.".into())), 0);
    let stats = AnswerStats {
        thinking_tokens: 41,
        first_answer_ms: Some(3100.0),
        think_cut: Some(41),
        ..stats()
    };
    app.engine(of(RequestEvent::Done(Box::new(stats))), 0);
    let mut snapshot = streamed();
    snapshot.phase = Phase::Idle;
    snapshot.accept.thinking_tokens = 41;
    snapshot.accept.first_answer_ms = Some(3100.0);
    app.set_snapshot(snapshot);
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    // The first frame tells the layout; a settled screen is the second.
    render(app, width, height);
    text(&render(app, width, height))
}

#[test]
fn thoughts_under_way_are_a_line() {
    let mut app = asked();
    thinks(&mut app);
    insta::assert_snapshot!("thinking_80x24", screen(&mut app, 80, 24));
    insta::assert_snapshot!("thinking_120x40", screen(&mut app, 120, 40));
}

#[test]
fn a_key_shows_thoughts_and_folds_them_again() {
    let mut app = asked();
    thinks(&mut app);
    answers(&mut app);
    let folded = screen(&mut app, 120, 40);
    insta::assert_snapshot!("thought_120x40", folded);
    press(&mut app, KeyCode::F(6));
    insta::assert_snapshot!("thought_shown_120x40", screen(&mut app, 120, 40));
    press(&mut app, KeyCode::F(6));
    assert_eq!(screen(&mut app, 120, 40), folded);
}

#[test]
fn in_a_terminal_a_models_thought_is_folded_until_it_is_asked_for() {
    let model = Scripted {
        says: &[
            ":", "<think>", "h", "m", "!", "</think>", "<0x0A>", "Y", "e", "s", ".", "</s>",
        ],
        more: &[("<think>", USER_DEFINED), ("</think>", USER_DEFINED)],
        template: Some("{% for m in messages %}{{ m.content.split('</think>')[-1] }}:{% endfor %}"),
        ..Scripted::default()
    }
    .write();
    let home = tempfile::tempdir().unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_nmos"));
    command.args([
        "--draft", "none", "--vram", "none", "--ram", "400MiB", "--ctx", "512",
    ]);
    command.args(["--oracle", model.path().to_str().unwrap()]);
    for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home.path());
    }
    let mut terminal = Terminal::run(command, 100, 30);
    terminal.wait_for_workbench();
    terminal.write("hi\r");
    terminal.wait("the answer", |t| {
        t.shows("Yes.") && t.shows("thought, 3 tokens")
    });
    assert!(!terminal.shows("hm!"), "{}", terminal.screen());
    terminal.write("\x1b[17~");
    terminal.wait("the thought", |t| t.shows("hm!"));
    terminal.write("\x1b[17~");
    terminal.wait("no thought", |t| !t.shows("hm!"));
    terminal.write("\x03\x03");
    terminal.wait("the end", |t| t.child.try_wait().unwrap().is_some());
    terminal.wait("the terminal as it was", |t| {
        !t.parser.screen().alternate_screen()
    });
    terminal.is_restored();
}
