//! A key with its modifiers, as a configuration file and the help box write it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::fmt;
use std::str::FromStr;

/// One key press, normalised so that two ways a terminal reports it compare equal:
/// a capital letter is the small one with shift, and shift on any other sign is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub struct Chord {
    code: KeyCode,
    modifiers: KeyModifiers,
}

impl Chord {
    fn new(code: KeyCode, modifiers: KeyModifiers) -> Self {
        let mut modifiers =
            modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        let code = match code {
            KeyCode::BackTab => {
                modifiers |= KeyModifiers::SHIFT;
                KeyCode::Tab
            }
            // Ctrl with this sign is one byte (0x1f), which terminals name differently.
            KeyCode::Char('7' | '/' | '_') if modifiers.contains(KeyModifiers::CONTROL) => {
                modifiers -= KeyModifiers::SHIFT;
                KeyCode::Char('_')
            }
            KeyCode::Char(c) if c.is_uppercase() => {
                modifiers |= KeyModifiers::SHIFT;
                KeyCode::Char(c.to_lowercase().next().unwrap_or(c))
            }
            KeyCode::Char(c) if !c.is_alphabetic() && c != ' ' => {
                modifiers -= KeyModifiers::SHIFT;
                KeyCode::Char(c)
            }
            code => code,
        };
        Self { code, modifiers }
    }
}

impl Chord {
    /// As a configuration file writes it.
    pub fn written(self) -> String {
        let mut text = String::new();
        for (modifier, name) in [
            (KeyModifiers::CONTROL, "ctrl-"),
            (KeyModifiers::ALT, "alt-"),
            (KeyModifiers::SHIFT, "shift-"),
        ] {
            if self.modifiers.contains(modifier) {
                text += name;
            }
        }
        match (NAMED.iter().find(|(_, code)| *code == self.code), self.code) {
            (Some((name, _)), _) => text += name,
            (None, KeyCode::Char(c)) => text.push(c),
            (None, KeyCode::F(n)) => text += &format!("f{n}"),
            (None, code) => text += &format!("{code:?}").to_lowercase(),
        }
        text
    }
}

impl From<KeyEvent> for Chord {
    fn from(key: KeyEvent) -> Self {
        Self::new(key.code, key.modifiers)
    }
}

/// Why a text is not a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "'{0}' is not a key: write it as in \"ctrl-c\", \"alt-enter\", \"f1\", \"pageup\" or \"?\""
)]
pub struct ChordError(String);

const NAMED: [(&str, KeyCode); 14] = [
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
];

impl FromStr for Chord {
    type Err = ChordError;

    fn from_str(text: &str) -> Result<Self, ChordError> {
        let bad = || ChordError(text.to_owned());
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = text;
        // "-" itself is a key: only a sign that something follows is a separator.
        while let Some((head, tail)) = rest
            .split_once('-')
            .filter(|(h, t)| !h.is_empty() && !t.is_empty())
        {
            modifiers |= match head {
                "ctrl" => KeyModifiers::CONTROL,
                "alt" => KeyModifiers::ALT,
                "shift" => KeyModifiers::SHIFT,
                _ => return Err(bad()),
            };
            rest = tail;
        }
        let mut chars = rest.chars();
        let code = match (chars.next(), chars.next()) {
            (Some(c), None) if !c.is_control() => KeyCode::Char(c),
            _ if rest == "right" => KeyCode::Right,
            _ => match NAMED.iter().find(|(name, _)| *name == rest) {
                Some(&(_, code)) => code,
                None => match rest.strip_prefix('f').and_then(|n| n.parse::<u8>().ok()) {
                    Some(n @ 1..=24) => KeyCode::F(n),
                    _ => return Err(bad()),
                },
            },
        };
        Ok(Self::new(code, modifiers))
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (modifier, name) in [
            (KeyModifiers::CONTROL, "Ctrl-"),
            (KeyModifiers::ALT, "Alt-"),
            (KeyModifiers::SHIFT, "Shift-"),
        ] {
            if self.modifiers.contains(modifier) {
                text += name;
            }
        }
        match self.code {
            // A letter with a modifier is written large, as keyboards print it.
            KeyCode::Char(' ') => text += "Space",
            KeyCode::Char(c) if !self.modifiers.is_empty() => text.extend(c.to_uppercase()),
            KeyCode::Char(c) => text.push(c),
            KeyCode::PageUp => text += "PgUp",
            KeyCode::PageDown => text += "PgDn",
            KeyCode::Delete => text += "Del",
            KeyCode::F(n) => text += &format!("F{n}"),
            code => text += &format!("{code:?}"),
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: KeyCode, modifiers: KeyModifiers) -> Chord {
        KeyEvent::new(code, modifiers).into()
    }

    #[test]
    fn keys_read_print_and_compare() {
        for (text, code, modifiers, shown) in [
            (
                "ctrl-c",
                KeyCode::Char('c'),
                KeyModifiers::CONTROL,
                "Ctrl-C",
            ),
            (
                "shift-tab",
                KeyCode::BackTab,
                KeyModifiers::SHIFT,
                "Shift-Tab",
            ),
            (
                "shift-g",
                KeyCode::Char('G'),
                KeyModifiers::SHIFT,
                "Shift-G",
            ),
            ("?", KeyCode::Char('?'), KeyModifiers::SHIFT, "?"),
            ("-", KeyCode::Char('-'), KeyModifiers::NONE, "-"),
            (
                "ctrl--",
                KeyCode::Char('-'),
                KeyModifiers::CONTROL,
                "Ctrl--",
            ),
            (
                "ctrl-_",
                KeyCode::Char('7'),
                KeyModifiers::CONTROL,
                "Ctrl-_",
            ),
            ("f12", KeyCode::F(12), KeyModifiers::NONE, "F12"),
            ("alt-right", KeyCode::Right, KeyModifiers::ALT, "Alt-Right"),
            ("space", KeyCode::Char(' '), KeyModifiers::NONE, "Space"),
        ] {
            let chord: Chord = text.parse().unwrap();
            assert_eq!(chord, event(code, modifiers), "{text}");
            assert_eq!(chord.to_string(), shown);
            assert_eq!(chord.written(), text);
        }
        for bad in ["", "ctrl-", "hyper-x", "f25", "f0", "enterr", "ctrl-\u{1}"] {
            assert!(bad.parse::<Chord>().is_err(), "{bad}");
        }
    }
}
