//! What a row of the table of settings is made into.

use super::read::Read;
use super::{Layer, Origin, Setting, Settings};
use std::ffi::OsStr;
use std::fmt::Display;
use toml::de::DeValue;

/// One setting, whatever its type.
pub trait Row: Sync {
    /// Its key in the file, dotted where it is in a table: `sampling.top-k`.
    fn key(&self) -> &'static str;

    /// `None`: there is no flag for it.
    fn flag(&self) -> Option<Flag>;

    /// Whether it is a number in every layer: then it may begin with a sign.
    fn is_number(&self) -> bool;

    /// Reads a flag's or a variable's value into `layer`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    fn read(&self, text: &OsStr, layer: &mut Layer) -> Result<(), String>;

    /// Reads a value of the file into `layer`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    fn read_toml(&self, value: &DeValue<'_>, layer: &mut Layer) -> Result<(), String>;

    /// The value in force as the file would spell it, and its layer.
    fn shown(&self, settings: &Settings) -> (String, Origin);
}

impl dyn Row {
    /// The table of the file that it is in, if any, and its key there.
    pub fn place(&self) -> (Option<&'static str>, &'static str) {
        match self.key().split_once('.') {
            Some((table, key)) => (Some(table), key),
            None => (None, self.key()),
        }
    }

    /// The name of its flag, as far as it has one.
    pub fn flag_name(&self) -> String {
        flag_name(self.key())
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        variable(self.key())
    }
}

/// The variable of the setting `key`.
pub(super) fn variable(key: &str) -> String {
    format!("NMOS_{}", flag_name(key).to_uppercase().replace('-', "_"))
}

/// The name of the flag of the setting `key`, as far as it has one.
pub(super) fn flag_name(key: &str) -> String {
    // Flags are not in tables: those of the log say what they are about, those of sampling need not.
    key.trim_start_matches("sampling.").replace('.', "-")
}

/// A setting's flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub scope: Scope,
    pub value_name: &'static str,
    pub help: &'static str,
    pub short: Option<char>,
    /// What the flag means without a value; `None`: it needs one.
    pub alone: Option<&'static str>,
    /// The value is a path, which shells complete.
    pub is_path: bool,
}

/// Which commands take a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Shared,
    /// Those that answer one prompt.
    Answer,
}

impl Flag {
    /// A flag of every command.
    pub(super) const fn shared(value_name: &'static str, help: &'static str) -> Self {
        Self {
            scope: Scope::Shared,
            value_name,
            help,
            short: None,
            alone: None,
            is_path: false,
        }
    }

    /// A flag of the commands that answer one prompt.
    pub(super) const fn answer(value_name: &'static str, help: &'static str) -> Self {
        Self {
            scope: Scope::Answer,
            ..Self::shared(value_name, help)
        }
    }

    pub(super) const fn short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }

    pub(super) const fn alone_means(self, value: &'static str) -> Self {
        Self {
            alone: Some(value),
            ..self
        }
    }

    pub(super) const fn path(self) -> Self {
        Self {
            is_path: true,
            ..self
        }
    }
}

/// A row with its type.
pub(super) struct Typed<T> {
    pub key: &'static str,
    pub read: Read<T>,
    pub flag: Option<Flag>,
    pub slot: fn(&mut Layer) -> &mut Option<T>,
    pub setting: fn(&Settings) -> &Setting<T>,
}

impl<T: Display> Row for Typed<T> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn flag(&self) -> Option<Flag> {
        self.flag
    }

    fn is_number(&self) -> bool {
        self.read.is_number()
    }

    fn read(&self, text: &OsStr, layer: &mut Layer) -> Result<(), String> {
        *(self.slot)(layer) = Some(self.read.text(text)?);
        Ok(())
    }

    fn read_toml(&self, value: &DeValue<'_>, layer: &mut Layer) -> Result<(), String> {
        *(self.slot)(layer) = Some(self.read.toml(value)?);
        Ok(())
    }

    fn shown(&self, settings: &Settings) -> (String, Origin) {
        let setting = (self.setting)(settings);
        (self.read.spell(&setting.value), setting.origin)
    }
}

/// The layers, the strongest first.
pub(super) struct Stack {
    pub layers: [(Origin, Layer); 3],
}

impl Stack {
    /// The first layer's value that has one, else the default.
    pub fn pick<T>(
        &self,
        get: impl Fn(&Layer) -> Option<T>,
        default: impl FnOnce() -> T,
    ) -> Setting<T> {
        self.layers
            .iter()
            .find_map(|(origin, layer)| {
                get(layer).map(|value| Setting {
                    value,
                    origin: *origin,
                })
            })
            .unwrap_or_else(|| Setting {
                value: default(),
                origin: Origin::Default,
            })
    }
}

/// Makes the rows of [`super::table`] into what they are used as.
macro_rules! settings {
    ($($key:literal as $field:ident: $type:ty {
        read: $read:expr,
        default: $default:expr,
        flag: $flag:expr $(,)?
    })*) => {
        /// Settings from one source, in which every value is optional.
        #[derive(Clone, Debug, Default)]
        pub struct Layer {
            $(pub $field: Option<$type>,)*
        }

        impl Layer {
            /// This layer's values, and those of `weaker` where it has none.
            #[must_use]
            pub fn over(self, weaker: Self) -> Self {
                Self { $($field: self.$field.or(weaker.$field),)* }
            }
        }

        /// Everything that can be set, resolved.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $(pub $field: Setting<$type>,)*
            /// The file that was read, if there is one. Its `[keys]` are the keymap's to read.
            pub file: Option<SourceFile>,
        }

        impl Settings {
            pub(super) fn from_stack(stack: &Stack, file: Option<SourceFile>) -> Self {
                Self {
                    $($field: stack.pick(|layer| layer.$field.clone(), $default),)*
                    file,
                }
            }
        }

        /// Every setting, in the order in which they are shown.
        pub static ROWS: &[&dyn Row] = &[$(
            &Typed::<$type> {
                key: $key,
                read: $read,
                flag: $flag,
                slot: |layer| &mut layer.$field,
                setting: |settings| &settings.$field,
            },
        )*];
    };
}
pub(super) use settings;
