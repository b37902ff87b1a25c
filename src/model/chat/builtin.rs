//! The forms of prompts that llama.cpp has built in, for models whose own template cannot be used.

use super::jinja::Message;
use crate::ggml::llama;
use crate::ggml::model::apply_template;

/// A form, by its name or as llama.cpp guesses it from a template's text.
pub(super) struct BuiltIn(String);

/// Control tokens that only one form uses, and its name.
const BY_TOKEN: [(&str, &str); 3] = [
    ("<|im_start|>", "chatml"),
    ("<start_of_turn>", "gemma"),
    ("<|start_header_id|>", "llama3"),
];

/// The form that every model can be asked in.
pub(super) const COMMON: &str = "chatml";

impl BuiltIn {
    /// `None` for a name or a template that llama.cpp does not know.
    pub(super) fn new(name_or_template: &str) -> Option<Self> {
        let form = Self(name_or_template.to_owned());
        let hello = Message::new("user", "hello");
        form.render(&[hello], true)?;
        Some(form)
    }

    pub(super) fn render(&self, messages: &[Message<'_>], ask: bool) -> Option<String> {
        let messages = messages.iter().map(|m| (m.role, m.content));
        apply_template(&self.0, &messages.collect::<Vec<_>>(), ask)
    }
}

/// The names of all forms.
pub(super) fn names() -> Vec<String> {
    llama::built_in_chat_templates()
}

/// The form that the vocabulary has control tokens for.
pub(super) fn by_vocabulary(has_control: impl Fn(&str) -> bool) -> Option<&'static str> {
    let known = BY_TOKEN.iter().find(|(token, _)| has_control(token));
    known.map(|(_, name)| *name)
}
