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
    /// There is no switch.
    CannotTurnOff,
    /// Nothing is known of any thinking.
    CannotThink,
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
            Self::CannotTurnOff => Some(
                "the model's chat template cannot turn thinking off: --think off changes nothing \
                 (--think-budget 0 ends thoughts as they begin)",
            ),
            Self::CannotThink => {
                Some("nothing is known of how this model thinks: --think on changes nothing")
            }
        }
    }
}

/// Turns the thinking of `form` on or off as far as that can be done.
pub(super) fn switch(form: &mut Form, markers: Option<&Markers>, wanted: Think) -> Switched {
    let on = match wanted {
        Think::Auto => return Switched::AsIs,
        Think::On => true,
        Think::Off => false,
    };
    for Switch {
        name,
        on: on_value,
        off: off_value,
        silences,
    } in SWITCHES
    {
        // gpt-oss writes any effort that it is told, also one that does not exist.
        let is_harmony = markers.is_some_and(|m| m.open().starts_with("<|channel|>"));
        if name == "reasoning_effort" && silences == is_harmony {
            continue;
        }
        let with_on = prompt_with(form, name, on_value);
        let with_off = prompt_with(form, name, off_value);
        if with_on.is_none() || with_off.is_none() || with_on == with_off {
            continue;
        }
        form.set(name, Some(if on { on_value } else { off_value }.into()));
        return match on || silences {
            true => Switched::ByVariable,
            false => Switched::Little,
        };
    }
    match (markers, on) {
        (Some(_), true) => Switched::AsIs,
        (None, true) => Switched::CannotThink,
        (None, false) => Switched::AsIs,
        (Some(markers), false) => match markers.empty_block(form) {
            Some(block) => Switched::EmptyBlock(block),
            None => Switched::CannotTurnOff,
        },
    }
}

/// A short prompt with the variable of this value. None is left.
fn prompt_with(form: &mut Form, name: &'static str, value: Setting) -> Option<String> {
    form.set(name, Some(value.into()));
    let messages = [
        Message::new("system", PROBES.system),
        Message::new("user", PROBES.user),
    ];
    let whole = form.render(&messages, true);
    // A template without a place for a system text may have the switch all the same.
    let prompt = whole.or_else(|_| form.render(&messages[1..], true));
    form.set(name, None);
    prompt.ok()
}

/// The prompt with `block` in the place of an opening that it ends with, or after it.
pub(super) fn with_block(prompt: &str, open: &str, block: &str) -> String {
    let begun = prompt.trim_end().strip_suffix(open);
    format!("{}{block}", begun.unwrap_or(prompt))
}
