//! Keys as they come from a terminal: in bursts, in pieces, as pastes.

use crate::Test;
use crate::terminal::{quits_at_the_second_key, workbench};

pub const TESTS: &[Test] = &[
    ("a_burst_of_keys_is_read_to_its_end", burst),
    ("a_long_burst_is_read_to_its_end", long_burst),
    ("a_sequence_in_pieces_is_one_key", pieces),
    ("an_open_paste_hears_ctrl_c_and_ends", open_paste),
];

fn burst() {
    let mut terminal = workbench(120, 40);
    // As a paste by a terminal that does not mark it.
    terminal.write(&format!("{}\r", "a word ".repeat(430)));
    terminal.wait_for("3010 characters.");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn long_burst() {
    let mut terminal = workbench(120, 40);
    let text = "ünïcödé 🦀 ".repeat(10_000);
    terminal.write(&format!("{text}\r"));
    terminal.wait_for("100000 characters.");
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn pieces() {
    let mut terminal = workbench(80, 24);
    terminal.write("ac");
    terminal.wait_for("ac");
    // Its beginning shows nothing, and is read by itself where the reader is quick.
    for piece in ["\x1b[", "D"] {
        terminal.write(piece);
    }
    terminal.write("b");
    terminal.wait_for("abc");
    for piece in ["\x1b[2", "00~", " one\rtwo", "\x1b[20", "1~", "."] {
        terminal.write(piece);
    }
    terminal.wait("both lines", |t| t.shows("ab one") && t.shows("two.c"));
    quits_at_the_second_key(&mut terminal);
    assert!(terminal.ends("ended: ok"));
}

fn open_paste() {
    let mut terminal = workbench(80, 24);
    terminal.write("\x1b[200~left open");
    terminal.wait_for("left open");
    terminal.write("\x1b[200~and again\x03");
    terminal.wait_for("Ctrl-C again quits");
    assert!(terminal.shows("left openand again"));
    terminal.write("\x1b[200~\x03");
    assert!(terminal.ends("ended: ok"));
}
