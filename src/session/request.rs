//! What a front-end asks for: messages to answer, and how to choose the answer's tokens.
//!
//! ```text
//!  messages:   system?   (user  assistant)*   user
//!                                             '-- is answered
//! ```
//!
//! A request brings its whole conversation, so that one session can answer any number of them. What
//! its prompt has in common with the one computed before it costs no pass.

use crate::model::{ChatTemplate, Conversation, TextError};
use crate::oracle::OracleError;
use crate::speculate::Sampling;
use std::fmt;
use std::sync::Arc;

/// Names a request, or a prompt that was typed, within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.0)
    }
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Tells the model how to behave.
    System,
    User,
    /// An earlier answer.
    Assistant,
}

/// One message of a conversation. Its text is text: it can name no control token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub text: String,
}

impl Message {
    pub fn system(text: impl Into<String>) -> Self {
        Self::of(Role::System, text)
    }

    pub fn user(text: impl Into<String>) -> Self {
        Self::of(Role::User, text)
    }

    pub fn assistant(text: impl Into<String>) -> Self {
        Self::of(Role::Assistant, text)
    }

    fn of(role: Role, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { role, text }
    }
}

/// How an answer's tokens are chosen, and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    pub sampling: Sampling,
    /// Most answer tokens; at least one is given.
    pub max_tokens: usize,
    /// Answer exactly `max_tokens` tokens, end-of-text or not (benchmarks).
    pub fixed_length: bool,
    /// Most tokens of a thought, after which it is closed by force; `None`: as many as it takes.
    pub think_budget: Option<usize>,
}

/// Something to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// In the order that the module's text shows.
    pub messages: Vec<Message>,
    pub params: Params,
}

impl Request {
    /// A first prompt, after `system` where that is not empty.
    pub fn prompt(system: &str, prompt: impl Into<String>, params: Params) -> Self {
        let system = (!system.is_empty()).then(|| Message::system(system));
        let messages = system.into_iter().chain([Message::user(prompt)]).collect();
        Self { messages, params }
    }

    /// The conversation before the prompt, and the prompt.
    ///
    /// # Errors
    /// Messages in an order that is no conversation, or an answer that the vocabulary lacks
    /// tokens for.
    pub(super) fn open(
        self,
        template: Arc<ChatTemplate>,
    ) -> Result<(Conversation, String), RequestError> {
        let Dialogue {
            system,
            turns,
            prompt,
        } = Dialogue::of(self.messages)?;
        let mut conversation = Conversation::new(template, &system);
        for (user, answer) in turns {
            conversation.push_text(&user, &answer)?;
        }
        Ok((conversation, prompt))
    }
}

/// Messages by their roles.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dialogue {
    /// Empty: none.
    system: String,
    turns: Vec<(String, String)>,
    prompt: String,
}

impl Dialogue {
    fn of(messages: Vec<Message>) -> Result<Self, MessagesError> {
        let (mut system, mut turns) = (String::new(), Vec::new());
        let mut asked = None;
        for (i, Message { role, text }) in messages.into_iter().enumerate() {
            let number = i + 1;
            match (role, asked.take()) {
                (Role::System, None) if i == 0 => system = text,
                (Role::System, _) => return Err(MessagesError::LateSystem { number }),
                (Role::User, None) => asked = Some(text),
                (Role::User, Some(_)) => return Err(MessagesError::TwoOfUser { number }),
                (Role::Assistant, Some(user)) => turns.push((user, text)),
                (Role::Assistant, None) => return Err(MessagesError::Unasked { number }),
            }
        }
        let prompt = asked.ok_or(MessagesError::NothingAsked)?;
        if prompt.trim().is_empty() {
            return Err(MessagesError::Empty);
        }
        Ok(Self {
            system,
            turns,
            prompt,
        })
    }
}

/// Messages that are no conversation with something to answer. Messages count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessagesError {
    #[error("message {number} is the system's: it has to be the first")]
    LateSystem { number: usize },
    #[error("message {number} is the user's, as the one before it: an answer is missing between")]
    TwoOfUser { number: usize },
    #[error("message {number} is the assistant's, and no message of the user is before it")]
    Unasked { number: usize },
    #[error("there is nothing to answer: the last message has to be the user's")]
    NothingAsked,
    #[error("an empty prompt has no answer")]
    Empty,
}

/// Why a request, or a prompt that was typed, has no whole answer. The session goes on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Messages(#[from] MessagesError),
    /// Text that has no tokens.
    #[error(transparent)]
    Text(Arc<TextError>),
    #[error(
        "the prompt and its history have {tokens} tokens, the context holds {capacity}: shorten \
         it, start a new conversation, or give a larger --ctx"
    )]
    TooLong { tokens: usize, capacity: usize },
    /// A pass failed. The text up to there is the answer's.
    #[error("the answer ends here: {0}. The conversation stands; ask again to go on")]
    Pass(Arc<OracleError>),
}

impl From<TextError> for RequestError {
    fn from(error: TextError) -> Self {
        Self::Text(Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_turns_and_a_prompt() {
        let messages = vec![
            Message::system("Be brief."),
            Message::user("Hi"),
            Message::assistant("Hello."),
            Message::user("And?"),
        ];
        let dialogue = Dialogue::of(messages).unwrap();
        assert_eq!(dialogue.system, "Be brief.");
        assert_eq!(dialogue.turns, [("Hi".into(), "Hello.".into())]);
        assert_eq!(dialogue.prompt, "And?");
        let alone = Dialogue::of(vec![Message::user("Hi")]).unwrap();
        assert_eq!((alone.system.as_str(), alone.prompt.as_str()), ("", "Hi"));
    }

    #[test]
    fn messages_that_are_no_conversation_are_refused_by_number() {
        use MessagesError::{Empty, LateSystem, NothingAsked, TwoOfUser, Unasked};
        let (system, user) = (Message::system("s"), Message::user("u"));
        let answer = Message::assistant("a");
        for (messages, error) in [
            (vec![], NothingAsked),
            (vec![&system], NothingAsked),
            (vec![&user, &answer], NothingAsked),
            (vec![&user, &user], TwoOfUser { number: 2 }),
            (vec![&answer], Unasked { number: 1 }),
            (vec![&user, &answer, &answer], Unasked { number: 3 }),
            (vec![&user, &system], LateSystem { number: 2 }),
            (vec![&system, &system], LateSystem { number: 2 }),
            (vec![&Message::user(" \n")], Empty),
        ] {
            let messages = messages.into_iter().cloned().collect();
            assert_eq!(Dialogue::of(messages), Err(error));
        }
    }

    #[test]
    fn a_first_prompt_has_a_system_message_only_where_there_is_one() {
        let params = Params {
            sampling: Sampling::default(),
            max_tokens: 1,
            fixed_length: false,
            think_budget: None,
        };
        let with = Request::prompt("Be brief.", "Hi", params);
        assert_eq!(
            with.messages,
            [Message::system("Be brief."), Message::user("Hi")]
        );
        assert_eq!(
            Request::prompt("", "Hi", params).messages,
            [Message::user("Hi")]
        );
    }
}
