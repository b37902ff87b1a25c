//! A front-end's end of a session: requests and edits in, events out.
//!
//! ```text
//!  Client --submit(Request)--> RequestId        messages, sampling and length of its own
//!         --cancel(RequestId)-->
//!         --send(Intent)------>                 edits as they are typed, Stop, ...
//!         <--Event------------                  of its own requests, and what concerns all
//! ```
//!
//! Any number of clients may be connected, each with any number of requests; a session answers
//! them in the order in which they came. Events of a client come to it alone. A client that is
//! dropped wants none of its answers any more: they are stopped.
//!
//! ```no_run
//! use nmos::config::{Layer, Settings};
//! use nmos::model::locate;
//! use nmos::session::{Request, spawn};
//!
//! let settings = Settings::load(Layer::default(), None)?;
//! let options = settings.engine_options(|name| locate::resolve(name))?;
//! let request = Request::prompt(&options.system, "Name three colours.", options.params());
//! let engine = spawn(options);
//! let answer = engine.connect().ask(request)?;
//! println!("{}", answer.stats.text);
//! engine.shutdown();
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! `examples/ask.rs` prints the text as it comes.

use super::clients::{ClientId, Clients};
use super::event::{Event, Notice, RequestEvent, SessionError};
use super::intent::{Intent, IntentSender, SessionEnded};
use super::request::{Request, RequestError, RequestId};
use crate::telemetry::{AnswerStats, Hub};
use crossbeam_channel::Receiver;
use std::sync::Arc;

/// See the module's text.
pub struct Client {
    intents: IntentSender,
    events: Receiver<Event>,
    clients: Arc<Clients>,
    hub: Arc<Hub>,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text in pieces, as it came.
    pub pieces: Vec<String>,
    pub stats: AnswerStats,
    /// What the session had to say meanwhile.
    pub notices: Vec<Notice>,
}

/// Why there is no whole answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Session(Arc<SessionError>),
    #[error(transparent)]
    Ended(#[from] SessionEnded),
}

impl Client {
    pub(super) fn join(intents: &IntentSender, clients: &Arc<Clients>, hub: &Arc<Hub>) -> Self {
        let (id, events) = clients.join();
        Self {
            intents: intents.of(id),
            events,
            clients: Arc::clone(clients),
            hub: Arc::clone(hub),
        }
    }

    pub fn id(&self) -> ClientId {
        self.intents.client()
    }

    /// Asks for an answer. What becomes of it comes as events with this id.
    ///
    /// # Errors
    /// The session is gone. What is wrong with the request itself is an event.
    pub fn submit(&self, request: Request) -> Result<RequestId, SessionEnded> {
        let id = self.clients.next_request();
        self.send(Intent::Submit(id, Box::new(request)))?;
        Ok(id)
    }

    /// Ends a request: its end follows as an event, after what there is of its answer.
    ///
    /// # Errors
    /// The session is gone.
    pub fn cancel(&self, id: RequestId) -> Result<(), SessionEnded> {
        self.send(Intent::Cancel(id))
    }

    /// # Errors
    /// The session is gone.
    pub fn send(&self, intent: Intent) -> Result<(), SessionEnded> {
        self.intents.send(intent)
    }

    /// What comes for this client, in order; closed when the session has ended.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// What the session shows of itself.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// The request's, or the session's end.
    pub fn ask(&self, request: Request) -> Result<Answer, AskError> {
        match self.submit(request) {
            Ok(id) => self.answer_to(id),
            // A session that could not go on has said why.
            Err(ended) => Err(self
                .events
                .try_iter()
                .find_map(|event| match event {
                    Event::Fatal(error) => Some(AskError::Session(error)),
                    _ => None,
                })
                .unwrap_or_else(|| ended.into())),
        }
    }

    /// Waits for the whole answer to a request. Events of others are passed over: a client with
    /// several requests under way goes through [`Client::events`] itself.
    ///
    /// # Errors
    /// The request's, or the session's end.
    pub fn answer_to(&self, wanted: RequestId) -> Result<Answer, AskError> {
        let (mut pieces, mut notices) = (Vec::new(), Vec::new());
        loop {
            match self.events.recv().map_err(|_| SessionEnded)? {
                Event::Request(id, event) if id == wanted => match event {
                    RequestEvent::Submitted { .. } | RequestEvent::Thought { .. } => {}
                    RequestEvent::Text(text) => pieces.push(text),
                    RequestEvent::Done(stats) => {
                        return Ok(Answer {
                            pieces,
                            stats: *stats,
                            notices,
                        });
                    }
                    RequestEvent::Failed(error) => return Err(error.into()),
                },
                Event::Notice(notice) => notices.push(notice),
                Event::Fatal(error) => return Err(AskError::Session(error)),
                Event::Ready | Event::Request(..) => {}
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.leave(self.id());
    }
}
