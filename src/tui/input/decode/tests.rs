//! The decoder under a clock that the tests move: gaps are arguments.

use super::*;
use crate::tui::chord::Chord;
use proptest::prelude::*;

/// A decoder as a terminal's reader uses it, and what it has told so far, in words.
#[derive(Default)]
struct Typist {
    decoder: Decoder,
    now_us: Micros,
}

impl Typist {
    /// Passes time in which nothing comes: each deadline is met when it is due.
    fn pause(mut self, ms: Micros) -> Self {
        let end = self.now_us + ms * MILLISECOND;
        while let Some(at) = self.decoder.deadline_us().filter(|at| *at <= end) {
            self.decoder.silence(at);
        }
        self.now_us = end;
        self
    }

    fn read(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.decoder.feed(bytes.as_ref(), self.now_us);
        self
    }

    /// Each byte by itself, with the same gap before each but the first.
    fn bytes(mut self, bytes: impl AsRef<[u8]>, gap_ms: Micros) -> Self {
        for (i, byte) in bytes.as_ref().iter().enumerate() {
            self = if i > 0 { self.pause(gap_ms) } else { self };
            self = self.read([*byte]);
        }
        self
    }

    /// What is ready now, without waiting: keys as a configuration file writes them.
    fn told(&mut self) -> Vec<String> {
        self.decoder
            .by_ref()
            .map(|stamped| match stamped.event {
                Event::Key(key) => Chord::from(key).written(),
                Event::Paste(text) => format!("paste {text:?}"),
                Event::Mouse(mouse) => format!("mouse {} {}", mouse.column, mouse.row),
                other => format!("{other:?}").to_lowercase(),
            })
            .collect()
    }

    fn tells(mut self, wanted: &str) -> Self {
        assert_eq!(self.told().join(" "), wanted);
        self
    }
}

fn read(bytes: impl AsRef<[u8]>) -> Typist {
    Typist::default().read(bytes)
}

#[test]
fn keys_come_at_once() {
    let plain = "a shift-b é space 1 enter tab backspace ctrl-c ctrl-j ctrl-_ ctrl-space";
    read("aBé 1\r\t\x7f\x03\n\x1f\0").tells(plain);
    read("\x1b[D\x1b[1;5C\x1b[3~\x1bOP").tells("left ctrl-right delete f1");
    read("\x1b\r\x1bx\x1bé").tells("alt-enter alt-x alt-é");
    read("\x1b[I\x1b[O\x1b[<0;3;4M").tells("focusgained focuslost mouse 2 3");
}

#[test]
fn an_escape_is_a_key_after_a_short_silence() {
    let typist = read("\x1b").tells("").pause(119).tells("");
    typist.pause(1).tells("esc").read("x").tells("x");
    read("\x1b").pause(26).read("x").tells("esc x");
    read("\x1b").pause(24).read("x").tells("alt-x");
    read("\x1b\x1b").pause(200).tells("esc esc");
    read("\x1b")
        .pause(26)
        .read("\x1b")
        .pause(200)
        .tells("esc esc");
}

#[test]
fn a_reader_that_was_held_up_takes_no_late_reading_for_a_late_key() {
    let mut typist = read("\x1b");
    // Long, but nobody has looked whether there was something to read.
    typist.now_us += 10_000 * MILLISECOND;
    typist.read("[D").tells("left");
}

#[test]
fn sequences_in_pieces_are_the_keys_that_they_are_whole() {
    for (sequence, key) in [
        ("\x1b[D", "left"),
        ("\x1b[1;5C", "ctrl-right"),
        ("\x1bOP", "f1"),
        ("\x1b[[A", "f1"),
        ("\x1b[15~", "f5"),
        ("\x1b[99;5u", "ctrl-c"),
        ("\x1b[<0;3;4M", "mouse 2 3"),
        ("\x1b[M #$", "mouse 2 3"),
        ("\x1b[I", "focusgained"),
        ("é", "é"),
        ("🦀", "🦀"),
    ] {
        for gap_ms in [0, 10, 24, 26, 80, 110] {
            let typist = Typist::default().bytes(sequence, gap_ms);
            typist.pause(5_000).tells(key).read("x").tells("x");
        }
    }
    // Once it has begun, it may hesitate for longer.
    read("\x1b[").pause(900).read("D").tells("left");
    read("\x1b[1;").pause(900).read("5D").tells("ctrl-left");
}

