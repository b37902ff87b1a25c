//! Which key does what. Defaults are in `configs/keys.toml`; a configuration file replaces
//! the keys of the actions that it names. The help box and the footer are written from it.
//!
//! Invariant: in no context does one key mean two things. The global bindings count as
//! part of both other contexts, so that a duplicate across them is refused as well.

use super::action::{Action, Context};
use super::chord::Chord;
use super::wrap::wrap_line;
use crate::config::{ConfigError, Fault, SourceFile, nearest};
use ratatui::crossterm::event::KeyEvent;
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};

const DEFAULTS: &str = include_str!("../../configs/keys.toml");

/// One key of one action.
#[derive(Clone, Debug)]
struct Binding {
    context: Context,
    chord: Chord,
    action: Action,
    /// Where it was written: file, line.
    origin: (PathBuf, usize),
}

/// The bindings in force, in the order of the files: the order of the help box.
#[derive(Clone, Debug)]
pub struct Keymap {
    bindings: Vec<Binding>,
}

impl Default for Keymap {
    fn default() -> Self {
        // The built-in file is read by a test, so that this cannot fail in a release.
        Self::from_defaults().unwrap_or(Self {
            bindings: Vec::new(),
        })
    }
}

impl Keymap {
    fn from_defaults() -> Result<Self, ConfigError> {
        let file = SourceFile {
            path: "configs/keys.toml (built in)".into(),
            text: DEFAULTS.to_owned(),
        };
        let document = DeTable::parse(&file.text).map_err(|e| file.syntax(&e))?;
        let mut map = Self {
            bindings: Vec::new(),
        };
        map.merge(&file, document.get_ref())?;
        Ok(map)
    }

    /// The defaults with the `[keys]` tables of a configuration file over them.
    /// The file's other tables are not looked at.
    ///
    /// # Errors
    /// Unknown contexts, actions and keys, and keys bound twice, with their place in the file.
    pub fn with_config(file: &SourceFile) -> Result<Self, ConfigError> {
        let mut map = Self::from_defaults()?;
        let document = DeTable::parse(&file.text).map_err(|e| file.syntax(&e))?;
        if let Some(keys) = document.get_ref().get("keys") {
            let DeValue::Table(keys_table) = keys.get_ref() else {
                let message =
                    "expected a table of tables: [keys.global], [keys.input], [keys.pane]";
                return Err(file.fault(keys.span(), message).into());
            };
            map.merge(file, keys_table)?;
        }
        Ok(map)
    }

    fn merge(&mut self, file: &SourceFile, table: &DeTable<'_>) -> Result<(), Fault> {
        let mut read = Vec::new();
        for (name, value) in table {
            let context = Context::ALL
                .into_iter()
                .find(|c| c.name() == name.get_ref());
            let (Some(context), DeValue::Table(actions)) = (context, value.get_ref()) else {
                let message = "expected one of the tables global, input and pane";
                return Err(file.fault(name.span(), message));
            };
            for (name, value) in actions {
                let Some(action) = Action::from_name(name.get_ref()) else {
                    let fault = file.fault(name.span(), "there is no such action");
                    return Err(fault.with_hint(actions_like(name.get_ref())));
                };
                let texts: Vec<_> = match value.get_ref() {
                    DeValue::Array(list) => list.iter().collect(),
                    _ => vec![value],
                };
                for text in &texts {
                    let Some(written) = text.get_ref().as_str() else {
                        let message = "expected a key, as in \"ctrl-c\", or a list of keys";
                        return Err(file.fault(text.span(), message));
                    };
                    let chord = written
                        .parse::<Chord>()
                        .map_err(|e| file.fault(text.span(), e.to_string()))?;
                    read.push((name.span().start, text.span(), context, chord, action));
                }
                // An action's own keys are replaced, not added to: an empty list unbinds it.
                self.bindings
                    .retain(|b| (b.context, b.action) != (context, action));
            }
        }
        // In the order in which they are written: a table iterates by name.
        read.sort_by_key(|(at, ..)| *at);
        for (_, span, context, chord, action) in read {
            if let Some(other) = self.clash(context, chord, action) {
                let message = format!(
                    "{chord} is already the key of {}.{} ({}:{}); give one of them another key",
                    other.context.name(),
                    other.action.name(),
                    other.origin.0.display(),
                    other.origin.1,
                );
                return Err(file.fault(span, message));
            }
            self.bindings.push(Binding {
                context,
                chord,
                action,
                origin: (file.path.clone(), file.line(span.start)),
            });
        }
        Ok(())
    }

