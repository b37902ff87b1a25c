//! From the bytes of a terminal to its events: a state machine that waits for nothing itself.
//!
//! Bytes and time are arguments: [`Decoder::feed`] takes what was read, [`Decoder::silence`]
//! says that nothing could be read up to a time, and [`Decoder::deadline_us`] until when that is
//! to be found out. How the bytes of a sequence are cut into reads makes no difference; gaps do
//! only where a sequence can be told from keys by nothing else:
//!
//! ```text
//!            ESC          25 ms          120 ms
//!   ground ------> escape -----> settled ------> the Escape key
//!                    | x           | x
//!                    v             v
//!                  Alt-x         Escape, then x
//!                    | [ or O      | [ or O
//!                    v             v
//!                 sequence       sequence, in doubt: what is none after 120 ms was keys
//!                    |
//!                    +--> ESC [ 200 ~ : a paste, up to ESC [ 201 ~ or a second of silence
//! ```
//!
//! Invariants: no byte is needed for the bytes before it to take effect, once a deadline has
//! passed; a control character ends an unfinished sequence and keeps its own meaning, so that
//! Ctrl-C is never swallowed. In an open paste it is a key where the terminal says nothing after
//! it for 25 ms: within a text that is pasted, more follows at once.

use super::{Stamped, keys};
use crate::units::Micros;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use std::collections::VecDeque;

const MILLISECOND: Micros = 1_000;

/// Within this time after an ESC, what follows it is a key pressed with Alt; and within this time
/// after a Ctrl-C in a paste, what follows shows it to be part of the text.
const ALT_US: Micros = 25 * MILLISECOND;

/// How long after an ESC that came by itself a sequence may still go on.
const ESCAPE_US: Micros = 120 * MILLISECOND;

/// How long after an ESC a `[` by itself may still belong to its sequence although the Escape key
/// was told: a slow line is likelier than these two keys and a third within that time.
const LATE_US: Micros = 300 * MILLISECOND;

/// How long a sequence that has begun, or a paste, may be silent.
const SEQUENCE_US: Micros = 1_000 * MILLISECOND;

/// So many characters read at once, or more, are a paste: nobody types them.
const BURST_CHARS: usize = 32;

/// A sequence longer than this is passed over.
const SEQUENCE_BYTES: usize = 256;

const PASTE_END: &[u8] = b"\x1b[201~";

/// The forms in which Ctrl-C comes.
const CTRL_C: [&[u8]; 3] = [b"\x03", b"\x1b[99;5u", b"\x1b[27;5;99~"];

/// What is known of the ESC that a sequence began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    /// What follows came with it.
    Certain,
    /// What follows came later: both may have been keys.
    Doubtful,
    /// It has been told as a key already, and what follows came not long after it.
    Late,
    /// It was told longer ago: only what comes at once belongs to it.
    Told,
}

#[derive(Debug)]
enum State {
    Ground,
    /// The first bytes of a character.
    Character {
        bytes: Vec<u8>,
        alt: bool,
    },
    /// After an ESC. `alt`: after two.
    Escape {
        alt: bool,
        settled: bool,
    },
    /// After `ESC O`.
    Ss3 {
        alt: bool,
        lead: Lead,
    },
    /// After `ESC [`, with what came since.
    Csi {
        bytes: Vec<u8>,
        alt: bool,
        lead: Lead,
    },
    /// After `ESC [ M`.
    X10Mouse {
        bytes: Vec<u8>,
    },
    Paste {
        bytes: Vec<u8>,
    },
}

/// The state between reads, and the events that are ready.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// When the bytes so far were read.
    now_us: Micros,
    /// When an Escape key was told because its time had passed.
    escaped_us: Option<Micros>,
    /// Characters of this read that nothing has come between.
    run: String,
    ready: VecDeque<Stamped>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Ground,
            now_us: 0,
            escaped_us: None,
            run: String::new(),
            ready: VecDeque::new(),
        }
    }
}

impl Decoder {
    /// Takes what was read at `now_us`: all that could be, or a part of it.
    pub fn feed(&mut self, mut bytes: &[u8], now_us: Micros) {
        self.now_us = now_us;
        while let Some((&byte, rest)) = bytes.split_first() {
            if let State::Paste { bytes: pasted } = &mut self.state {
                let before = pasted.len();
                pasted.extend_from_slice(bytes);
                // The mark may have begun in the read before.
                let from = before.saturating_sub(PASTE_END.len() - 1);
                let found = find(&pasted[from..], PASTE_END);
                let Some(at) = found.map(|at| from + at) else {
                    break;
                };
                bytes = &bytes[at + PASTE_END.len() - before..];
                pasted.truncate(at);
                self.end_paste();
                continue;
            }
            self.byte(byte);
            bytes = rest;
        }
        self.end_run();
    }

