//! A front-end of its own: requests over the session's protocol, several at a time.

use crate::common::{self, SMOL, model, options};
use nmos::scout::HeuristicScout;
use nmos::session::{
    AskError, Client, EngineHandle, EngineOptions, Event, Intent, Message, MessagesError, Params,
    Request, RequestError, RequestEvent, RequestId, Sampling, spawn,
};
use nmos::telemetry::{AnswerEnd, AnswerStats};
use nmos::typing::TypingEvent;
use nmos::units::Bytes;
use std::collections::HashMap;
use std::process::{Command, Stdio};

const SYSTEM: &str = "You are a helpful assistant.";
const PROMPT: &str = "Name three colours.";
const RAM: Bytes = Bytes::mib(700);

/// A session whose answers depend on nothing but model, prompt and sampling.
fn session() -> EngineHandle {
    spawn(EngineOptions {
        exact: true,
        ..options(SMOL, RAM)
    })
}

fn params(temperature: f32, seed: u64, max_tokens: usize) -> Params {
    Params {
        sampling: Sampling {
            temperature,
            seed,
            ..Sampling::default()
        },
        max_tokens,
        fixed_length: false,
        think_budget: None,
    }
}

fn ask_for(params: Params) -> Request {
    Request::prompt(SYSTEM, PROMPT, params)
}

/// What `nmos run` answers.
fn run(params: Params) -> String {
    let Sampling {
        temperature, seed, ..
    } = params.sampling;
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nmos"))
        .env("HOME", home.path())
        .arg("run")
        .arg("--oracle")
        .arg(model(SMOL))
        .args(["--draft", "none", "--scout", "none", "--exact", "on"])
        .args(["--vram", "0", "--threads", "2", "--ctx", "1024", "--json"])
        .args(["--ram", &RAM.0.to_string()])
        .args(["--temp", &temperature.to_string()])
        .args(["--seed", &seed.to_string()])
        .args(["-n", &params.max_tokens.to_string()])
        .args(["--system", SYSTEM, PROMPT])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    stats["text"].as_str().unwrap().to_owned()
}

/// Keeps what comes of each request until it ends, and notes in which order they did.
struct FrontEnd {
    client: Client,
    texts: HashMap<RequestId, String>,
    ended: Vec<(RequestId, AnswerStats)>,
}

impl FrontEnd {
    fn new(client: Client) -> Self {
        Self {
            client,
            texts: HashMap::new(),
            ended: Vec::new(),
        }
    }

    fn submit(&mut self, request: Request) -> RequestId {
        let id = self.client.submit(request).unwrap();
        assert!(self.texts.insert(id, String::new()).is_none());
        id
    }

