//! A conversation in a model's form: its prompt's tokens, again at every keystroke.
//!
//! What was said is marked once. A keystroke costs a rendering of the whole (some microseconds a
//! message) and the cutting of the run of text that it is in: other runs are remembered.

use super::marks::{AnswerToken, MarkedAnswer, mark};
use super::pieces::{Answer, Assembler, Memo};
use super::protocol::Protocol;
use super::reply::Reply;
use super::symbols::tokens_of;
use super::thinking::Past;
use super::{AnswerForm, ChatTemplate, Form, Message, Turn};
use crate::model::TextError;
use crate::units::TokenId;
use std::sync::Arc;

/// See the module's text.
pub struct Conversation {
    template: Arc<ChatTemplate>,
    /// As it goes into the template.
    system: String,
    turns: Vec<Said>,
    memo: Memo,
    /// Serves prompts that the template fails on, and whether it served the last one.
    instead: Option<Arc<Protocol>>,
    is_replaced: bool,
    notice: Option<String>,
}

/// A turn as it goes into the template.
struct Said {
    user: String,
    answer: Answer,
    /// Where the template takes it apart from the answer: the field's name, and the text.
    thought: Option<(&'static str, String)>,
}

impl Conversation {
    /// One that begins after `system`; an empty text is none.
    pub fn new(template: impl Into<Arc<ChatTemplate>>, system: &str) -> Self {
        let template = template.into();
        Self {
            system: mark(&template.names, system),
            template,
            turns: Vec::new(),
            memo: Memo::default(),
            instead: None,
            is_replaced: false,
            notice: None,
        }
    }

    /// The whole prompt, as if `text` were submitted now.
    ///
    /// # Errors
    /// A character that the vocabulary has no token for.
    pub fn tokens(&mut self, text: &str) -> Result<Vec<TokenId>, TextError> {
        let template = Arc::clone(&self.template);
        let user = mark(&template.names, text);
        let failed = match self.render(&template.protocol, &user) {
            Ok(rendered) => {
                self.is_replaced = false;
                return self.assemble(&template.protocol, &rendered);
            }
            Err(why) => why,
        };
        self.is_replaced = true;
        let instead = match &self.instead {
            Some(instead) => Arc::clone(instead),
            None => {
                let instead = Arc::new(template.instead());
                let but = instead.switched.notice().map(|but| format!("; {but}"));
                self.notice = Some(format!(
                    "the chat template fails on this conversation ({failed}); a built-in form \
                     is used instead (--chat-template chooses another){}",
                    but.unwrap_or_default()
                ));
                Arc::clone(self.instead.insert(instead))
            }
        };
        // Plain text never fails.
        let rendered = self.render(&instead, &user).unwrap_or(user);
        self.assemble(&instead, &rendered)
    }

    /// What an answer to the last prompt looks like.
    pub fn answers(&self) -> &Arc<AnswerForm> {
        &self.protocol().answers
    }

    /// What served the last prompt.
    fn protocol(&self) -> &Protocol {
        let instead = self.instead.as_deref().filter(|_| self.is_replaced);
        instead.unwrap_or(&self.template.protocol)
    }

    /// What went wrong with the template, once.
    pub fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    /// Adds a finished turn. What is done with its thought is the template's to say.
    pub fn push(&mut self, turn: &Turn) {
        if turn.answer.is_empty() {
            return self.add(&turn.user, &turn.answer, None);
        }
        // Its prompt, by which an answer that begins within a thought is told from others.
        let prompt = self.tokens(&turn.user).unwrap_or_default();
        let protocol = self.protocol();
        let Some(markers) = protocol.markers else {
            return self.add(&turn.user, &turn.answer, None);
        };
        let mut reply = Reply::after(&protocol.answers, &prompt, None);
        let opened = reply.is_thinking();
        turn.answer.iter().for_each(|&token| reply.push(token));
        reply.finish();
        match protocol.past {
            Past::AsSaid => {
                // The template looks for whole thoughts and answers, whoever wrote their ends.
                let mut answer = Vec::new();
                if opened {
                    answer.extend(self.tokens_of(&format!("{}\n", markers.open())));
                }
                answer.extend(&turn.answer);
                if reply.is_thinking() {
                    answer.extend(self.tokens_of(markers.written_closing()));
                }
                if reply.is_thinking() || reply.has_header() {
                    answer.extend(self.tokens_of(markers.stop()));
                }
                self.add(&turn.user, &answer, None);
            }
            Past::Field(field) => {
                let thought = mark(&self.template.names, reply.thought().trim_end());
                let answer = reply.text_tokens(&turn.answer);
                self.add(&turn.user, &answer, Some((field, thought)));
            }
            Past::TextOnly => self.add(&turn.user, &reply.text_tokens(&turn.answer), None),
        }
    }