    /// When silence up to then has a meaning; `None` while it has none.
    pub fn deadline_us(&self) -> Option<Micros> {
        let wait = match &self.state {
            State::Ground => return None,
            State::Escape { settled: false, .. } => ALT_US,
            State::Escape { settled: true, .. } => ESCAPE_US,
            State::Ss3 { lead, .. } | State::Csi { lead, .. } => match lead {
                Lead::Certain => SEQUENCE_US,
                Lead::Doubtful => ESCAPE_US,
                Lead::Late => LATE_US,
                Lead::Told => ALT_US,
            },
            State::Paste { bytes } if ends_with_ctrl_c(bytes).is_some() => ALT_US,
            State::Character { .. } | State::X10Mouse { .. } | State::Paste { .. } => SEQUENCE_US,
        };
        Some(self.now_us + wait)
    }

    /// Nothing could be read up to `now_us`.
    pub fn silence(&mut self, now_us: Micros) {
        while self.deadline_us().is_some_and(|at| at <= now_us) {
            match std::mem::replace(&mut self.state, State::Ground) {
                State::Escape {
                    alt,
                    settled: false,
                } => self.state = State::Escape { alt, settled: true },
                State::Escape { alt, .. } => {
                    self.escapes(alt);
                    self.escaped_us = Some(self.now_us);
                }
                State::Paste { bytes } => {
                    self.state = State::Paste { bytes };
                    self.cut_paste();
                }
                unfinished => self.give_up(unfinished),
            }
            self.end_run();
        }
    }

