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
//!
//! Each setting is one row of `table`; all else follows from the rows.

mod env;
mod fault;
mod layer;
pub mod limits;
mod paths;
mod read;
mod row;
mod table;
mod values;

pub use env::unknown_variables;
pub(crate) use fault::nearest;
pub use fault::{ConfigError, Fault, SourceFile};
pub use paths::Paths;
pub use row::{Flag, Row, Scope};
pub use table::{Layer, ROWS, Settings};
pub use values::{Draft, LogFile, LogLevel, ModelName, Ram, Scout, Switch, Template, ThinkBudget};

use crate::plan::DraftRequest;
use crate::session::{DrafterOptions, EngineOptions, Sampling};
use crate::vocabulary::ExpertPolicy;
use row::Stack;
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
        let stack = Stack {
            layers: [
                (Origin::Flag, flags),
                (Origin::Environment, environment),
                (Origin::File, written),
            ],
        };
        Ok(Self::from_stack(&stack, file))
    }

    /// Every setting: its key in the file, its value as the file would spell it, and its layer.
    pub fn rows(&self) -> Vec<(&'static str, String, Origin)> {
        let row = |row: &&dyn Row| {
            let (value, origin) = row.shown(self);
            (row.key(), value, origin)
        };
        ROWS.iter().map(row).collect()
    }

    /// The log file: the one that was named, or the user's own if there is a home for it.
    pub fn log_file(&self) -> Option<PathBuf> {
        self.log_file.value.path()
    }

    /// Where the value of the setting `key` (as in `sampling.top-k`) was written, in words.
    pub fn place(&self, key: &str, origin: Origin) -> String {
        match origin {
            Origin::Flag => format!("--{}", row::flag_name(key)),
            Origin::Environment => row::variable(key),
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
        let draft = match &self.draft.value {
            Draft::None => DraftRequest::None,
            Draft::Model(name) if self.draft.origin != Origin::Default => {
                DraftRequest::Required(find(name.as_ref())?)
            }
            Draft::Model(name) => match find(name.as_ref()) {
                Ok(path) => DraftRequest::Default(path),
                Err(error) => DraftRequest::Missing(format!("{error:#}")),
            },
        };
        Ok(EngineOptions {
            oracle,
            draft,
            scout: self.scout.value == Scout::Heuristic,
            ram: self.ram.value.size(),
            vram: self.vram.value,
            ctx_tokens: self.ctx.value,
            threads: self.threads.value,
            tree: self.tree.value,
            max_tokens: self.max_tokens.value,
            fixed_length: false,
            draft_waits: false,
            system: self.system.value.clone(),
            chat_template: self.chat_template.value.name(),
            think: self.think.value,
            think_budget: self.think_budget.value.tokens(),
            anticipate: true,
            exact: self.exact.value == Switch::On,
            experts: ExpertPolicy::default(),
            record_routing: None,
            drafters: DrafterOptions {
                recycle: self.recycle.value == Switch::On,
            },
            sampling: Sampling {
                temperature: self.temp.value,
                top_k: self.top_k.value,
                top_p: self.top_p.value,
                min_p: self.min_p.value,
                repeat_penalty: self.repeat_penalty.value,
                seed: self.seed.value,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Vram;
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
        assert_eq!(options.draft, DraftRequest::None);
        assert_eq!(options.vram, Vram::Auto);
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
        let DraftRequest::Missing(said) = options.draft else {
            panic!("{:?} is not there", options.draft);
        };
        assert!(
            said.contains(DEFAULT_DRAFT) && said.contains("not here"),
            "{said}"
        );

        let asked = settings("oracle = \"big\"\ndraft = \"small\"").unwrap();
        assert_eq!(asked.engine_options(find).unwrap_err(), "small is not here");
        let none = settings("oracle = \"big\"\ndraft = \"none\"").unwrap();
        let options = none.engine_options(find).unwrap();
        assert_eq!(options.draft, DraftRequest::None);
        let no_oracle = settings("oracle = \"small\"").unwrap();
        no_oracle.engine_options(find).unwrap_err();
    }
}
