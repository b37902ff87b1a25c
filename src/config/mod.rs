//! Settings and where they come from.
//!
//! Owns the layering: a flag beats an environment variable, which beats the configuration
//! file, which beats the default. Every [`Setting`] remembers the layer that it came from, so
//! that `nmos config show` and error messages can say so. Nothing here writes to disk.
//!
//! ```text
//!  flags  >  NMOS_* environment  >  --config FILE or <config dir>/nmos/config.toml  >  defaults
//!    \_____________ each is a Layer, every value optional ______________/                 |
//!                                   \______________ Settings::resolve ___________________/
//! ```

mod env;
mod error;
mod layer;
pub mod limits;
mod paths;
mod show;
mod values;

pub use env::unknown_variables;
pub(crate) use error::nearest;
pub use error::{ConfigError, Fault};
pub use layer::{KeyTable, Layer, LogLayer, SamplingLayer};
pub use paths::Paths;
pub use values::{Draft, LogLevel, ModelName, Ram, Scout, Switch, Template, Vram};

use crate::session::{self, DrafterOptions, EngineOptions, Sampling, TreeSize};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// The documented configuration file with every default, which `nmos config init` writes.
pub const DEFAULT_FILE: &str = include_str!("../../configs/nmos.toml");

/// The oracle that is used where none is named.
pub const DEFAULT_ORACLE: &str = "qwen2.5-coder-1.5b";
/// The draft that is used where none is named.
pub const DEFAULT_DRAFT: &str = "qwen2.5-coder-0.5b";
/// The theme that is used where none is named.
pub const DEFAULT_THEME: &str = "nmos-dark";
/// What the model is told before the conversation begins.
pub const DEFAULT_SYSTEM: &str = "You are a helpful assistant.";

/// The layer that a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// A value in force, and the layer that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<T> {
    pub value: T,
    pub origin: Origin,
}

/// A configuration file that was read: kept so that whoever interprets a part of it later
/// (the keymap) can still point at the line.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

impl SourceFile {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self {
                path: path.to_owned(),
                text,
            }),
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// An error about the bytes `span` of this file.
    pub fn fault(&self, span: std::ops::Range<usize>, what: impl Into<String>) -> ConfigError {
        ConfigError::File(Box::new(Fault::at(&self.path, &self.text, span, what)))
    }
}

/// Everything that can be set, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    pub oracle: Setting<ModelName>,
    pub draft: Setting<Draft>,
    pub scout: Setting<Scout>,
    pub ram: Setting<Ram>,
    pub vram: Setting<Vram>,
    pub ctx: Setting<usize>,
    pub threads: Setting<usize>,
    /// Most nodes of a pass.
    pub tree: Setting<TreeSize>,
    pub max_tokens: Setting<usize>,
    pub system: Setting<String>,
    /// The form of prompts.
    pub chat_template: Setting<Template>,
    pub theme: Setting<String>,
    /// Whether texts depend on model, prompt and sampling alone, whatever that costs.
    pub exact: Setting<Switch>,
    /// Whether guesses are also drawn from the oracle's own logits of earlier passes.
    pub recycle: Setting<Switch>,
    /// Whether the workbench takes the mouse, or leaves it to the terminal.
    pub mouse: Setting<Switch>,
    pub sampling: SamplingSettings,
    pub log_level: Setting<LogLevel>,
    /// `None`: `nmos.log` in the user's state directory.
    pub log_file: Setting<Option<PathBuf>>,
    /// The `[keys]` table as written; the workbench's keymap interprets it.
    pub keys: KeyTable,
    /// The file that was read, if there is one.
    pub file: Option<SourceFile>,
}

/// How the next token is chosen.
#[derive(Clone, Debug)]
pub struct SamplingSettings {
    pub temp: Setting<f32>,
    pub top_k: Setting<usize>,
    pub top_p: Setting<f32>,
    pub min_p: Setting<f32>,
    pub repeat_penalty: Setting<f32>,
    pub seed: Setting<u64>,
}

