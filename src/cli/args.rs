//! What can be written on the command line. Scripts depend on these names.

use crate::config::{
    Draft, Layer, LogLayer, LogLevel, ModelName, Ram, SamplingLayer, Scout, Switch, Template, Vram,
    limits,
};
use crate::forge::{Dims, Quant};
use crate::session::TreeSize;
use crate::units::Bytes;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "nmos",
    about = "A workbench over language models larger than memory",
    long_about = "NMOS runs a language model that is larger than memory, streams its weights from \
                  the SSD, and works while you type. Without a command it opens the workbench.",
    version = super::version::short(),
    long_version = super::version::long(),
    after_help = "Options can also be set as variables (--top-k is NMOS_TOP_K) and in the \
                  configuration file (nmos config path). Exit codes: 0 ok, 1 failed, 2 usage.",
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub record: Record,
    #[command(flatten)]
    pub shared: Shared,
}

/// Recording, for the workbench alone.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Workbench options")]
pub struct Record {
    /// Record when keys are pressed, a trace a prompt: FILE, then FILE-2 and so on
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Record which keys they are as well
    #[arg(long, requires = "record")]
    pub record_text: bool,
}

/// What to do; nothing said is the workbench.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer one prompt on standard output
    Run(RunArgs),
    /// Open the workbench and type a recorded trace into it
    Replay(ReplayArgs),
    /// Replay recorded traces without a terminal and report what a typist waits for
    Bench(BenchArgs),
    /// Fetch, list, check and remove models
    #[command(subcommand)]
    Models(super::models::ModelsCommand),
    /// Say how a model would be placed in memory and how fast it would be, without loading it
    Plan(PlanArgs),
    /// Measure this machine and say whether it is fit
    Doctor(DoctorArgs),
    /// Make a large test model that computes what the oracle computes
    Forge(ForgeArgs),
    /// Draw the workbench's screens as pictures, without a terminal
    Shot(ShotArgs),
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Options that every command takes, before its name or after it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Shared options")]
pub struct Shared {
    /// The model that answers: a path or a name from `nmos models list`
    #[arg(long, global = true, value_name = "MODEL", value_parser = OsStringValueParser::new().try_map(limits::oracle))]
    pub oracle: Option<ModelName>,
    /// The model that guesses ahead: a path, a name, or `none`
    #[arg(long, global = true, value_name = "MODEL", value_parser = OsStringValueParser::new().try_map(Draft::read))]
    pub draft: Option<Draft>,
    /// What guesses the kind of a prompt: `heuristic` or `none`
    #[arg(long, global = true, value_name = "SCOUT")]
    pub scout: Option<Scout>,
    /// The most memory to hold, as in 512MiB or 4G; `auto` leaves a margin
    #[arg(long, global = true, value_name = "SIZE")]
    pub ram: Option<Ram>,
    /// The most of the GPU's memory to hold; `auto` leaves a margin, `none` leaves the GPU alone
    #[arg(long, global = true, value_name = "SIZE")]
    pub vram: Option<Vram>,
    /// Tokens that a conversation can hold
    #[arg(long, global = true, value_name = "N", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::ctx))]
    pub ctx: Option<usize>,
    /// Threads that compute
    #[arg(long, global = true, value_name = "N", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::threads))]
    pub threads: Option<usize>,
    /// Most tokens of a pass, guesses counted in: 1 guesses nothing, `auto` takes what pays,
    /// `chain:N` is N guesses that do not branch
    #[arg(long, global = true, value_name = "N")]
    pub tree: Option<TreeSize>,
    /// The form of prompts: the name of a built-in chat template, a Jinja file, `none`, or `auto`
    /// for the model's own
    #[arg(long, global = true, value_name = "NAME|FILE")]
    pub chat_template: Option<Template>,
    /// on: texts depend on model, prompt and sampling alone, also where a draft guesses and that
    /// takes longer
    #[arg(long, global = true, value_name = "SWITCH", num_args = 0..=1, default_missing_value = "on")]
    pub exact: Option<Switch>,
    /// on: guesses are also drawn from what the oracle said of the same tokens before
    #[arg(long, global = true, value_name = "SWITCH", num_args = 0..=1, default_missing_value = "on")]
    pub recycle: Option<Switch>,
    /// on, or off to leave the mouse to the terminal, for selecting text
    #[arg(long, global = true, value_name = "SWITCH")]
    pub mouse: Option<Switch>,
    /// Read this configuration file instead of the user's own
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Write the log to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl Shared {
    /// As the strongest layer of the settings.
    pub fn layer(&self) -> Layer {
        Layer {
            oracle: self.oracle.clone(),
            draft: self.draft.clone(),
            scout: self.scout,
            ram: self.ram,
            vram: self.vram,
            ctx: self.ctx,
            threads: self.threads,
            tree: self.tree,
            chat_template: self.chat_template.clone(),
            exact: self.exact,
            recycle: self.recycle,
            mouse: self.mouse,
            log: LogLayer {
                level: self.log_level,
                file: self.log_file.clone(),
            },
            ..Layer::default()
        }
    }
}

/// `nmos run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The prompt, or `-` to read it from standard input
    pub prompt: String,
    /// Most tokens of the answer
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::max_tokens))]
    pub max_tokens: Option<usize>,
    /// Sampling temperature; 0 always takes the likeliest token
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::temp))]
    pub temp: Option<f32>,
    /// Draw from the K likeliest tokens; 0 is all
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::top_k))]
    pub top_k: Option<usize>,
    /// Draw from the likeliest tokens that hold this share of the probability
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::top_p))]
    pub top_p: Option<f32>,
    /// Leave out tokens below this share of the likeliest one's probability
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::min_p))]
    pub min_p: Option<f32>,
    /// Above 1, tokens that were there before become less likely
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::repeat_penalty))]
    pub repeat_penalty: Option<f32>,
    /// The number that random choices start from
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::seed))]
    pub seed: Option<u64>,
    /// What the model is told before the prompt
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Print one JSON object with the answer and its figures instead of the text
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    /// Lays the options of an answer over `layer`.
    pub fn over(&self, layer: Layer) -> Layer {
        Layer {
            max_tokens: self.max_tokens,
            system: self.system.clone(),
            sampling: SamplingLayer {
                temp: self.temp,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repeat_penalty: self.repeat_penalty,
                seed: self.seed,
            },
            ..layer
        }
    }
}

