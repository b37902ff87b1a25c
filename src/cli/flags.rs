//! Flags of settings, made from the table of settings, so that a setting has its flag by its row.

use crate::config::{Flag, Layer, ROWS, Row, Scope};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint, value_parser,
};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Options that every command takes, before its name or after it.
#[derive(Debug, Default)]
pub struct SharedFlags {
    layer: Layer,
    config: Option<PathBuf>,
}

impl SharedFlags {
    /// As the strongest layer of the settings.
    pub fn layer(&self) -> Layer {
        self.layer.clone()
    }

    /// The configuration file that is read instead of the user's own.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

impl Args for SharedFlags {
    fn augment_args(command: Command) -> Command {
        let (log, others): (Vec<_>, Vec<_>) =
            rows(Scope::Shared).partition(|(row, _)| row.place().0 == Some("log"));
        let config = Arg::new("config")
            .long("config")
            .help("Read this configuration file instead of the user's own")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .global(true);
        command
            .next_help_heading("Shared options")
            .args(others.into_iter().map(arg))
            .arg(config)
            .args(log.into_iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SharedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            layer: layer(matches, Scope::Shared)?,
            config: matches.get_one::<PathBuf>("config").cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let new = Self::from_arg_matches(matches)?;
        self.layer = new.layer.over(std::mem::take(&mut self.layer));
        self.config = new.config.or(self.config.take());
        Ok(())
    }
}

/// Options of commands that answer one prompt.
#[derive(Debug, Default)]
pub struct AnswerFlags(Layer);

impl AnswerFlags {
    /// As a layer of the settings.
    pub fn layer(&self) -> Layer {
        self.0.clone()
    }
}

impl Args for AnswerFlags {
    fn augment_args(command: Command) -> Command {
        // In the help, flags that take numbers come before those that take words.
        let (numbers, texts): (Vec<_>, Vec<_>) =
            rows(Scope::Answer).partition(|(row, _)| row.is_number());
        command.args(numbers.into_iter().chain(texts).map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AnswerFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        layer(matches, Scope::Answer).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let new = layer(matches, Scope::Answer)?;
        self.0 = new.over(std::mem::take(&mut self.0));
        Ok(())
    }
}

fn rows(scope: Scope) -> impl Iterator<Item = (&'static dyn Row, Flag)> {
    let flags = ROWS.iter().filter_map(|row| Some((*row, row.flag()?)));
    flags.filter(move |(_, flag)| flag.scope == scope)
}

fn arg((row, flag): (&'static dyn Row, Flag)) -> Arg {
    // Kept as it was written once it is known to be good: the layer is made of all flags together.
    let check = move |text: OsString| row.read(&text, &mut Layer::default()).map(|()| text);
    let mut arg = Arg::new(row.flag_name())
        .long(row.flag_name())
        .short(flag.short)
        .help(flag.help)
        .value_name(flag.value_name)
        .action(ArgAction::Set)
        .allow_negative_numbers(row.is_number())
        .value_parser(OsStringValueParser::new().try_map(check))
        .global(flag.scope == Scope::Shared);
    if let Some(value) = flag.alone {
        arg = arg.num_args(0..=1).default_missing_value(value);
    }
    if flag.is_path {
        arg = arg.value_hint(ValueHint::AnyPath);
    }
    arg
}

fn layer(matches: &ArgMatches, scope: Scope) -> Result<Layer, Error> {
    let mut layer = Layer::default();
    for (row, _) in rows(scope) {
        if let Some(text) = matches.get_one::<OsString>(&row.flag_name()) {
            row.read(text, &mut layer)
                .map_err(|what| Error::raw(ErrorKind::ValueValidation, what))?;
        }
    }
    Ok(layer)
}