#[test]
fn an_escape_that_was_told_takes_the_rest_of_its_sequence_along() {
    read("\x1b").pause(500).read("[D").tells("esc left");
    let paste = read("\x1b").pause(500).read("[200~a\rb\x1b[201~");
    paste.tells("esc paste \"a\\rb\"");
    let bytes = Typist::default()
        .bytes("\x1b[1;5D", 250)
        .tells("esc ctrl-left");
    bytes.read("[").tells("[");
    read("\x1b")
        .pause(200)
        .read("[")
        .pause(299)
        .tells("esc")
        .pause(1)
        .tells("[");
    // By itself it was typed.
    let typist = read("\x1b").pause(500).read("[").pause(25);
    typist.tells("esc [").read("D").tells("shift-d");
    read("\x1b").pause(500).read("x[D").tells("esc x [ shift-d");
    read("\x1b").pause(500).read("[x").tells("esc [ x");
    read("\x1b").pause(2_000).read("[D").tells("esc [ shift-d");
}

#[test]
fn what_was_no_sequence_is_typed() {
    let doubtful = |text: &str| read("\x1b").pause(60).read(text).pause(130);
    doubtful("[").tells("esc [");
    doubtful("O").tells("esc shift-o");
    doubtful("[12").tells("esc [ 1 2");
    doubtful("Oz").tells("esc shift-o z");
    doubtful("[x").tells("esc [ x");
}

#[test]
fn a_sequence_without_an_end_gives_way() {
    read("\x1b[")
        .pause(1_000)
        .tells("alt-[")
        .read("D")
        .tells("shift-d");
    read("\x1bO")
        .pause(1_000)
        .tells("alt-shift-o")
        .read("P")
        .tells("shift-p");
    read("\x1b[12;")
        .pause(1_000)
        .tells("")
        .read("3~")
        .tells("3 ~");
    read("\x1b[M!").pause(1_000).tells("").read("x").tells("x");
    read(b"\xf0\x9f")
        .pause(1_000)
        .tells("")
        .read("x")
        .tells("x");
    let long = format!("\x1b[{}q", "1".repeat(5_000));
    read(long).tells("").read("x").tells("x");
}

#[test]
fn ctrl_c_ends_whatever_has_begun() {
    for begun in [
        "\x1b",
        "\x1b\x1b",
        "\x1b[",
        "\x1bO",
        "\x1b[1;",
        "\x1b[[",
        "\x1b[M",
        "\x1b[M!",
        "\x1b[<0;1",
    ] {
        for gap_ms in [0, 60, 500] {
            let mut typist = read(begun).pause(gap_ms).read("\x03").pause(30);
            let told = typist.told();
            assert!(
                told.last().is_some_and(|k| k == "ctrl-c"),
                "{begun:?}: {told:?}"
            );
            typist.read("x").tells("x");
        }
    }
    let mut typist = read(b"\xe2\x82").read("\x03");
    assert_eq!(typist.told(), ["ctrl-c"]);
}

#[test]
fn bytes_of_no_character_are_passed_over() {
    read(b"a\xffb\xc0\x80c\xe2d\xf0\x9f\x1b[De").tells("a b c d left e");
}

#[test]
fn a_paste_is_one_event_whatever_is_in_it() {
    let text = "one\rtwo\x03 \x1b[D \x1b[201 é\x1b[200~";
    let whole = format!("\x1b[200~{text}\x1b[201~x");
    let wanted = format!("paste {text:?} x");
    read(&whole).tells(&wanted);
    for gap_ms in [0, 10, 24] {
        let typist = Typist::default().bytes(&whole, gap_ms);
        typist.pause(2_000).tells(&wanted);
    }
    read("\x1b[200~\x1b[201~x").tells("x");
    read("\x1b[201~x").tells("x");
}

