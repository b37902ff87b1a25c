//! Every setting, once: a row is all that there is to a setting but its use and its lines in
//! `configs/nmos.toml`.
//!
//! ```text
//!                     key in the file   field           type
//!                           |             |               |
//!               "sampling.top-k" as     top_k:          usize {
//!                   read      from text and from TOML, and checked
//!                   default   where no layer has it
//!                   flag      of every command, of those that answer, or none
//! ```
//!
//! From the rows follow the fields of [`Layer`] and [`Settings`], the flags (`--top-k`), the
//! variables (`NMOS_TOP_K`), what is allowed in the file, and what `nmos config show` prints. A
//! field's name is that of its flag and variable; the key differs from it in tables alone.

use super::read::Read;
use super::row::{Flag, Row, Stack, Typed, settings};
use super::values::{
    Draft, LogFile, LogLevel, ModelName, Ram, Scout, Switch, Template, ThinkBudget,
};
use super::{
    DEFAULT_DRAFT, DEFAULT_ORACLE, DEFAULT_SYSTEM, DEFAULT_THEME, Setting, SourceFile, limits,
};
use crate::model::Think;
use crate::plan::{TreeSize, Vram};
use crate::session::Sampling;
use std::str::FromStr;

settings! {
    "oracle" as oracle: ModelName {
        read: Read::Path(limits::oracle, "a text in quotes"),
        default: || ModelName::new(DEFAULT_ORACLE),
        flag: Some(Flag::shared(
            "MODEL",
            "The model that answers: a path or a name from `nmos models list`",
        )),
    }
    "draft" as draft: Draft {
        read: Read::Path(Draft::read, "a path or name in quotes, or \"none\""),
        default: || Draft::Model(ModelName::new(DEFAULT_DRAFT)),
        flag: Some(Flag::shared(
            "MODEL",
            "The model that guesses ahead: a path, a name, or `none`",
        )),
    }
    "scout" as scout: Scout {
        read: Read::Text(Scout::from_str, "\"heuristic\" or \"none\""),
        default: || Scout::Heuristic,
        flag: Some(Flag::shared(
            "SCOUT",
            "What guesses the kind of a prompt: `heuristic` or `none`",
        )),
    }
    "ram" as ram: Ram {
        read: Read::Text(Ram::from_str, "a size in quotes such as \"960MiB\", or \"auto\""),
        default: || Ram::Auto,
        flag: Some(Flag::shared(
            "SIZE",
            "The most memory to hold, as in 512MiB or 4G; `auto` leaves a margin",
        )),
    }
    "vram" as vram: Vram {
        read: Read::Text(
            Vram::from_str,
            "a size in quotes such as \"4GiB\", \"auto\" or \"none\"",
        ),
        default: || Vram::Auto,
        flag: Some(Flag::shared(
            "SIZE",
            "The most of the GPU's memory to hold; `auto` leaves a margin, `none` leaves the GPU \
             alone",
        )),
    }
    "ctx" as ctx: usize {
        read: Read::Whole(limits::ctx),
        default: || 4096,
        flag: Some(Flag::shared("N", "Tokens that a conversation can hold")),
    }
    "threads" as threads: usize {
        read: Read::Whole(limits::threads),
        default: crate::system::cores,
        flag: Some(Flag::shared("N", "Threads that compute")),
    }
    "tree" as tree: TreeSize {
        read: Read::WholeOrText(
            |nodes| limits::tree(nodes).map_err(|error| format!("{error}, or \"auto\"")),
            TreeSize::from_str,
            "a number of nodes from 1 to 512, or \"auto\", or \"chain:N\"",
        ),
        default: TreeSize::default,
        flag: Some(Flag::shared(
            "N",
            "Most tokens of a pass, guesses counted in: 1 guesses nothing, `auto` takes what pays, \
             `chain:N` is N guesses that do not branch",
        )),
    }
    "max-tokens" as max_tokens: usize {
        read: Read::Whole(limits::max_tokens),
        default: || 1024,
        flag: Some(Flag::answer("N", "Most tokens of the answer").short('n')),
    }
    "system" as system: String {
        read: Read::Text(|text| Ok(text.to_owned()), "a text in quotes"),
        default: || DEFAULT_SYSTEM.to_owned(),
        flag: Some(Flag::answer("TEXT", "What the model is told before the prompt")),
    }
    "chat-template" as chat_template: Template {
        read: Read::Text(Template::from_str, "a name or a file in quotes, or \"auto\""),
        default: || Template::Own,
        flag: Some(Flag::shared(
            "NAME|FILE",
            "The form of prompts: the name of a built-in chat template, a Jinja file, `none`, or \
             `auto` for the model's own",
        )),
    }
    "think" as think: Think {
        read: Read::Text(Think::from_str, "\"auto\", \"on\" or \"off\""),
        default: Think::default,
        flag: Some(Flag::shared(
            "WHEN",
            "Whether the model thinks before it answers: `on`, `off`, or `auto` for its template's \
             own way",
        )),
    }
    "think-budget" as think_budget: ThinkBudget {
        read: Read::WholeOrText(
            ThinkBudget::of_tokens,
            ThinkBudget::from_str,
            "a number of tokens, or \"none\"",
        ),
        default: || ThinkBudget::None,
        flag: Some(Flag::shared(
            "N",
            "Most tokens of a thought: it is closed after these, and the answer follows",
        )),
    }
    "theme" as theme: String {
        read: Read::Text(|text| Ok(text.to_owned()), "a text in quotes"),
        default: || DEFAULT_THEME.to_owned(),
        flag: None,
    }
    "exact" as exact: Switch {
        read: Read::Text(Switch::from_str, "\"on\" or \"off\""),
        default: || Switch::Off,
        flag: Some(Flag::shared(
            "SWITCH",
            "on: texts depend on model, prompt and sampling alone, also where a draft guesses and \
             that takes longer",
        ).alone_means("on")),
    }
    "recycle" as recycle: Switch {
        read: Read::Text(Switch::from_str, "\"on\" or \"off\""),
        default: || Switch::Off,
        flag: Some(Flag::shared(
            "SWITCH",
            "on: guesses are also drawn from what the oracle said of the same tokens before",
        ).alone_means("on")),
    }
    "mouse" as mouse: Switch {
        read: Read::Text(Switch::from_str, "\"on\" or \"off\""),
        default: || Switch::On,
        flag: Some(Flag::shared(
            "SWITCH",
            "on, or off to leave the mouse to the terminal, for selecting text",
        )),
    }
    "sampling.temp" as temp: f32 {
        read: Read::Number(limits::temp),
        default: || Sampling::default().temperature,
        flag: Some(Flag::answer(
            "T",
            "Sampling temperature; 0 always takes the likeliest token",
        )),
    }
    "sampling.top-k" as top_k: usize {
        read: Read::Whole(limits::top_k),
        default: || Sampling::default().top_k,
        flag: Some(Flag::answer("K", "Draw from the K likeliest tokens; 0 is all")),
    }
    "sampling.top-p" as top_p: f32 {
        read: Read::Number(limits::top_p),
        default: || Sampling::default().top_p,
        flag: Some(Flag::answer(
            "P",
            "Draw from the likeliest tokens that hold this share of the probability",
        )),
    }
    "sampling.min-p" as min_p: f32 {
        read: Read::Number(limits::min_p),
        default: || Sampling::default().min_p,
        flag: Some(Flag::answer(
            "P",
            "Leave out tokens below this share of the likeliest one's probability",
        )),
    }
    "sampling.repeat-penalty" as repeat_penalty: f32 {
        read: Read::Number(limits::repeat_penalty),
        default: || Sampling::default().repeat_penalty,
        flag: Some(Flag::answer(
            "R",
            "Above 1, tokens that were there before become less likely",
        )),
    }
    "sampling.seed" as seed: u64 {
        read: Read::Whole(limits::seed),
        default: || Sampling::default().seed,
        flag: Some(Flag::answer("S", "The number that random choices start from")),
    }
    "log.level" as log_level: LogLevel {
        read: Read::Text(LogLevel::from_str, "a level in quotes such as \"info\""),
        default: LogLevel::default,
        flag: Some(Flag::shared("LEVEL", "off, error, warn, info, debug or trace")),
    }
    "log.file" as log_file: LogFile {
        read: Read::Path(|path| Ok(LogFile::Named(path.into())), "a path in quotes"),
        default: || LogFile::OfUser,
        flag: Some(Flag::shared("FILE", "Write the log to this file").path()),
    }
}