    /// The binding that makes `chord` ambiguous in `context`.
    fn clash(&self, context: Context, chord: Chord, action: Action) -> Option<&Binding> {
        self.bindings.iter().find(|b| {
            b.chord == chord
                && (b.context == context
                    || b.context == Context::Global
                    || context == Context::Global)
                && (b.action != action || b.context == context)
        })
    }

    /// What a key means where `context` has the focus.
    pub fn action(&self, context: Context, key: KeyEvent) -> Option<Action> {
        let chord = Chord::from(key);
        self.bindings
            .iter()
            .find(|b| b.chord == chord && (b.context == context || b.context == Context::Global))
            .map(|b| b.action)
    }

    /// The first key of an action where `context` has the focus, for hints.
    pub fn key(&self, context: Context, action: Action) -> Option<Chord> {
        let of = |wanted| {
            self.bindings
                .iter()
                .find(|b| b.action == action && b.context == wanted)
        };
        of(context).or_else(|| of(Context::Global)).map(|b| b.chord)
    }

    /// Every action that can be bound, as a configuration file writes it: its context, its keys
    /// (none: unbound), and whether they are the default ones.
    pub fn rows(&self) -> Vec<(Context, Action, Vec<Chord>, bool)> {
        let defaults = Self::default();
        let mut rows: Vec<(Context, Action, Vec<Chord>, bool)> = Vec::new();
        for binding in defaults.bindings.iter().chain(&self.bindings) {
            let (context, action) = (binding.context, binding.action);
            if !rows.iter().any(|row| (row.0, row.1) == (context, action)) {
                let keys = self.keys(context, action);
                let default = keys == defaults.keys(context, action);
                rows.push((context, action, keys, default));
            }
        }
        rows
    }

    fn keys(&self, context: Context, action: Action) -> Vec<Chord> {
        let of = |b: &&Binding| (b.context, b.action) == (context, action);
        self.bindings.iter().filter(of).map(|b| b.chord).collect()
    }

    /// Actions of a context with all their keys, in the order of the help box.
    pub fn help(&self, context: Context) -> Vec<(Action, Vec<Chord>)> {
        let mut rows: Vec<(Action, Vec<Chord>)> = Vec::new();
        for binding in self.bindings.iter().filter(|b| b.context == context) {
            match rows.iter_mut().find(|(a, _)| *a == binding.action) {
                Some((_, chords)) => chords.push(binding.chord),
                None => rows.push((binding.action, vec![binding.chord])),
            }
        }
        rows
    }
}

