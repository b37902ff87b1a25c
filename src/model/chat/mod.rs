//! From a conversation to the prompt's tokens, in the form that the model was trained on.
//!
//! ```text
//!  system, turns, typed text
//!     |  marks: typed text can name no control token, answers have an anchor
//!     v
//!  the model's own Jinja template (else a form built into llama.cpp, else plain text)
//!     |  rendered whole
//!     v
//!  pieces: control tokens | runs of text, each cut in one go | answers' own tokens
//! ```
//!
//! Which form is used is settled when the model is opened, by rendering a short conversation with
//! it: one that fails, or that leaves out what was typed, is not used. What goes wrong with a
//! later conversation is said once, and the form that would have been used instead serves it.
//!
//! The way back is here as well: `reply` reads an answer's tokens, by what `ends` and `thinking`
//! find out of the form. `protocol` keeps the form and all that was found out of it together.

mod answer_form;
mod builtin;
mod chooser;
mod conversation;
mod ends;
mod jinja;
mod marks;
mod pieces;
mod protocol;
mod reply;
#[cfg(test)]
mod reply_tests;
mod seals;
mod stored;
mod switch;
mod symbols;
mod thinking;

pub use answer_form::AnswerForm;
pub use conversation::Conversation;
pub use jinja::TemplateError;
pub(crate) use reply::Reply;
pub use stored::stored_template;
pub use switch::{Think, ThinkOff};
#[cfg(test)]
pub(crate) use symbols::Pieces;

use super::tokenizer::Tokenizer;
use crate::units::TokenId;
use builtin::BuiltIn;
use chooser::Chooser;
use chrono::NaiveDateTime;
use jinja::{Jinja, Message};
use marks::ControlNames;
use minijinja::Value;
use protocol::{Protocol, Wishes};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use symbols::text_of;
use thinking::Markers;

/// Asks for no template: what is typed is continued.
pub const NO_TEMPLATE: &str = "none";

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub user: String,
    /// The answer's tokens as they were decoded (tokenising its text again could differ).
    pub answer: Vec<TokenId>,
}

/// The chat template that was asked for cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error(
        "'{asked}' is no chat template: it is neither a file ({why}) nor a name; write a Jinja \
         file's path, '{NO_TEMPLATE}', or one of {}",
        .names.join(", ")
    )]
    Unknown {
        asked: String,
        why: std::io::Error,
        names: Vec<String>,
    },
    #[error("the chat template {path} cannot be used: {why}; correct it, or leave --chat-template out", path = .path.display())]
    Unusable { path: PathBuf, why: TemplateError },
}

/// Where the form of prompts comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateSource {
    /// The template in the model's file.
    Own,
    /// The file that was asked for.
    File(PathBuf),
    /// The form of llama.cpp's that was asked for by name, or that the model's file names.
    Named(String),
    /// The file has no template: the form that its vocabulary is for, or the common one.
    Absent(&'static str),
    /// The file's own cannot be used: the form that llama.cpp takes it for.
    Guessed { why: TemplateError },
    /// The same, and llama.cpp does not know it either.
    Replaced {
        why: TemplateError,
        name: &'static str,
    },
    /// None was wanted.
    Plain,
    /// The file's is empty, as those of base models are.
    Empty,
}

impl fmt::Display for TemplateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the model's own"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Named(name) => write!(f, "{name}, as built in"),
            Self::Absent(name) => write!(f, "{name}, as built in (the file has none)"),
            Self::Guessed { why } => write!(
                f,
                "a built-in one, by the looks of the model's own, which cannot be used: {why}"
            ),
            Self::Replaced { why, name } => write!(
                f,
                "{name}, as built in, since the model's own cannot be used: {why}"
            ),
            Self::Plain => f.write_str("none: what is typed is continued"),
            Self::Empty => f.write_str("none: the file's is empty, so what is typed is continued"),
        }
    }
}

/// A form of prompts.
enum Form {
    Jinja(Box<Jinja>),
    BuiltIn(BuiltIn),
    /// Texts one after another.
    Plain,
}

/// Texts of conversations that are tried. None is a part of another.
struct Probes {
    system: &'static str,
    user: &'static str,
    thought: &'static str,
    answer: &'static str,
    later_user: &'static str,
}

const PROBES: Probes = Probes {
    system: "A probe of systems.",
    user: "A probe of users.",
    thought: "A probe of thoughts.",
    answer: "A probe of answers.",
    later_user: "A probe of later users.",
};