#[test]
fn split_marks_of_a_paste_are_marks() {
    let whole = "\x1b[200~one\rtwo\x1b[201~\r";
    let wanted = "paste \"one\\rtwo\" enter";
    for cut in 1..whole.len() {
        let (a, b) = whole.split_at(cut);
        // An ESC by itself is the one place where a gap may be too long.
        let gap_ms = if a == "\x1b" { 110 } else { 900 };
        read(a).pause(gap_ms).read(b).pause(2_000).tells(wanted);
    }
    Typist::default().bytes(whole, 80).tells(wanted);
}

#[test]
fn an_open_paste_ends_after_a_second_of_silence() {
    let typist = read("\x1b[200~one\rtwo").pause(999).tells("");
    let typist = typist.read("\rthree").pause(999).tells("");
    let typist = typist.pause(1).tells("paste \"one\\rtwo\\rthree\"");
    typist
        .read("x\r")
        .tells("x enter")
        .read("\x1b[201~")
        .tells("");
    // The end that was cut off is no text.
    read("\x1b[200~one\x1b[20")
        .pause(1_000)
        .tells("paste \"one\"");
    read("\x1b[200~")
        .pause(1_000)
        .tells("")
        .read("x")
        .tells("x");
}

#[test]
fn ctrl_c_is_a_key_in_an_open_paste() {
    for ctrl_c in ["\x03", "\x1b[99;5u", "\x1b[27;5;99~"] {
        let typist = read("\x1b[200~one").pause(10).read(ctrl_c).tells("");
        let typist = typist.pause(25).tells("paste \"one\" ctrl-c");
        typist.read(ctrl_c).pause(25).tells("ctrl-c");
        let twice = read("\x1b[200~one").read(ctrl_c).read(ctrl_c);
        twice.pause(25).tells("paste \"one\" ctrl-c ctrl-c");
        read("\x1b[200~").read(ctrl_c).pause(25).tells("ctrl-c");
    }
}

#[test]
fn a_burst_of_characters_is_a_paste_and_its_enter_a_key() {
    let text = "a word and ünïcödé ".repeat(50);
    let typist = read(format!("{text}\r"));
    typist.tells(&format!("paste {text:?} enter"));
    let few = "x".repeat(BURST_CHARS - 1);
    let mut typist = read(&few);
    assert_eq!(typist.told().len(), BURST_CHARS - 1);
}

#[test]
fn events_have_the_time_of_their_last_byte() {
    let mut typist = read("a").pause(100).read("\x1b[").pause(200).read("D");
    let times: Vec<_> = typist.decoder.by_ref().map(|s| s.at_us).collect();
    assert_eq!(times, [0, 300_000]);
}

proptest! {
    /// How the bytes are cut into reads makes no difference to what they are, nor how many
    /// there are; and all of it has been told once silence has lasted.
    #[test]
    fn cuts_make_no_difference(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "a", "é", "🦀", "\r", "\x1b[D", "\x1b[1;5C", "\x1bOP", "\x1bx", "\x03", "\x1b[3~",
            "\x1b[200~one\rtwo\x1b[201~", "\x1b[<0;3;4M", "\x1b[99;5u", "\x1b[I",
        ]), 0..12),
        cuts in prop::collection::vec(0_usize..200, 0..12),
    ) {
        let bytes = pieces.concat().into_bytes();
        let mut whole = read(&bytes).pause(5_000);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut cut = Typist::default();
        for pair in cuts.windows(2) {
            cut = cut.read(&bytes[pair[0]..pair[1]]);
        }
        let mut cut = cut.pause(5_000);
        prop_assert_eq!(whole.told(), cut.told());
    }

    /// Whatever comes, after silence the decoder is as new, and Ctrl-C is heard.
    #[test]
    fn any_bytes_leave_it_ready(
        reads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..12),
        gap_ms in 0_u64..300,
    ) {
        let mut typist = Typist::default();
        for bytes in &reads {
            typist = typist.read(bytes).pause(gap_ms);
        }
        let mut typist = typist.pause(5_000);
        typist.told();
        prop_assert_eq!(typist.decoder.deadline_us(), None);
        let mut typist = typist.read("\x03");
        prop_assert_eq!(typist.told(), ["ctrl-c"]);
    }
}