/// The action that a wrong name is likely a slip of, and all that there are.
fn actions_like(name: &str) -> String {
    let names: Vec<&str> = Action::ALL.iter().map(|a| a.name()).collect();
    let likely = nearest(name, &names).map(|n| format!("did you mean '{n}'?\n  "));
    let all = names.join(", ");
    let rows = wrap_line(&all, 76).into_iter();
    let list: String = rows
        .map(|r| format!("\n    {}", all[r].trim_end()))
        .collect();
    format!("{}the actions are{list}", likely.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::crossterm::event::{KeyCode, KeyModifiers};

    fn config(text: &str) -> Result<Keymap, ConfigError> {
        Keymap::with_config(&SourceFile {
            path: "config.toml".into(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn the_defaults_bind_every_action() {
        let map = Keymap::from_defaults().unwrap();
        for &action in Action::ALL {
            let bound = map.bindings.iter().any(|b| b.action == action);
            assert!(bound, "{} has no key", action.name());
        }
    }

    #[test]
    fn a_config_replaces_only_what_it_names() {
        let map = config("theme = \"x\"\n[keys.global]\nquit = [\"ctrl-q\", \"f10\"]\n").unwrap();
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        let ctrl_q = key(KeyCode::Char('q'), KeyModifiers::CONTROL);
        let ctrl_c = key(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(map.action(Context::Input, ctrl_q), Some(Action::Quit));
        assert_eq!(map.action(Context::Input, ctrl_c), None);
        assert_eq!(
            map.key(Context::Input, Action::Quit).unwrap().to_string(),
            "Ctrl-Q"
        );
        let z = key(KeyCode::Char('z'), KeyModifiers::NONE);
        assert_eq!(map.action(Context::Pane, z), Some(Action::Zoom));
        assert_eq!(map.action(Context::Input, z), None, "a letter is text");
    }

    #[test]
    fn rows_are_what_a_configuration_file_would_say() {
        let map = config("[keys.global]\nquit = \"ctrl-q\"\nfreeze = []\n").unwrap();
        let rows = map.rows();
        let row = |context, action| {
            let found = rows.iter().find(|row| (row.0, row.1) == (context, action));
            let (_, _, keys, default) = found.unwrap();
            (keys.len(), *default)
        };
        assert_eq!(row(Context::Global, Action::Quit), (1, false));
        assert_eq!(row(Context::Global, Action::Freeze), (0, false));
        assert_eq!(row(Context::Pane, Action::Freeze), (1, true));
        // Written out as a file, they make the same map.
        let mut text = String::new();
        for context in Context::ALL {
            text += &format!("[keys.{}]\n", context.name());
            for (_, action, keys, _) in rows.iter().filter(|row| row.0 == context) {
                let keys: Vec<String> = keys.iter().map(|k| k.written()).collect();
                text += &format!("{} = {keys:?}\n", action.name());
            }
        }
        let again = config(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again.rows().len(), rows.len());
        for (a, b) in again.rows().iter().zip(&rows) {
            assert_eq!((a.0, a.1, &a.2), (b.0, b.1, &b.2));
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_key() {
        for (text, place, words) in [
            (
                "[keys.global]\nfreeze = \"ctrl-c\"",
                "2:10: keys.global.freeze: ",
                "already the key of global.quit",
            ),
            (
                "[keys.input]\nundo = \"tab\"",
                "2:8: keys.input.undo: ",
                "already the key of global.focus-next",
            ),
            (
                "[keys.pane]\nzoom = \"x\"\n\nfreeze = \"x\"",
                "4:10: keys.pane.freeze: ",
                "config.toml:2",
            ),
            (
                "[keys.pane]\nzoom = [\"x\", \"x\"]",
                "2:14: keys.pane.zoom: ",
                "already",
            ),
            (
                "[keys.global]\nfly = \"x\"",
                "2:1: keys.global.fly: ",
                "the actions are\n    submit, newline,",
            ),
            (
                "[keys.global]\nfreze = \"x\"",
                "2:1: keys.global.freze: there is no such action\n    |\n  2 | freze = \"x\"\n    | ^^^^^\n",
                "did you mean 'freeze'?",
            ),
            (
                "[keys.sky]\nquit = \"x\"",
                "1:7: keys.sky: ",
                "global, input and pane",
            ),
            (
                "[keys.global]\nquit = 3",
                "2:8: keys.global.quit: ",
                "expected a key",
            ),
            (
                "[keys.global]\nquit = \"hyper-q\"",
                "2:8: keys.global.quit: ",
                "not a key",
            ),
            ("keys = 1", "1:8: keys: ", "expected a table"),
            ("[keys.global\n", "1:", "^"),
        ] {
            let error = config(text).unwrap_err().to_string();
            let place = format!("config.toml:{place}");
            assert!(error.starts_with(&place), "{text}: {error}");
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