/// What a form does with a conversation, as trying it shows.
struct Manners {
    /// It has a place for the system text.
    system: bool,
    /// White space that it writes between its call for an answer and an answer that is there.
    lead: String,
}

/// A model's chat template.
pub struct ChatTemplate {
    tokenizer: Tokenizer,
    names: Arc<ControlNames>,
    protocol: Protocol,
    wishes: Wishes,
    source: TemplateSource,
    /// The file's template, by which another form is chosen where this one fails.
    own: Option<String>,
}

impl ChatTemplate {
    /// The template that was `asked` for, else the one that the model's file holds (`own`), else
    /// a form that is built in. `now` is what the template takes for the time, for good.
    ///
    /// # Errors
    /// Where the template that was asked for cannot be used.
    pub fn new(
        tokenizer: &Tokenizer,
        own: Option<&str>,
        asked: Option<&str>,
        now: NaiveDateTime,
    ) -> Result<Self, ChatError> {
        let names = Arc::new(ControlNames::new(tokenizer.control_tokens()));
        let chooser = Chooser {
            tokenizer,
            names: &names,
            now,
        };
        let (form, source) = match (asked, own) {
            (Some(asked), _) => chooser.asked(asked)?,
            (None, Some(own)) => chooser.own(own),
            (None, None) => {
                let name = chooser.by_vocabulary();
                (chooser.named(name), TemplateSource::Absent(name))
            }
        };
        let wishes = Wishes::default();
        Ok(Self {
            protocol: Protocol::new(form, tokenizer, &names, &wishes),
            tokenizer: tokenizer.clone(),
            names,
            wishes,
            source,
            own: own.map(str::to_owned),
        })
    }

    /// The same for a file that names more tokens that end an answer than its vocabulary is known
    /// to have.
    #[must_use]
    pub fn with_ends(self, named: &[TokenId]) -> Self {
        let known = named.iter().copied().filter(|token| {
            usize::try_from(token.0).is_ok_and(|index| index < self.tokenizer.n_vocab())
        });
        let wishes = Wishes {
            ends: known.collect(),
            ..self.wishes.clone()
        };
        self.wishing(wishes)
    }

    /// The same with thinking turned on or off, as far as the template can in conversations that
    /// begin with this system text.
    #[must_use]
    pub fn with_thinking(self, think: Think, system: &str) -> Self {
        let wishes = Wishes {
            think,
            has_system: !system.is_empty(),
            ..self.wishes.clone()
        };
        self.wishing(wishes)
    }

    fn wishing(self, wishes: Wishes) -> Self {
        let form = self.protocol.form;
        Self {
            protocol: Protocol::new(form, &self.tokenizer, &self.names, &wishes),
            wishes,
            ..self
        }
    }

    /// What its answers look like.
    pub fn answers(&self) -> &Arc<AnswerForm> {
        &self.protocol.answers
    }

    pub fn source(&self) -> &TemplateSource {
        &self.source
    }

    /// Whether it is a chat's, but has no place for a system text.
    pub fn is_without_system(&self) -> bool {
        !matches!(self.protocol.form, Form::Plain) && !self.protocol.manners.system
    }

    /// Whether it has a place for a system text.
    pub fn takes_system(&self) -> bool {
        self.protocol.manners.system
    }

    /// What begins a thought and what ends it, where that is known.
    pub fn thought_marks(&self) -> Option<(&'static str, &'static str)> {
        let markers = self.protocol.markers?;
        Some((markers.open(), markers.close))
    }

    /// What asking for an answer without a thought does.
    pub fn think_off(self) -> ThinkOff {
        self.with_thinking(Think::Off, "").protocol.switched.off()
    }

    /// Texts that end an answer, as its tokens do; some only one that a marker began.
    pub fn stop_texts(&self) -> Vec<String> {
        let stops = self.answers().all_stops();
        stops.map(|stop| text_of(&self.names, stop)).collect()
    }

    /// Whether it can tell the model of tools.
    pub fn takes_tools(&self) -> bool {
        matches!(&self.protocol.form, Form::Jinja(jinja) if jinja.reads("tools"))
    }

