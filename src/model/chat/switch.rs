//! Thinking, on or off: the template's own switch, found by trying.

use super::jinja::Message;
use super::thinking::Markers;
use super::{Form, PROBES};
use minijinja::Value;

/// Whether a model is to think before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Think {
    /// As its template does by itself.
    #[default]
    Auto,
    On,
    Off,
}

/// A variable that templates look at, and its values.
#[derive(Clone, Copy)]
struct Switch {
    name: &'static str,
    on: Setting,
    off: Setting,
    /// Whether nothing is thought any more where it is off.
    silences: bool,
}

#[derive(Clone, Copy)]
enum Setting {
    Bool(bool),
    Whole(i64),
    Word(&'static str),
}

impl From<Setting> for Value {
    fn from(setting: Setting) -> Self {
        match setting {
            Setting::Bool(yes) => yes.into(),
            Setting::Whole(n) => n.into(),
            Setting::Word(word) => word.into(),
        }
    }
}

/// The variables that published templates have for it, the plainest first.
const SWITCHES: [Switch; 5] = [
    // Qwen3, GLM, SmolLM3, Gemma 4, Nemotron and others.
    Switch {
        name: "enable_thinking",
        on: Setting::Bool(true),
        off: Setting::Bool(false),
        silences: true,
    },
    // DeepSeek-V3.1, Granite, Kimi.
    Switch {
        name: "thinking",
        on: Setting::Bool(true),
        off: Setting::Bool(false),
        silences: true,
    },
    // Seed-OSS: most tokens of a thought; below 0 as many as there are.
    Switch {
        name: "thinking_budget",
        on: Setting::Whole(-1),
        off: Setting::Whole(0),
        silences: true,
    },
    // Mistral's later models.
    Switch {
        name: "reasoning_effort",
        on: Setting::Word("high"),
        off: Setting::Word("none"),
        silences: true,
    },
    // gpt-oss, which thinks in any case.
    Switch {
        name: "reasoning_effort",
        on: Setting::Word("high"),
        off: Setting::Word("low"),
        silences: false,
    },
];

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Switched {
    /// Nothing had to be done.
    AsIs,
    ByVariable,
    /// The model is told to think little: its template cannot turn thinking off.
    Little,
    /// The prompt ends with a thought without a word.
    EmptyBlock(String),
    /// There is a switch, which conversations that begin with a system text do not have.
    OnlyWithoutSystem,
    /// There is no switch.
    CannotTurnOff,
    CannotTurnOn,
    /// Nothing is known of any thinking.
    CannotThink,
}

/// What asking for an answer without a thought does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkOff {
    /// Nothing is thought.
    Silences,
    /// Less is thought.
    Shortens,
    Nothing,
}

impl Switched {
    /// What a user should know.
    pub(super) fn notice(&self) -> Option<&'static str> {
        match self {
            Self::AsIs | Self::ByVariable | Self::EmptyBlock(_) => None,
            Self::Little => Some(
                "the model's chat template cannot turn thinking off: the model is told to think \
                 as little as it can",
            ),
            Self::OnlyWithoutSystem => Some(
                "the model's chat template turns thinking on and off only without a system text: \
                 --think changes nothing (--system \"\" leaves that text out)",
            ),
            Self::CannotTurnOff => Some(
                "the model's chat template cannot turn thinking off: where the model thinks, \
                 --think off changes nothing (--think-budget 0 ends thoughts as they begin)",
            ),
            Self::CannotTurnOn => Some(
                "the model's chat template has no switch for thinking: --think on changes nothing",
            ),
            Self::CannotThink => {
                Some("nothing is known of how this model thinks: --think on changes nothing")
            }
        }
    }

    /// What it means where thinking was to be turned off.
    pub(super) fn off(&self) -> ThinkOff {
        match self {
            Self::AsIs | Self::ByVariable | Self::EmptyBlock(_) => ThinkOff::Silences,
            Self::Little => ThinkOff::Shortens,
            Self::OnlyWithoutSystem
            | Self::CannotTurnOff
            | Self::CannotTurnOn
            | Self::CannotThink => ThinkOff::Nothing,
        }
    }
}

/// Turns the thinking of `form` on or off as far as that can be done, in conversations that begin
/// with a system text or do not.
pub(super) fn switch(
    form: &mut Form,
    markers: Option<&Markers>,
    wanted: Think,
    has_system: bool,
) -> Switched {
    let on = match wanted {
        Think::Auto => return Switched::AsIs,
        Think::On => true,
        Think::Off => false,
    };
    // gpt-oss writes any effort that it is told, also one that does not exist.
    let is_harmony = markers.is_some_and(|m| m.open().starts_with("<|channel|>"));
    let fits =
        |switch: &&Switch| switch.name != "reasoning_effort" || switch.silences != is_harmony;
    let switches: Vec<_> = SWITCHES.iter().filter(fits).collect();
    let found = switches.iter().find(|s| s.works(form, has_system));
    if let Some(switch) = found {
        let value = if on { switch.on } else { switch.off };
        form.set(switch.name, Some(value.into()));
        return match on || switch.silences {
            true => Switched::ByVariable,
            false => Switched::Little,
        };
    }
    if !on && let Some(block) = markers.and_then(|markers| markers.empty_block(form)) {
        return Switched::EmptyBlock(block);
    }
    if has_system && switches.iter().any(|s| s.works(form, false)) {
        return Switched::OnlyWithoutSystem;
    }
    match (markers, on) {
        (Some(markers), true) if opens_a_thought(form, markers) => Switched::AsIs,
        (Some(_), true) => Switched::CannotTurnOn,
        (None, true) => Switched::CannotThink,
        (Some(_), false) => Switched::CannotTurnOff,
        (None, false) => Switched::AsIs,
    }
}

impl Switch {
    /// Whether prompts differ by it.
    fn works(&self, form: &mut Form, has_system: bool) -> bool {
        let on = prompt_with(form, self.name, self.on, has_system);
        let off = prompt_with(form, self.name, self.off, has_system);
        on.is_some() && off.is_some() && on != off
    }
}

/// A short prompt with the variable of this value. None is left.
fn prompt_with(
    form: &mut Form,
    name: &'static str,
    value: Setting,
    has_system: bool,
) -> Option<String> {
    form.set(name, Some(value.into()));
    let messages = [
        Message::new("system", PROBES.system),
        Message::new("user", PROBES.user),
    ];
    // A template without a place for a system text gets none.
    let with_system = has_system.then(|| form.render(&messages, true).ok());
    let prompt = with_system
        .flatten()
        .or_else(|| form.render(&messages[1..], true).ok());
    form.set(name, None);
    prompt
}

/// Whether every prompt ends with the start of a thought.
fn opens_a_thought(form: &Form, markers: &Markers) -> bool {
    let prompt = form.render(&[Message::new("user", PROBES.user)], true);
    prompt.is_ok_and(|prompt| prompt.trim_end().ends_with(markers.open()))
}

/// The prompt with `block` in the place of an opening that it ends with, or after it.
pub(super) fn with_block(prompt: &str, open: &str, block: &str) -> String {
    let begun = prompt.trim_end().strip_suffix(open);
    format!("{}{block}", begun.unwrap_or(prompt))
}
