//! Which form a model's prompts have: the one that was asked for, the file's own, or one that is
//! built in.

use super::builtin::{self, BuiltIn};
use super::jinja::{Jinja, TemplateError};
use super::marks::ControlNames;
use super::{ChatError, Form, NO_TEMPLATE, TemplateSource};
use crate::model::tokenizer::Tokenizer;
use chrono::NaiveDateTime;
use std::path::PathBuf;
use std::sync::Arc;

/// What forms are made of.
pub(super) struct Chooser<'a> {
    pub tokenizer: &'a Tokenizer,
    pub names: &'a Arc<ControlNames>,
    pub now: NaiveDateTime,
}

impl Chooser<'_> {
    pub(super) fn asked(&self, asked: &str) -> Result<(Form, TemplateSource), ChatError> {
        if asked == NO_TEMPLATE {
            return Ok((Form::Plain, TemplateSource::Plain));
        }
        let names = builtin::names();
        if names.iter().any(|name| name == asked)
            && let Some(form) = self.guessed(asked)
        {
            return Ok((form, TemplateSource::Named(asked.to_owned())));
        }
        let path = PathBuf::from(asked);
        match std::fs::read_to_string(&path) {
            Err(why) => Err(ChatError::Unknown {
                asked: asked.to_owned(),
                why,
                names,
            }),
            Ok(text) => match self.jinja(&text) {
                Ok(form) => Ok((form, TemplateSource::File(path))),
                Err(why) => Err(ChatError::Unusable { path, why }),
            },
        }
    }

    pub(super) fn own(&self, own: &str) -> (Form, TemplateSource) {
        if own.trim().is_empty() {
            return (Form::Plain, TemplateSource::Empty);
        }
        // Some files hold no template, but the name of a form.
        let name = own.trim();
        if builtin::names().iter().any(|known| known == name)
            && let Some(form) = self.guessed(name)
        {
            return (form, TemplateSource::Named(name.to_owned()));
        }
        let why = match self.jinja(own) {
            Ok(form) => return (form, TemplateSource::Own),
            Err(why) => why,
        };
        if let Some(form) = self.guessed(own) {
            return (form, TemplateSource::Guessed { why });
        }
        let name = self.by_vocabulary();
        (self.named(name), TemplateSource::Replaced { why, name })
    }

    fn jinja(&self, source: &str) -> Result<Form, TemplateError> {
        let ends = self.tokenizer.begin_and_end_names();
        let jinja = Jinja::new(source, ends, self.names, self.now)?;
        let form = Form::Jinja(Box::new(jinja));
        form.try_out()?;
        Ok(form)
    }

    /// The built-in form of this name, or the one that a template looks like.
    pub(super) fn guessed(&self, name_or_template: &str) -> Option<Form> {
        let form = Form::BuiltIn(BuiltIn::new(name_or_template)?);
        form.try_out().ok()?;
        Some(form)
    }

    /// A form that llama.cpp has for sure; where it has not, plain text.
    pub(super) fn named(&self, name: &str) -> Form {
        self.guessed(name).unwrap_or(Form::Plain)
    }

    pub(super) fn by_vocabulary(&self) -> &'static str {
        builtin::by_vocabulary(|name| self.names.has(name)).unwrap_or(builtin::COMMON)
    }
}
