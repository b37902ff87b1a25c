//! What the sequences that terminals send mean: a whole sequence in, an event out.
//!
//! Sources: xterm's `ctlseqs` (cursor and function keys, modifiers, mouse, focus,
//! `modifyOtherKeys`), the keyboard protocol of kitty (`CSI u`), and the Linux console
//! (`ESC [ [ A`). What is known to be a report, or is not known, is no event.

use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

/// The key of a character as it is typed: a control character, or one that is written.
pub fn character(c: char) -> KeyEvent {
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    // As `c` is below 0x20 where this is used.
    let sign = |from: char, c: char| char::from(from as u8 + c as u8);
    match c {
        '\r' => KeyCode::Enter.into(),
        '\t' => KeyCode::Tab.into(),
        '\x7f' => KeyCode::Backspace.into(),
        '\x1b' => KeyCode::Esc.into(),
        '\0' => control(' '),
        '\x01'..='\x1a' => control(sign('`', c)),
        '\x1c'..='\x1f' => control(sign('\x18', c)),
        c if c.is_uppercase() => KeyEvent::new(KeyCode::Char(c), KeyModifiers::SHIFT),
        c => KeyCode::Char(c).into(),
    }
}

/// The key of `ESC O` and this byte.
pub fn ss3(last: u8) -> Option<KeyEvent> {
    let code = match last {
        b'M' => KeyCode::Enter,
        // The keys of the number pad in application mode.
        b'X' => KeyCode::Char('='),
        b'j'..=b'y' => KeyCode::Char(char::from(last - b'@')),
        _ => cursor_key(last)?,
    };
    Some(code.into())
}

/// The event of `ESC [`, these parameters, and this last byte.
pub fn csi(parameters: &[u8], last: u8) -> Option<Event> {
    let text = std::str::from_utf8(parameters).ok()?;
    match (text.as_bytes().first(), last) {
        (Some(b'<'), b'M' | b'm') => return sgr_mouse(&text[1..], last),
        (Some(b'<' | b'=' | b'>' | b'?'), _) => return None,
        // The Linux console's first five function keys.
        (Some(b'['), b'A'..=b'E') => return key(KeyCode::F(1 + last - b'A')),
        (None, b'I') => return Some(Event::FocusGained),
        (None, b'O') => return Some(Event::FocusLost),
        _ => {}
    }
    let fields = Fields::of(text);
    let first = fields.number(0, 0);
    let code = match last {
        b'M' => return rxvt_mouse(&fields),
        b'~' if first == Some(27) => return other_key(&fields),
        b'~' => numbered_key(first?)?,
        b'u' => kitty_key(&fields)?,
        b'Z' => KeyCode::BackTab,
        // With two numbers it says where the cursor is, but none asks for that; F3 has a 1.
        b'R' if first.is_some_and(|n| n != 1) => return None,
        _ => cursor_key(last)?,
    };
    let mut modifiers = modifiers(fields.number(1, 0));
    let code = match code {
        KeyCode::Tab if modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
        code => code,
    };
    match code {
        KeyCode::BackTab => modifiers |= KeyModifiers::SHIFT,
        KeyCode::Char(c) if c.is_uppercase() => modifiers |= KeyModifiers::SHIFT,
        _ => {}
    }
    let kind = match fields.number(1, 1) {
        Some(2) => KeyEventKind::Repeat,
        Some(3) => KeyEventKind::Release,
        _ => KeyEventKind::Press,
    };
    Some(Event::Key(KeyEvent::new_with_kind(code, modifiers, kind)))
}

/// The event of `ESC [ M` and three bytes, each 32 more than it means.
pub fn x10_mouse([button, x, y]: [u8; 3]) -> Option<Event> {
    let less = |byte: u8| byte.checked_sub(32).map(u16::from);
    mouse(less(button)?, less(x)?, less(y)?, false)
}

fn key(code: KeyCode) -> Option<Event> {
    Some(Event::Key(code.into()))
}

/// Numbers between semicolons, each with numbers of its own between colons.
struct Fields<'a>(Vec<&'a str>);

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.split(';').collect())
    }

    fn number(&self, field: usize, part: usize) -> Option<u32> {
        self.0.get(field)?.split(':').nth(part)?.parse().ok()
    }
}

fn modifiers(mask: Option<u32>) -> KeyModifiers {
    let mask = mask.unwrap_or(1).saturating_sub(1);
    [
        KeyModifiers::SHIFT,
        KeyModifiers::ALT,
        KeyModifiers::CONTROL,
        KeyModifiers::SUPER,
        KeyModifiers::HYPER,
        KeyModifiers::META,
    ]
    .into_iter()
    .enumerate()
    .filter(|(bit, _)| mask >> bit & 1 == 1)
    .fold(KeyModifiers::NONE, |all, (_, one)| all | one)
}