impl Settings {
    /// Reads the environment and the file, and lays the flags over them.
    ///
    /// `explicit` is the file named by `--config`; without it `NMOS_CONFIG` and then the user's
    /// own file are looked for. A file that was named must exist, the user's own need not.
    pub fn load(flags: Layer, explicit: Option<&Path>) -> Result<Self, ConfigError> {
        let vars = |name: &str| std::env::var_os(name);
        let named = explicit
            .map(Path::to_owned)
            .or_else(|| env::path(&vars, "NMOS_CONFIG"));
        let file = match (&named, Paths::for_user()) {
            (Some(path), _) => Some(SourceFile::read(path)?),
            (None, Some(paths)) => match SourceFile::read(&paths.config_file()) {
                Ok(file) => Some(file),
                Err(ConfigError::Read { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    None
                }
                Err(error) => return Err(error),
            },
            (None, None) => None,
        };
        Self::resolve(flags, env::layer(&vars)?, file)
    }

    /// Lays the layers over each other.
    pub fn resolve(
        flags: Layer,
        environment: Layer,
        file: Option<SourceFile>,
    ) -> Result<Self, ConfigError> {
        let written = match &file {
            Some(file) => Layer::parse(file)?,
            None => Layer::default(),
        };
        let keys = written.keys.clone();
        let stack = Stack {
            layers: [
                (Origin::Flag, flags),
                (Origin::Environment, environment),
                (Origin::File, written),
            ],
        };
        let sampling = Sampling::default();
        Ok(Self {
            oracle: stack.pick(|l| l.oracle.clone(), || ModelName::new(DEFAULT_ORACLE)),
            draft: stack.pick(
                |l| l.draft.clone(),
                || Draft::Model(ModelName::new(DEFAULT_DRAFT)),
            ),
            scout: stack.pick(|l| l.scout, || Scout::Heuristic),
            ram: stack.pick(|l| l.ram, || Ram::Auto),
            vram: stack.pick(|l| l.vram, || Vram::Auto),
            ctx: stack.pick(|l| l.ctx, || 4096),
            threads: stack.pick(|l| l.threads, crate::system::cores),
            tree: stack.pick(|l| l.tree, TreeSize::default),
            max_tokens: stack.pick(|l| l.max_tokens, || 1024),
            system: stack.pick(|l| l.system.clone(), || DEFAULT_SYSTEM.to_owned()),
            chat_template: stack.pick(|l| l.chat_template.clone(), || Template::Own),
            theme: stack.pick(|l| l.theme.clone(), || DEFAULT_THEME.to_owned()),
            exact: stack.pick(|l| l.exact, || Switch::Off),
            recycle: stack.pick(|l| l.recycle, || Switch::Off),
            mouse: stack.pick(|l| l.mouse, || Switch::On),
            sampling: SamplingSettings {
                temp: stack.pick(|l| l.sampling.temp, || sampling.temperature),
                top_k: stack.pick(|l| l.sampling.top_k, || sampling.top_k),
                top_p: stack.pick(|l| l.sampling.top_p, || sampling.top_p),
                min_p: stack.pick(|l| l.sampling.min_p, || sampling.min_p),
                repeat_penalty: stack
                    .pick(|l| l.sampling.repeat_penalty, || sampling.repeat_penalty),
                seed: stack.pick(|l| l.sampling.seed, || sampling.seed),
            },
            log_level: stack.pick(|l| l.log.level, LogLevel::default),
            log_file: stack.pick(|l| l.log.file.clone().map(Some), || None),
            keys,
            file,
        })
    }

    /// The log file: the one that was named, or the user's own if there is a home for it.
    pub fn log_file(&self) -> Option<PathBuf> {
        let named = self.log_file.value.clone();
        named.or_else(|| Paths::for_user().map(|paths| paths.log_file()))
    }

    /// Where the value of the setting `key` (as in `sampling.top-k`) was written, in words.
    pub fn place(&self, key: &str, origin: Origin) -> String {
        match origin {
            Origin::Flag => format!("--{}", flag(key)),
            Origin::Environment => env::variable(&flag(key)),
            Origin::File => match &self.file {
                Some(file) => format!("{key} in {}", file.path.display()),
                None => format!("{key} in the configuration file"),
            },
            Origin::Default => "default".to_owned(),
        }
    }

    /// What a session is started with. `find` turns a model's name or path into its file. A draft
    /// that nobody asked for need not be there.
    pub fn engine_options<E: fmt::Display>(
        &self,
        find: impl Fn(&OsStr) -> Result<PathBuf, E>,
    ) -> Result<EngineOptions, E> {
        let oracle = find(self.oracle.value.as_ref())?;
        let draft_required = self.draft.origin != Origin::Default;
        let (draft, draft_absent) = match &self.draft.value {
            Draft::None => (None, None),
            Draft::Model(name) => match find(name.as_ref()) {
                Ok(path) => (Some(path), None),
                Err(error) if draft_required => return Err(error),
                Err(error) => (None, Some(session::left_out(error))),
            },
        };
        Ok(EngineOptions {
            oracle,
            draft,
            draft_required,
            draft_absent,
            scout: self.scout.value == Scout::Heuristic,
            ram: self.ram.value.size(),
            vram: self.vram.value.size(),
            ctx_tokens: self.ctx.value,
            threads: self.threads.value,
            tree: self.tree.value,
            max_tokens: self.max_tokens.value,
            fixed_length: false,
            draft_waits: false,
            system: self.system.value.clone(),
            chat_template: self.chat_template.value.name(),
            anticipate: true,
            exact: self.exact.value == Switch::On,
            drafters: DrafterOptions {
                recycle: self.recycle.value == Switch::On,
            },
            sampling: Sampling {
                temperature: self.sampling.temp.value,
                top_k: self.sampling.top_k.value,
                top_p: self.sampling.top_p.value,
                min_p: self.sampling.min_p.value,
                repeat_penalty: self.sampling.repeat_penalty.value,
                seed: self.sampling.seed.value,
            },
        })
    }
}

/// The name of a setting's flag, as far as it has one.
fn flag(key: &str) -> String {
    // Flags are not in tables: those of the log say what they are about, those of sampling need not.
    key.trim_start_matches("sampling.").replace('.', "-")
}

/// The layers, the strongest first.
struct Stack {
    layers: [(Origin, Layer); 3],
}

impl Stack {
    /// The first layer's value that has one, else the default.
    fn pick<T>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn file(text: &str) -> Option<SourceFile> {
        Some(SourceFile {
            path: "config.toml".into(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn each_layer_beats_the_ones_below_it() {
        let layer = |ctx| Layer {
            ctx,
            ..Layer::default()
        };
        for (flag, env, text, value, origin) in [
            (Some(1024), Some(2048), "ctx = 8192", 1024, Origin::Flag),
            (None, Some(2048), "ctx = 8192", 2048, Origin::Environment),
            (None, None, "ctx = 8192", 8192, Origin::File),
            (None, None, "", 4096, Origin::Default),
        ] {
            let settings = Settings::resolve(layer(flag), layer(env), file(text)).unwrap();
            assert_eq!(settings.ctx, Setting { value, origin });
        }
    }

    #[test]
    fn every_line_of_the_documented_file_is_the_default() {
        // A line that begins with '#' and no space is a setting that is commented out.
        let uncommented: String = DEFAULT_FILE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let plain = Settings::resolve(Layer::default(), Layer::default(), None).unwrap();
        let read = Settings::resolve(Layer::default(), Layer::default(), file(&uncommented));
        let read = read.unwrap_or_else(|e| panic!("{e}"));
        for ((key, want, _), (_, got, origin)) in plain.rows().into_iter().zip(read.rows()) {
            // These two have no default that a file could spell: they depend on the machine.
            if key == "threads" || key == "log.file" {
                continue;
            }
            assert_eq!(got, want, "{key}");
            assert_eq!(origin, Origin::File, "{key} is not in configs/nmos.toml");
        }
        assert!(DEFAULT_FILE.contains("#threads = ") && DEFAULT_FILE.contains("#file = "));
    }

    #[test]
    fn the_documented_file_changes_nothing_as_it_is() {
        let read = Settings::resolve(Layer::default(), Layer::default(), file(DEFAULT_FILE));
        for (key, _, origin) in read.unwrap().rows() {
            assert_eq!(origin, Origin::Default, "{key}");
        }
    }

    #[test]
    fn options_of_a_session_follow_the_settings() {
        let text = "draft = \"none\"\nscout = \"none\"\nram = \"960MiB\"\n[sampling]\ntemp = 1\n";
        let settings = Settings::resolve(Layer::default(), Layer::default(), file(text)).unwrap();
        let options = settings
            .engine_options(|name| Ok::<_, String>(Path::new("/models").join(name)))
            .unwrap();
        assert_eq!(options.oracle, Path::new("/models").join(DEFAULT_ORACLE));
        assert_eq!(options.draft, None);
        assert!(!options.scout);
        assert_eq!(options.ram, Some(Bytes::mib(960)));
        assert_eq!(options.sampling.temperature, 1.0);
    }

    #[test]
    fn only_a_draft_that_was_asked_for_must_be_there() {
        let find = |name: &OsStr| match name.to_str() {
            Some("big") => Ok(PathBuf::from("/models/big")),
            _ => Err(format!("{} is not here", name.display())),
        };
        let settings = |text| Settings::resolve(Layer::default(), Layer::default(), file(text));
        let plain = settings("oracle = \"big\"").unwrap();
        let options = plain.engine_options(find).unwrap();
        assert_eq!((options.draft, options.draft_required), (None, false));
        let said = options.draft_absent.unwrap();
        assert!(
            said.contains(DEFAULT_DRAFT) && said.contains("not here"),
            "{said}"
        );

        let asked = settings("oracle = \"big\"\ndraft = \"small\"").unwrap();
        assert_eq!(asked.engine_options(find).unwrap_err(), "small is not here");
        let none = settings("oracle = \"big\"\ndraft = \"none\"").unwrap();
        assert_eq!(none.engine_options(find).unwrap().draft_absent, None);
        let no_oracle = settings("oracle = \"small\"").unwrap();
        no_oracle.engine_options(find).unwrap_err();
    }
}