    /// Adds a turn whose answer was not decoded here. It is text without a thought.
    ///
    /// # Errors
    /// A character that the vocabulary has no token for.
    pub fn push_text(&mut self, user: &str, answer: &str) -> Result<(), TextError> {
        let answer = self.template.tokenizer.text(answer)?;
        self.add(user, &answer, None);
        Ok(())
    }

    fn add(&mut self, user: &str, answer: &[TokenId], thought: Option<(&'static str, String)>) {
        let (names, tokenizer) = (&self.template.names, &self.template.tokenizer);
        let tokens: Vec<_> = answer
            .iter()
            .map(|&token| AnswerToken {
                control: names.has_id(token),
                bytes: tokenizer.bytes_or_name(token),
            })
            .collect();
        self.turns.push(Said {
            user: mark(names, user),
            answer: Answer {
                marked: MarkedAnswer::new(names, self.turns.len(), &tokens),
                tokens: answer.to_vec(),
            },
            thought: thought.filter(|(_, text)| !text.is_empty()),
        });
    }

    /// Tokens of a marker.
    fn tokens_of(&self, marker: &str) -> Vec<TokenId> {
        tokens_of(&self.template.tokenizer, &self.template.names, marker)
    }

    /// Forgets all turns.
    pub fn clear(&mut self) {
        self.turns.clear();
        self.instead = None;
        self.is_replaced = false;
    }

    fn render(&self, protocol: &Protocol, user: &str) -> Result<String, super::TemplateError> {
        let Protocol { form, manners, .. } = protocol;
        // Without a place of its own the system text goes before the first prompt; a model that
        // only continues texts is told nothing.
        let chats = !matches!(form, Form::Plain);
        let system = Some(self.system.as_str()).filter(|text| !text.is_empty() && chats);
        let first = self.turns.first().map_or(user, |turn| &turn.user);
        let first = match system {
            Some(system) if !manners.system => format!("{system}\n\n{first}"),
            _ => first.to_owned(),
        };
        let message = |role, content| Message::new(role, content);
        let mut messages = Vec::with_capacity(self.turns.len() * 2 + 2);
        if let Some(system) = system.filter(|_| manners.system) {
            messages.push(message("system", system));
        }
        for (i, turn) in self.turns.iter().enumerate() {
            let user = if i == 0 { &first } else { &turn.user };
            messages.push(message("user", user));
            let answer = message("assistant", &turn.answer.marked.text);
            messages.push(match &turn.thought {
                Some((field, thought)) => answer.thinking(field, thought),
                None => answer,
            });
        }
        messages.push(message(
            "user",
            if self.turns.is_empty() { &first } else { user },
        ));
        let prompt = form.render(&messages, true)?;
        Ok(protocol.without_thinking(prompt))
    }

    fn assemble(&mut self, protocol: &Protocol, rendered: &str) -> Result<Vec<TokenId>, TextError> {
        let assembler = Assembler {
            tokenizer: &self.template.tokenizer,
            names: &self.template.names,
            lead: &protocol.manners.lead,
        };
        let answers = self.turns.iter().map(|turn| &turn.answer);
        assembler.tokens(rendered, answers, &mut self.memo)
    }
}