    /// What a user of this model with this system text should know.
    pub fn notices(&self, system: &str) -> Vec<String> {
        let mut notices = Vec::new();
        match &self.source {
            TemplateSource::Guessed { why } => notices.push(format!(
                "the model's chat template cannot be used ({why}); the built-in form that it \
                 looks like is used instead (--chat-template chooses another)"
            )),
            TemplateSource::Replaced { why, name } => notices.push(format!(
                "the model's chat template cannot be used ({why}); {name} is used instead, which \
                 the model may not know (--chat-template chooses another)"
            )),
            TemplateSource::Empty => notices.push(
                "the model's chat template is empty, as a base model's: what you type is \
                 continued as it is, without the system text (--chat-template chooses a template)"
                    .to_owned(),
            ),
            _ => {}
        }
        if self.is_without_system() && !system.is_empty() {
            notices.push(
                "the model's chat template has no place for a system text: it goes before the \
                 first prompt"
                    .to_owned(),
            );
        }
        notices.extend(self.protocol.switched.notice().map(str::to_owned));
        if !self.answers().has_end() {
            notices.push(
                "the model has no token that ends an answer: its answers end by length \
                 (--max-tokens)"
                    .to_owned(),
            );
        }
        notices
    }

    /// What a user who limits thoughts should know.
    pub fn budget_notice(&self) -> Option<&'static str> {
        let answers = self.answers();
        match (answers.has_thoughts(), answers.can_cut_thoughts()) {
            (true, true) => None,
            (true, false) => Some(
                "the vocabulary cannot write what closes a thought: --think-budget changes nothing",
            ),
            (false, _) => {
                Some("nothing is known of how this model thinks: --think-budget changes nothing")
            }
        }
    }

    /// What serves where the form of this one has failed.
    fn instead(&self) -> Protocol {
        let chooser = Chooser {
            tokenizer: &self.tokenizer,
            names: &self.names,
            now: NaiveDateTime::default(),
        };
        let form = match &self.protocol.form {
            Form::Jinja(_) => chooser
                .guessed(self.own.as_deref().unwrap_or_default())
                .unwrap_or_else(|| chooser.named(chooser.by_vocabulary())),
            Form::BuiltIn(_) | Form::Plain => Form::Plain,
        };
        Protocol::new(form, &self.tokenizer, &self.names, &self.wishes)
    }
}

impl Manners {
    const PLAIN: Self = Self {
        system: false,
        lead: String::new(),
    };
}

impl Form {
    fn render(&self, messages: &[Message<'_>], ask: bool) -> Result<String, TemplateError> {
        match self {
            Self::Jinja(jinja) => jinja.render(messages, ask),
            Self::BuiltIn(form) => form.render(messages, ask).ok_or_else(|| {
                TemplateError::Whole("llama.cpp does not apply its form".to_owned())
            }),
            Self::Plain => Ok(messages.iter().map(|m| m.content).collect()),
        }
    }

    /// Sets a variable of a template's; `None` takes it away.
    fn set(&mut self, name: &'static str, value: Option<Value>) {
        match self {
            Self::Jinja(jinja) => jinja.set(name, value),
            Self::BuiltIn(_) | Self::Plain => {}
        }
    }

    /// How thoughts are marked; `None` where nothing is known of any.
    fn markers(&self, tokenizer: &Tokenizer, names: &ControlNames) -> Option<&'static Markers> {
        match self {
            Self::Jinja(jinja) => Markers::recognise(Some(&jinja.source()), tokenizer, names),
            Self::BuiltIn(_) => Markers::recognise(None, tokenizer, names),
            Self::Plain => None,
        }
    }

    /// Tries a short conversation.
    fn try_out(&self) -> Result<Manners, TemplateError> {
        if matches!(self, Self::Plain) {
            return Ok(Manners::PLAIN);
        }
        let (system, user, answer, next) = (
            Message::new("system", PROBES.system),
            Message::new("user", PROBES.user),
            Message::new("assistant", PROBES.answer),
            Message::new("user", PROBES.later_user),
        );
        let asked = self.render(&[user], true)?;
        let again = self.render(&[user, answer, next], true)?;
        if !asked.contains(user.content) || !again.contains(next.content) {
            return Err(TemplateError::Whole(
                "it leaves out what the user says".to_owned(),
            ));
        }
        let with_system = self.render(&[system, user], true);
        let system = with_system
            .is_ok_and(|text| text.contains(system.content) && text.contains(user.content));
        let answered = self.render(&[user, answer], false);
        let lead = answered.ok().and_then(|text| {
            let (lead, _) = text.strip_prefix(&asked)?.split_once(answer.content)?;
            lead.trim().is_empty().then(|| lead.to_owned())
        });
        Ok(Manners {
            system,
            lead: lead.unwrap_or_default(),
        })
    }
}