    fn byte(&mut self, byte: u8) {
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Ground => self.ground(byte),
            State::Character { bytes, alt } => self.character(bytes, byte, alt),
            State::Escape { alt, settled } => self.after_escape(byte, alt, settled),
            State::Ss3 { alt, lead } => match keys::ss3(byte) {
                Some(key) => self.key(with_alt(key, alt)),
                None => {
                    self.give_up(State::Ss3 { alt, lead });
                    self.byte(byte);
                }
            },
            State::Csi { bytes, alt, lead } => self.in_csi(bytes, byte, alt, lead),
            // No position is written with such a byte.
            State::X10Mouse { .. } if byte < b' ' => self.byte(byte),
            State::X10Mouse { mut bytes } => {
                bytes.push(byte);
                match <[u8; 3]>::try_from(bytes.as_slice()) {
                    Ok(three) => self.tell_some(keys::x10_mouse(three)),
                    Err(_) => self.state = State::X10Mouse { bytes },
                }
            }
            // `feed` takes all that belongs to it.
            State::Paste { bytes } => self.state = State::Paste { bytes },
        }
    }

    fn ground(&mut self, byte: u8) {
        let escaped = self.escaped_us.take();
        match byte {
            b'\x1b' => {
                self.state = State::Escape {
                    alt: false,
                    settled: false,
                }
            }
            // The rest of a sequence whose ESC was taken for a key, where it comes at once.
            b'[' if escaped.is_some_and(|at| self.now_us < at + SEQUENCE_US) => {
                let soon = escaped.is_some_and(|at| self.now_us < at + LATE_US);
                self.state = State::Csi {
                    bytes: Vec::new(),
                    alt: false,
                    lead: if soon { Lead::Late } else { Lead::Told },
                };
            }
            _ => self.character(Vec::new(), byte, false),
        }
    }

    fn after_escape(&mut self, byte: u8, alt: bool, settled: bool) {
        let lead = match settled {
            true => Lead::Doubtful,
            false => Lead::Certain,
        };
        match byte {
            b'[' => {
                self.state = State::Csi {
                    bytes: Vec::new(),
                    alt,
                    lead,
                }
            }
            b'O' => self.state = State::Ss3 { alt, lead },
            // Ctrl-C keeps its meaning whatever came before.
            _ if settled || byte == b'\x03' => {
                self.escapes(alt);
                self.ground(byte);
            }
            b'\x1b' => {
                self.lone_escape(alt);
                self.state = State::Escape {
                    alt: true,
                    settled: false,
                };
            }
            _ => {
                self.lone_escape(alt);
                self.character(Vec::new(), byte, true);
            }
        }
    }

    fn in_csi(&mut self, mut bytes: Vec<u8>, byte: u8, alt: bool, lead: Lead) {
        let linux_console = bytes == b"[";
        match byte {
            b'M' if bytes.is_empty() => {
                self.lone_escape(alt);
                self.state = State::X10Mouse { bytes };
            }
            b'[' if bytes.is_empty() => {
                bytes.push(byte);
                self.state = State::Csi { bytes, alt, lead };
            }
            b' '..=b'?' if !linux_console => {
                if bytes.len() < SEQUENCE_BYTES {
                    bytes.push(byte);
                }
                self.state = State::Csi { bytes, alt, lead };
            }
            b'~' if bytes == b"200" => {
                self.lone_escape(alt);
                self.state = State::Paste { bytes: Vec::new() };
            }
            b'@'..=b'~' => match keys::csi(&bytes, byte) {
                Some(Event::Key(key)) => self.key(with_alt(key, alt)),
                None if lead != Lead::Certain => {
                    self.give_up(State::Csi { bytes, alt, lead });
                    self.byte(byte);
                }
                event => {
                    self.lone_escape(alt);
                    self.tell_some(event);
                }
            },
            // No sequence has such a byte in it: it is a key that was pressed meanwhile.
            _ => {
                self.give_up(State::Csi { bytes, alt, lead });
                self.byte(byte);
            }
        }
    }

    /// Takes a byte as (a part of) a character.
    fn character(&mut self, mut bytes: Vec<u8>, byte: u8, alt: bool) {
        if !bytes.is_empty() && byte & 0xc0 != 0x80 {
            // The character before was cut off: what comes now is whole by itself.
            return self.byte(byte);
        }
        bytes.push(byte);
        match std::str::from_utf8(&bytes) {
            Ok(text) => text.chars().for_each(|c| self.typed(c, alt)),
            Err(error) if error.error_len().is_none() => {
                self.state = State::Character { bytes, alt };
            }
            // Not of this encoding.
            Err(_) => {}
        }
    }

    fn typed(&mut self, c: char, alt: bool) {
        if alt || c.is_control() {
            self.key(with_alt(keys::character(c), alt));
        } else {
            self.run.push(c);
        }
    }

    /// What was begun will not go on: tells of it as far as it means something by itself.
    fn give_up(&mut self, unfinished: State) {
        let (first, rest, alt, lead) = match unfinished {
            State::Ss3 { alt, lead } => ('O', Vec::new(), alt, lead),
            State::Csi { bytes, alt, lead } => ('[', bytes, alt, lead),
            _ => return,
        };
        match lead {
            Lead::Certain => {
                // With more after it, it is a damaged sequence, which is no key.
                if rest.is_empty() {
                    self.lone_escape(alt);
                    self.key(with_alt(keys::character(first), true));
                }
                return;
            }
            Lead::Doubtful => self.escapes(alt),
            Lead::Late | Lead::Told => {}
        }
        self.run.push(first);
        self.run.extend(rest.into_iter().map(char::from));
    }

    /// The first of two ESC is the Escape key, unless the second began what has an Alt form.
    fn lone_escape(&mut self, two: bool) {
        if two {
            self.escapes(false);
        }
    }

    /// The Escape key, once or twice.
    fn escapes(&mut self, twice: bool) {
        for _ in 0..=usize::from(twice) {
            self.key(KeyCode::Esc.into());
        }
    }

    fn end_paste(&mut self) {
        if let State::Paste { bytes } = std::mem::replace(&mut self.state, State::Ground)
            && !bytes.is_empty()
        {
            self.tell(Event::Paste(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }

    /// Ends a paste that does not say its end, and tells of a Ctrl-C that was pressed in it.
    fn cut_paste(&mut self) {
        let State::Paste { bytes } = &mut self.state else {
            return;
        };
        let mut pressed = 0;
        while let Some(length) = ends_with_ctrl_c(bytes) {
            bytes.truncate(bytes.len() - length);
            pressed += 1;
        }
        // A mark that was cut off is no text.
        let mark = (1..PASTE_END.len())
            .rev()
            .find(|&n| bytes.ends_with(&PASTE_END[..n]));
        bytes.truncate(bytes.len() - mark.unwrap_or(0));
        self.end_paste();
        for _ in 0..pressed {
            self.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        }
    }

    fn key(&mut self, key: KeyEvent) {
        self.tell(Event::Key(key));
    }

    fn tell_some(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        self.end_run();
        self.push(event);
    }

    fn push(&mut self, event: Event) {
        let at_us = self.now_us;
        self.ready.push_back(Stamped { at_us, event });
    }

    /// Tells of the characters so far: as keys, or together where there are many.
    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.chars().nth(BURST_CHARS - 1).is_some() {
            return self.push(Event::Paste(run));
        }
        for c in run.chars() {
            self.push(Event::Key(keys::character(c)));
        }
    }
}

impl Iterator for Decoder {
    type Item = Stamped;

    /// The next event that is ready.
    fn next(&mut self) -> Option<Stamped> {
        self.ready.pop_front()
    }
}

fn with_alt(mut key: KeyEvent, alt: bool) -> KeyEvent {
    if alt {
        key.modifiers |= KeyModifiers::ALT;
    }
    key
}

/// The length of the Ctrl-C that these bytes end with.
fn ends_with_ctrl_c(bytes: &[u8]) -> Option<usize> {
    let form = CTRL_C.iter().find(|form| bytes.ends_with(form))?;
    Some(form.len())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

#[cfg(test)]
mod tests;
