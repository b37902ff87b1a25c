//! How a model is asked and answers: its template, what ends an answer, how thoughts are marked.

use crate::model::chat::{ChatTemplate, TemplateSource, ThinkOff, stored_template};
use crate::model::gguf::Gguf;
use crate::model::tokenizer::Tokenizer;
use chrono::NaiveDateTime;
use serde::Serialize;

/// What the keys of a file's other templates begin with.
const VARIANTS: &str = "tokenizer.chat_template.";

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prompts {
    /// Which form prompts have, in words.
    pub template: String,
    /// The file has a template, and it is the one that is used.
    pub own_template: bool,
    /// Templates that the file has besides, as in `tool_use`: they are not used.
    pub other_templates: Vec<String>,
    /// There is a place for a system text.
    pub system: bool,
    /// The template can tell the model of tools.
    pub tools: bool,
    /// Null where no thoughts are known of.
    pub thinking: Option<ThinkingMarks>,
    /// Tokens that end an answer.
    pub ends: Vec<Token>,
    /// Texts that end one too.
    pub stops: Vec<String>,
}

/// What is written around a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ThinkingMarks {
    pub opens: &'static str,
    pub closes: &'static str,
    /// What `--think off` does.
    pub think_off: ThinkOff,
}

/// A token, as the vocabulary writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    pub id: i32,
    pub text: String,
}

impl Prompts {
    pub(super) fn read(gguf: &Gguf, tokenizer: &Tokenizer) -> Self {
        let own = stored_template(gguf).ok().flatten();
        let others = gguf
            .metadata
            .iter()
            .filter_map(|(key, _)| key.strip_prefix(VARIANTS));
        let others = others.map(str::to_owned).collect();
        // Without a form that was asked for, one is always found.
        let template = ChatTemplate::new(tokenizer, own, None, NaiveDateTime::default());
        let Ok(template) = template else {
            return Self {
                other_templates: others,
                ..Self::default()
            };
        };
        let template = template.with_ends(&gguf.named_ends().unwrap_or_default());
        let ends = template.answers().ends().iter().map(|&id| Token {
            id: id.0,
            text: tokenizer.written(id).unwrap_or_default(),
        });
        Self {
            template: template.source().to_string(),
            own_template: *template.source() == TemplateSource::Own,
            other_templates: others,
            system: template.takes_system(),
            tools: template.takes_tools(),
            ends: ends.collect(),
            stops: template.stop_texts(),
            thinking: template
                .thought_marks()
                .map(|(opens, closes)| ThinkingMarks {
                    opens,
                    closes,
                    think_off: template.think_off(),
                }),
        }
    }
}