/// `nmos replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A trace that was recorded
    pub trace: PathBuf,
    /// How many times faster than it was typed
    #[arg(long, value_name = "X", default_value = "1", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::speed))]
    pub speed: f64,
}

/// `nmos bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Traces that were recorded
    #[arg(required = true, value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// How many times faster than they were typed
    #[arg(long, value_name = "X", default_value = "1", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::speed))]
    pub speed: f64,
    /// Run only so many traces, spread evenly over those given
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Tokens of every answer
    #[arg(short = 'n', long, value_name = "N", default_value = "32", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::max_tokens))]
    pub tokens: usize,
    /// Also run each trace cold, with all work starting at Enter, and compare
    #[arg(long)]
    pub baseline: bool,
    /// Write the whole report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `nmos forge`
#[derive(Debug, Args)]
#[command(
    long_about = "Make a large test model that computes what the oracle computes: deeper by layers \
                  that add nothing, wider by columns that are worth nothing. The result is \
                  compared with the oracle before it gets its name."
)]
pub struct ForgeArgs {
    /// The file to make
    #[arg(value_name = "FILE", required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// Layers in all; the added ones stand evenly between the real ones
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub layers: Option<usize>,
    /// As many layers as bring the file to about this size, as in 4.7GB
    #[arg(
        long,
        value_name = "SIZE",
        conflicts_with = "layers",
        help_heading = "Shape"
    )]
    pub size: Option<Bytes>,
    /// The shape of a Qwen2.5 model; what else is said of the shape overrides it
    #[arg(long, value_name = "NAME", value_parser = super::forge::preset_parser(), help_heading = "Shape")]
    pub shape: Option<Dims>,
    /// Elements of the residual stream (n_embd)
    #[arg(long, value_name = "D", help_heading = "Shape")]
    pub width: Option<usize>,
    /// Query heads [default: what fills the width, in whole groups]
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub heads: Option<usize>,
    /// Key-value heads [default: the source's, or the next number that divides the heads]
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub kv_heads: Option<usize>,
    /// Elements of the feed-forward [default: in the source's ratio to the width]
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub ff: Option<usize>,
    /// Quantise the weights anew first
    #[arg(long, value_name = "MIX", value_parser = super::forge::quant_parser())]
    pub quant: Option<Quant>,
    /// The number that the filler's bytes start from
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Do not compare the result with what it was made from
    #[arg(long)]
    pub no_verify: bool,
    /// Say what would be made and how large, and make nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `nmos shot`
#[derive(Debug, Args)]
pub struct ShotArgs {
    /// An .svg or .png file; each picture's moment is put before the ending
    #[arg(default_value = "nmos.svg")]
    pub output: PathBuf,
    /// Columns and rows
    #[arg(long, value_name = "WxH", default_value = "120x40", value_parser = limits::size)]
    pub size: (u16, u16),
    /// What is typed
    #[arg(long, value_name = "TEXT", default_value = super::shot::DEFAULT_PROMPT)]
    pub prompt: String,
}

/// `nmos doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

/// `nmos plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Load the model, run N passes of each shape, and compare with what is predicted
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5")]
    pub check: Option<NonZeroUsize>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

/// `nmos config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write the documented default file; never over one that is there
    Init,
    /// Print where the file is looked for
    Path,
    /// Print the settings in force and where each came from
    Show,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shared_options_stand_before_or_after_the_command() {
        for line in [
            ["nmos", "--ram", "1GiB", "doctor"],
            ["nmos", "doctor", "--ram", "1GiB"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.shared.layer().ram, Some("1GiB".parse().unwrap()));
        }
        let cli = Cli::try_parse_from(["nmos", "plan", "--tree", "16"]).unwrap();
        assert_eq!(cli.shared.layer().tree, Some(TreeSize::Fixed(16)));
        Cli::try_parse_from(["nmos", "--tree", "0"]).unwrap_err();
    }

    #[test]
    fn a_number_below_zero_is_answered_with_what_is_allowed() {
        let error = Cli::try_parse_from(["nmos", "run", "--seed", "-1", "hello"]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("-1 is not a seed: write a whole number from 0 up"),
            "{text}"
        );
        let error = Cli::try_parse_from(["nmos", "run", "-n", "-5", "hello"]).unwrap_err();
        assert!(error.to_string().contains("1 to"), "{error}");
    }

    #[test]
    fn options_of_an_answer_reach_the_layer() {
        let line = "nmos run -n 5 --temp 0.7 --top-k 40 --seed 3 --system x --ctx 512 hello";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Some(Command::Run(run)) = &cli.command else {
            panic!("not run");
        };
        let layer = run.over(cli.shared.layer());
        assert_eq!((layer.max_tokens, layer.ctx), (Some(5), Some(512)));
        assert_eq!(layer.sampling.temp, Some(0.7));
        assert_eq!(layer.sampling.top_k, Some(40));
        assert_eq!(layer.sampling.seed, Some(3));
        assert_eq!(layer.system.as_deref(), Some("x"));
    }
}