    /// Takes events until `done`.
    fn listen(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            match self.client.events().recv().unwrap() {
                Event::Ready => {}
                Event::Request(id, event) => {
                    assert!(self.end_of(id).is_none(), "{event:?} after the end");
                    let text = self.texts.get_mut(&id).expect("its own");
                    match event {
                        RequestEvent::Submitted { prompt } => assert_eq!(prompt, PROMPT),
                        RequestEvent::Thought { .. } => panic!("it does not think"),
                        RequestEvent::Text(piece) => text.push_str(&piece),
                        RequestEvent::Done(stats) => {
                            assert_eq!(*text, stats.text);
                            self.ended.push((id, *stats));
                        }
                        RequestEvent::Failed(error) => panic!("{error}"),
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn end_of(&self, id: RequestId) -> Option<&AnswerStats> {
        let end = self.ended.iter().find(|(ended, _)| *ended == id);
        end.map(|(_, stats)| stats)
    }
}

#[test]
fn requests_have_sampling_of_their_own_and_one_is_cancelled_by_its_id() {
    let _turn = common::turn();
    let (greedy, warm) = (params(0.0, 0, 16), params(0.9, 1, 16));
    let expected = (run(greedy), run(warm));
    let engine = session();
    let mut front = FrontEnd::new(engine.connect());
    let endless = Params {
        fixed_length: true,
        ..params(0.0, 0, 800)
    };
    let long = front.submit(ask_for(endless));
    let unwanted = front.submit(ask_for(endless));
    let greedy = front.submit(ask_for(greedy));
    let warm = front.submit(ask_for(warm));
    let other = front.submit(ask_for(params(0.9, 2, 16)));

    // One that waits ends at once, and the answer under way goes on.
    front.listen(|front| !front.texts[&long].is_empty());
    front.client.cancel(unwanted).unwrap();
    front.listen(|front| front.end_of(unwanted).is_some());
    let stopped = front.end_of(unwanted).unwrap();
    assert_eq!((stopped.end, stopped.tokens), (AnswerEnd::Stopped, 0));
    assert!(front.end_of(long).is_none());

    // The one under way keeps its text.
    front.client.cancel(long).unwrap();
    front.listen(|front| front.ended.len() == 5);
    let stopped = front.end_of(long).unwrap();
    assert_eq!(stopped.end, AnswerEnd::Stopped);
    assert!((1..800).contains(&stopped.tokens), "{}", stopped.tokens);

    let order: Vec<_> = front.ended.iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [unwanted, long, greedy, warm, other]);
    assert_eq!(front.texts[&greedy], expected.0);
    assert_eq!(front.texts[&warm], expected.1);
    assert_ne!(
        front.texts[&warm], front.texts[&other],
        "the seed changes nothing"
    );
    assert_ne!(front.texts[&warm], front.texts[&greedy]);
    // What has ended cannot be cancelled.
    front.client.cancel(greedy).unwrap();
    let again = front.client.ask(ask_for(params(0.0, 0, 16))).unwrap();
    assert_eq!(again.stats.text, expected.0);
    drop(front);
    engine.shutdown();
}

#[test]
fn what_is_wrong_with_a_request_is_its_end_alone() {
    let _turn = common::turn();
    let engine = session();
    let client = engine.connect();
    let params = params(0.0, 0, 4);
    let wrong = |messages| match client.ask(Request { messages, params }) {
        Err(AskError::Request(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = wrong(vec![Message::system(SYSTEM)]);
    let nothing = MessagesError::NothingAsked;
    assert!(
        matches!(error, RequestError::Messages(why) if why == nothing),
        "{error}"
    );
    let error = wrong(vec![Message::user("word ".repeat(2000))]);
    assert!(
        matches!(error, RequestError::TooLong { tokens, capacity: 1024 } if tokens > 1024),
        "{error}"
    );
    assert!(client.ask(ask_for(params)).unwrap().stats.tokens > 0);
    engine.shutdown();
}

#[test]
fn a_request_that_goes_on_with_a_conversation_reads_only_what_is_new() {
    let _turn = common::turn();
    let engine = session();
    // Each request could be another client's.
    let first = engine.connect().ask(ask_for(params(0.0, 0, 12))).unwrap();
    let mut request = ask_for(params(0.0, 0, 4));
    request.messages.push(Message::assistant(&first.stats.text));
    request.messages.push(Message::user("And three more."));
    let second = engine.connect().ask(request).unwrap();
    assert!(second.stats.prompt_tokens_ready >= first.stats.prompt_tokens - 1);
    assert!(second.stats.prompt_tokens > first.stats.prompt_tokens + first.stats.tokens);
    engine.shutdown();
}

#[test]
fn typed_prompts_and_requests_share_a_session_and_hear_of_their_own_alone() {
    let _turn = common::turn();
    let typist = common::Session::new(EngineOptions {
        exact: true,
        max_tokens: 8,
        ..options(SMOL, RAM)
    });
    let other = typist.engine.connect();
    let id = other.submit(ask_for(params(0.0, 0, 4))).unwrap();
    // Its helper takes any request's event to be that of the typed prompt.
    let (_, typed) = typist.ask_typed(PROMPT);
    let asked = other.answer_to(id).unwrap().stats;
    assert_eq!(asked.tokens, 4);
    assert!(typed.tokens > 4 && typed.text.starts_with(&asked.text));
    typist.shutdown();
}

#[test]
fn a_request_does_not_change_what_the_scout_shows_of_the_prompt_being_typed() {
    let _turn = common::turn();
    let engine = spawn(EngineOptions {
        scout: true,
        ..options(SMOL, RAM)
    });
    let typist = engine.connect();
    let typed = "Write a Rust function that reverses a list.";
    let edit = common::paste(typed);
    let event = TypingEvent { t_us: 0, edit };
    typist.send(Intent::Typing(event)).unwrap();
    // Intents are taken in order: when this is answered, the edit was looked at.
    let asked = engine.connect().ask(ask_for(params(0.0, 0, 2))).unwrap();
    let mut scout = HeuristicScout::new();
    let shown = engine.hub().snapshot().scout;
    assert_eq!(shown.predicted, scout.look(typed).predicted);
    let of_request = scout.look(PROMPT);
    assert_ne!(shown.predicted, of_request.predicted);
    // The request's own label is told with its answer.
    let label = of_request.best().map(|(label, _)| label);
    assert_eq!(asked.stats.scout_label, label);
    engine.shutdown();
}
