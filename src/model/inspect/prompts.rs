//! How a model is asked and answers: its template, what ends an answer, how thoughts are marked.

use crate::model::chat::{ChatTemplate, TemplateSource, stored_template};
use crate::model::gguf::Gguf;
use crate::model::tokenizer::Tokenizer;
use crate::units::TokenId;
use chrono::NaiveDateTime;
use serde::Serialize;

/// What the keys of a file's other templates begin with.
const VARIANTS: &str = "tokenizer.chat_template.";

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

/// What is written around a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ThinkingMarks {
    pub opens: &'static str,
    pub closes: &'static str,
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
        let count = i32::try_from(tokenizer.n_vocab()).unwrap_or(i32::MAX);
        let ends = (0..count).map(TokenId).filter(|&id| tokenizer.is_end(id));
        // Without a form that was asked for, one is always found.
        let template = ChatTemplate::new(tokenizer, own, None, NaiveDateTime::default()).ok();
        let source = template.as_ref().map(ChatTemplate::source);
        Self {
            template: source.map(ToString::to_string).unwrap_or_default(),
            own_template: source == Some(&TemplateSource::Own),
            other_templates: others.map(str::to_owned).collect(),
            system: template.as_ref().is_some_and(ChatTemplate::takes_system),
            tools: template.as_ref().is_some_and(ChatTemplate::takes_tools),
            thinking: thinking(own),
            ends: ends
                .map(|id| Token {
                    id: id.0,
                    text: tokenizer.written(id).unwrap_or_default(),
                })
                .collect(),
        }
    }
}

/// The marks around thoughts that a template writes, or looks for in earlier answers.
fn thinking(template: Option<&str>) -> Option<ThinkingMarks> {
    const MARKS: [ThinkingMarks; 3] = [
        ThinkingMarks {
            opens: "<|channel|>analysis<|message|>",
            closes: "<|end|>",
        },
        ThinkingMarks {
            opens: "[THINK]",
            closes: "[/THINK]",
        },
        ThinkingMarks {
            opens: "<think>",
            closes: "</think>",
        },
    ];
    let template = template?;
    let written = |mark: &str| template.contains(mark);
    let is_harmony = written("<|channel|>") && written("<|message|>");
    let (harmony, tags) = MARKS.split_first()?;
    if is_harmony {
        return Some(*harmony);
    }
    tags.iter().find(|marks| written(marks.closes)).copied()
}