fn cursor_key(last: u8) -> Option<KeyCode> {
    Some(match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'E' => KeyCode::KeypadBegin,
        b'F' => KeyCode::End,
        b'H' => KeyCode::Home,
        b'P'..=b'S' => KeyCode::F(1 + last - b'P'),
        _ => return None,
    })
}

fn numbered_key(number: u32) -> Option<KeyCode> {
    let f = |first: u32, of: u8| {
        u8::try_from(number - first)
            .ok()
            .map(|n| KeyCode::F(of + n))
    };
    match number {
        1 | 7 => Some(KeyCode::Home),
        2 => Some(KeyCode::Insert),
        3 => Some(KeyCode::Delete),
        4 | 8 => Some(KeyCode::End),
        5 => Some(KeyCode::PageUp),
        6 => Some(KeyCode::PageDown),
        11..=15 => f(11, 1),
        17..=21 => f(17, 6),
        23..=26 => f(23, 11),
        28..=29 => f(28, 15),
        31..=34 => f(31, 17),
        _ => None,
    }
}

/// `CSI 27 ; modifiers ; character ~`, as xterm writes keys that have no sequence.
fn other_key(fields: &Fields<'_>) -> Option<Event> {
    let mut key = coded(fields.number(2, 0)?)?;
    key.modifiers |= modifiers(fields.number(1, 0));
    if key.code == KeyCode::Tab && key.modifiers.contains(KeyModifiers::SHIFT) {
        key.code = KeyCode::BackTab;
    }
    Some(Event::Key(key))
}

fn coded(code: u32) -> Option<KeyEvent> {
    char::from_u32(code).map(character)
}

/// The key of kitty's number for it, or the character that shift makes of it.
fn kitty_key(fields: &Fields<'_>) -> Option<KeyCode> {
    /// What is on the number pad from 57399 on.
    const PAD: &[u8; 10] = b"./*-+\r=,\0\0";
    const PAD_KEYS: [KeyCode; 11] = [
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Insert,
        KeyCode::Delete,
        KeyCode::KeypadBegin,
    ];
    let number = fields.number(0, 0)?;
    let at = |first: u32| (number - first) as usize;
    match number {
        57376..=57398 => Some(KeyCode::F(13 + at(57376) as u8)),
        57399..=57408 => Some(KeyCode::Char(char::from(b'0' + at(57399) as u8))),
        57409..=57416 => Some(character(char::from(PAD[at(57409)])).code),
        57417..=57427 => Some(PAD_KEYS[at(57417)]),
        // Locks, media keys, and modifiers by themselves.
        57344..=63743 => None,
        _ => {
            let shifted = fields.number(0, 1);
            let shift = modifiers(fields.number(1, 0)).contains(KeyModifiers::SHIFT);
            coded(shifted.filter(|_| shift).unwrap_or(number)).map(|key| key.code)
        }
    }
}

fn sgr_mouse(text: &str, last: u8) -> Option<Event> {
    let fields = Fields::of(text);
    let number = |i| fields.number(i, 0).and_then(|n| u16::try_from(n).ok());
    mouse(number(0)?, number(1)?, number(2)?, last == b'm')
}

fn rxvt_mouse(fields: &Fields<'_>) -> Option<Event> {
    let number = |i| fields.number(i, 0).and_then(|n| u16::try_from(n).ok());
    mouse(number(0)?.checked_sub(32)?, number(1)?, number(2)?, false)
}

