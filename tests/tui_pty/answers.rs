//! Answers: asked for, read, stopped; and sessions that end by the user's keys.

use crate::Test;
use crate::pty::size;
use crate::terminal::{quits_at_the_second_key, workbench};

pub const TESTS: &[Test] = &[
    ("types_answers_and_quits_at_80x24", || {
        answers_and_quits(80, 24);
    }),
    ("types_answers_and_quits_at_200x60", || {
        answers_and_quits(200, 60);
    }),
    ("escape_stops_the_answer_and_keeps_its_text", escape_stops),
    (
        "ctrl_c_stops_the_answer_and_asks_before_it_quits",
        ctrl_c_stops,
    ),
    ("an_empty_session_ends_at_once", quits_empty),
    ("a_resize_lays_out_again", resize),
];

fn answers_and_quits(width: u16, height: u16) {
    let mut terminal = workbench(width, height);
    terminal.write("say something");
    terminal.wait_for("say something");
    terminal.write("\r");
    terminal.wait_for("The answer has begun.");
    terminal.wait_for("2 tokens");
    for pane in ["conversation", "shards", "cadence", "scout"] {
        assert!(terminal.shows(pane), "{pane}:\n{}", terminal.screen());
    }
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn escape_stops() {
    let mut terminal = workbench(80, 24);
    terminal.write("long please\r");
    terminal.wait_for("The answer has begun.");
    assert!(!terminal.shows("2 tokens"), "the answer is still open");
    terminal.write("\x1b");
    terminal.wait_for("stopped");
    assert!(terminal.shows("The answer has begun."), "its text is kept");
    terminal.write("again\r");
    terminal.wait("a second answer", |t| {
        t.screen().matches("The answer has begun.").count() == 2
    });
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn ctrl_c_stops() {
    let mut terminal = workbench(80, 24);
    terminal.write("long please\r");
    terminal.wait_for("The answer has begun.");
    terminal.write("\x03");
    terminal.wait_for("stopped");
    assert!(terminal.shows("The answer has begun."), "its text is kept");
    terminal.write("more");
    terminal.wait_for("more");
    terminal.write("\x15");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn quits_empty() {
    let mut terminal = workbench(80, 24);
    terminal.write("\x03");
    assert!(terminal.ends("ended: ok"));
}

fn resize() {
    let mut terminal = workbench(80, 24);
    terminal.write("kept");
    terminal.wait_for("kept");
    for (width, height, wanted) in [
        (120, 40, "KV pages"),
        (50, 12, "NMOS needs 60 x 18."),
        (200, 60, "memory"),
    ] {
        let (rows, columns) = (height.try_into().unwrap(), width.try_into().unwrap());
        terminal.parser.screen_mut().set_size(rows, columns);
        terminal.master.resize(size(width, height)).unwrap();
        terminal.wait_for(wanted);
    }
    terminal.wait_for("kept");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}