/// `bits`: the button in bits 0, 1, 6 and 7, modifiers in 2 to 4, motion in 5. Positions count
/// from 1.
fn mouse(bits: u16, x: u16, y: u16, released: bool) -> Option<Event> {
    use MouseEventKind as Kind;
    let number = bits & 0b0011 | bits >> 4 & 0b1100;
    let moving = bits & 32 != 0;
    let button = match number {
        0 => Some(MouseButton::Left),
        1 => Some(MouseButton::Middle),
        2 => Some(MouseButton::Right),
        _ => None,
    };
    let kind = match (button, number, moving) {
        (Some(button), _, false) if released => Kind::Up(button),
        (Some(button), _, false) => Kind::Down(button),
        (Some(button), _, true) => Kind::Drag(button),
        // Which one was released, the old forms do not say.
        (None, 3, false) => Kind::Up(MouseButton::Left),
        (None, 3, true) => Kind::Moved,
        (None, 4, false) => Kind::ScrollUp,
        (None, 5, false) => Kind::ScrollDown,
        (None, 6, false) => Kind::ScrollLeft,
        (None, 7, false) => Kind::ScrollRight,
        _ => return None,
    };
    let modifiers = [
        (4, KeyModifiers::SHIFT),
        (8, KeyModifiers::ALT),
        (16, KeyModifiers::CONTROL),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .fold(KeyModifiers::NONE, |all, (_, one)| all | one);
    Some(Event::Mouse(MouseEvent {
        kind,
        column: x.checked_sub(1)?,
        row: y.checked_sub(1)?,
        modifiers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chord as a configuration file writes it, of a sequence after `ESC [`.
    fn written(sequence: &str) -> Option<String> {
        let (last, parameters) = sequence.as_bytes().split_last()?;
        match csi(parameters, *last)? {
            Event::Key(key) => Some(crate::tui::chord::Chord::from(key).written()),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn keys_of_every_protocol_are_known() {
        for (sequence, key) in [
            ("A", "up"),
            ("D", "left"),
            ("1;5C", "ctrl-right"),
            ("1;2H", "shift-home"),
            ("F", "end"),
            ("Z", "shift-tab"),
            ("3~", "delete"),
            ("3;3~", "alt-delete"),
            ("5~", "pageup"),
            ("11~", "f1"),
            ("15~", "f5"),
            ("17~", "f6"),
            ("24~", "f12"),
            ("34~", "f20"),
            ("P", "f1"),
            ("1;2S", "shift-f4"),
            ("1;5R", "ctrl-f3"),
            ("[A", "f1"),
            ("[E", "f5"),
            ("27;5;99~", "ctrl-c"),
            ("27;2;13~", "shift-enter"),
            ("27u", "esc"),
            ("99;5u", "ctrl-c"),
            ("13;2u", "shift-enter"),
            ("9;2u", "shift-tab"),
            ("127;5u", "ctrl-backspace"),
            ("97:65;6u", "ctrl-shift-a"),
            ("32;5u", "ctrl-space"),
            ("233u", "é"),
            ("57414u", "enter"),
            ("57400u", "1"),
            ("57413u", "+"),
            ("57421u", "pageup"),
            ("57376u", "f13"),
        ] {
            assert_eq!(written(sequence).as_deref(), Some(key), "{sequence}");
        }
    }

    #[test]
    fn reports_and_unknown_sequences_are_no_events() {
        for sequence in [
            "?1u",
            "?62;4c",
            ">0;1c",
            "12;40R",
            "57441u",
            "99~",
            "x",
            "8;24;80t",
            "<0;1M",
            "<0;0;1M",
            "u",
            "4294967296u",
            "55296u",
            "~",
            "\u{1}~",
        ] {
            assert_eq!(written(sequence), None, "{sequence}");
        }
    }

    #[test]
    fn repeats_and_releases_are_told() {
        let kind = |sequence: &[u8]| match csi(sequence, b'u') {
            Some(Event::Key(key)) => key.kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(b"97"), KeyEventKind::Press);
        assert_eq!(kind(b"97;1:1"), KeyEventKind::Press);
        assert_eq!(kind(b"97;1:2"), KeyEventKind::Repeat);
        assert_eq!(kind(b"97;5:3"), KeyEventKind::Release);
    }

    #[test]
    fn the_mouse_is_the_same_in_its_three_forms() {
        let event = |kind| {
            Some(Event::Mouse(MouseEvent {
                kind,
                column: 9,
                row: 4,
                modifiers: KeyModifiers::NONE,
            }))
        };
        let down = event(MouseEventKind::Down(MouseButton::Left));
        assert_eq!(csi(b"<0;10;5", b'M'), down);
        assert_eq!(csi(b"32;10;5", b'M'), down);
        assert_eq!(x10_mouse([32, 42, 37]), down);
        let up = event(MouseEventKind::Up(MouseButton::Left));
        assert_eq!(csi(b"<0;10;5", b'm'), up);
        assert_eq!(x10_mouse([35, 42, 37]), up);
        let wheel = event(MouseEventKind::ScrollDown);
        assert_eq!(csi(b"<65;10;5", b'M'), wheel);
        assert_eq!(x10_mouse([97, 42, 37]), wheel);
        assert_eq!(csi(b"<35;10;5", b'M'), event(MouseEventKind::Moved));
        assert_eq!(x10_mouse([31, 42, 37]), None);
    }

    #[test]
    fn the_number_pad_in_application_mode_is_a_number_pad() {
        let code = |last| ss3(last).map(|key| key.code);
        assert_eq!(code(b'j'), Some(KeyCode::Char('*')));
        assert_eq!(code(b'p'), Some(KeyCode::Char('0')));
        assert_eq!(code(b'y'), Some(KeyCode::Char('9')));
        assert_eq!(code(b'M'), Some(KeyCode::Enter));
        assert_eq!(code(b'A'), Some(KeyCode::Up));
        assert_eq!(code(b'z'), None);
    }
}
