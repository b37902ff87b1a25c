//! `run` against a scripted engine.

use super::*;
use crate::cli::Command;
use crate::cli::args::Cli;
use crate::oracle::{OpenError, OracleError};
use crate::session::{
    ClientId, EngineEnd, EngineHandle, Intent, Message, Notice, Params, RequestError, RequestId,
    Sampling, SessionError,
};
use crate::telemetry::AnswerEnd;
use crate::typing::MonotonicClock;
use clap::Parser;
use crossbeam_channel::unbounded;

fn args(prompt: &str) -> RunArgs {
    match Cli::try_parse_from(["nmos", "run", prompt])
        .unwrap()
        .command
    {
        Some(Command::Run(args)) => args,
        other => panic!("{other:?}"),
    }
}

/// A session's thread that follows `script`.
fn engine(script: impl FnOnce(Script) + Send + 'static) -> EngineHandle {
    EngineHandle::start(Arc::new(MonotonicClock::new()), move |end| {
        script(Script { end, asked: None });
    })
}

/// The session's side.
struct Script {
    end: EngineEnd,
    asked: Option<(ClientId, RequestId)>,
}

impl Script {
    fn all(&self, event: Event) {
        self.end.clients.tell_all(event);
    }

    fn say(&self, event: RequestEvent) {
        let (client, id) = self.asked.unwrap();
        assert!(self.end.clients.tell(client, id, event));
    }

    fn hears(&self) -> Option<Intent> {
        self.end.intents.recv().ok().map(|stamped| stamped.intent)
    }

    /// Takes the prompt as `run` must send it: one request.
    fn take_prompt(&mut self) -> String {
        let stamped = self.end.intents.recv().unwrap();
        let Intent::Submit(id, request) = stamped.intent else {
            panic!("no request");
        };
        self.asked = Some((stamped.client, id));
        assert_eq!(*request, question());
        request.messages[1].text.clone()
    }
}

fn question() -> Request {
    let params = Params {
        sampling: Sampling {
            temperature: 0.5,
            ..Sampling::default()
        },
        max_tokens: 7,
        fixed_length: false,
        think_budget: None,
    };
    Request {
        messages: vec![
            Message::system("Be brief."),
            Message::user("What is a bus?"),
        ],
        params,
    }
}

struct Ran {
    result: anyhow::Result<()>,
    out: String,
    err: String,
}

fn run(engine: EngineHandle, json: bool, interrupts: &Receiver<()>) -> Ran {
    run_with(engine, json, false, interrupts)
}

fn run_with(
    engine: EngineHandle,
    json: bool,
    show_thinking: bool,
    interrupts: &Receiver<()>,
) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let result = answer(
        &engine.connect(),
        question(),
        interrupts,
        &mut Output {
            out: &mut out,
            err: &mut err,
            json,
            show_thinking,
            terminal: false,
            progress: Progress::hidden(),
            at: Place::Start,
        },
    );
    engine.shutdown();
    Ran {
        result,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn done(text: &str, end: AnswerEnd) -> RequestEvent {
    RequestEvent::Done(Box::new(AnswerStats {
        text: text.into(),
        tokens: 2,
        end,
        ..AnswerStats::default()
    }))
}

fn hello(mut script: Script) {
    script.all(Event::Ready);
    let prompt = script.take_prompt();
    assert_eq!(prompt, "What is a bus?");
    script.say(RequestEvent::Submitted { prompt });
    script.all(Event::Notice(Notice::Setup("the draft gave up".into())));
    script.say(RequestEvent::Text("A é".into()));
    script.say(RequestEvent::Text(" bus.".into()));
    script.say(done("A é bus.", AnswerEnd::EndOfText));
}

#[test]
fn text_streams_out_and_notes_go_to_stderr() {
    let ran = run(engine(hello), false, &crossbeam_channel::never());
    ran.result.unwrap();
    assert_eq!(ran.out, "A é bus.\n");
    assert_eq!(ran.err, "note: the draft gave up\n");
}

fn thoughtful(mut script: Script) {
    let thought = |text: &str, tokens| RequestEvent::Thought {
        text: text.into(),
        tokens,
    };
    script.all(Event::Ready);
    script.take_prompt();
    script.say(thought("It has ", 2));
    script.say(thought("wheels.", 4));
    script.say(RequestEvent::Text("A bus.".into()));
    let RequestEvent::Done(stats) = done("A bus.", AnswerEnd::EndOfText) else {
        unreachable!()
    };
    script.say(RequestEvent::Done(Box::new(AnswerStats {
        thinking: Some("It has wheels.".into()),
        thinking_tokens: 4,
        think_cut: Some(4),
        first_answer_ms: Some(20.0),
        ..*stats
    })));
}

#[test]
fn thoughts_are_left_out_unless_asked_for() {
    let ran = run(engine(thoughtful), false, &crossbeam_channel::never());
    ran.result.unwrap();
    assert_eq!(ran.out, "A bus.\n");
    let cut =
        "note: thinking was cut after 4 tokens (--think-budget); the answer follows from that\n";
    assert_eq!(ran.err, cut);
    let never = crossbeam_channel::never();
    let ran = run_with(engine(thoughtful), false, true, &never);
    ran.result.unwrap();
    assert_eq!(ran.out, "<think>\nIt has wheels.\n</think>\n\nA bus.\n");
    let ran = run_with(engine(thoughtful), true, true, &never);
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(object["text"], "A bus.");
    assert_eq!(object["thinking"], "It has wheels.");
    assert_eq!(object["thinking_tokens"], 4);
    assert_eq!(object["think_cut"], 4);
    assert_eq!(object["first_answer_ms"], 20.0);
    assert_eq!(ran.err, "");
}

#[test]
fn a_thought_without_an_answer_is_closed() {
    let engine = engine(|mut script| {
        script.all(Event::Ready);
        script.take_prompt();
        script.say(RequestEvent::Thought {
            text: "Hm\n".into(),
            tokens: 2,
        });
        script.say(RequestEvent::Done(Box::new(AnswerStats {
            tokens: 2,
            thinking_tokens: 2,
            end: AnswerEnd::Length,
            ..AnswerStats::default()
        })));
    });
    let ran = run_with(engine, false, true, &crossbeam_channel::never());
    ran.result.unwrap();
    assert_eq!(ran.out, "<think>\nHm\n</think>\n");
    assert_eq!(
        ran.err,
        "note: there is no answer: the limit of 2 tokens was reached after 2 tokens of thinking; \
         -n allows more, a --think-budget below 2 ends thoughts sooner\n"
    );
}

#[test]
fn every_answer_without_text_is_explained_in_one_remark() {
    use AnswerEnd::*;
    let cut = "thinking was cut after 1 token (--think-budget); the answer follows from that";
    for (tokens, thinking_tokens, think_cut, text, end, right) in [
        (
            40,
            39,
            None,
            "",
            Length,
            vec![
                "there is no answer: the limit of 40 tokens was reached after 39 tokens of \
                 thinking; -n allows more, a --think-budget below 39 ends thoughts sooner",
            ],
        ),
        (
            1,
            0,
            None,
            "",
            Length,
            vec!["there is no answer: the limit of 1 token was reached; -n allows more"],
        ),
        (
            3,
            1,
            Some(1),
            " \n",
            Length,
            vec![
                cut,
                "there is no answer: the limit of 3 tokens was reached after 1 token of thinking; \
                 -n allows more",
            ],
        ),
        (
            5,
            4,
            None,
            "",
            EndOfText,
            vec!["there is no answer: the model ended it after 4 tokens of thinking"],
        ),
        (
            2,
            0,
            None,
            "",
            StopString,
            vec!["there is no answer: the model ended it"],
        ),
        (
            2,
            1,
            None,
            "",
            Stopped,
            vec!["there is no answer: it was stopped after 1 token of thinking"],
        ),
        (
            2,
            1,
            None,
            "",
            ContextFull,
            vec![
                "the answer is cut off: with the prompt it fills the context of 64 tokens, which \
                 --ctx sets",
            ],
        ),
        (4, 1, Some(1), "So.", EndOfText, vec![cut]),
        (4, 1, None, "So.", Length, vec![]),
        (0, 0, None, "", EndOfText, vec![]),
    ] {
        let stats = AnswerStats {
            tokens,
            thinking_tokens,
            think_cut,
            text: text.into(),
            end,
            ..AnswerStats::default()
        };
        assert_eq!(remarks(&stats, 64), right, "{stats:?}");
    }
}

#[test]
fn json_is_one_object_with_the_contracts_fields() {
    let ran = run(engine(hello), true, &crossbeam_channel::never());
    ran.result.unwrap();
    assert_eq!(ran.out.lines().count(), 1);
    let object: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    for field in [
        "ttft_ms",
        "cold_ttft_ms",
        "hidden_fraction",
        "tokens",
        "tokens_per_s",
        "passes",
        "accepted_per_pass",
        "accept_rate",
        "tree_nodes_mean",
        "bytes_read",
        "bytes_wasted",
        "read_gb_s",
        "stall_ms",
        "prefetch_hit_rate",
        "expert_hit_rate",
        "expert_lru_hit_rate",
        "expert_bytes_per_token",
        "expert_hit_rate_first16",
        "expert_policy",
        "rss_peak_bytes",
        "scout_label",
        "scout_confidence",
        "text",
    ] {
        assert!(object.get(field).is_some(), "{field}");
    }
    assert_eq!(object["text"], "A é bus.");
    assert!(object["ttft_ms"].is_null());
}

#[test]
fn an_interrupt_stops_the_answer_and_keeps_its_text() {
    let (interrupt, interrupts) = unbounded();
    let engine = engine(move |mut script| {
        script.all(Event::Ready);
        script.take_prompt();
        script.say(RequestEvent::Text("half".into()));
        interrupt.send(()).unwrap();
        let (_, asked) = script.asked.unwrap();
        assert!(matches!(script.hears(), Some(Intent::Cancel(id)) if id == asked));
        script.say(done("half", AnswerEnd::Stopped));
    });
    let ran = run(engine, false, &interrupts);
    ran.result.unwrap();
    assert_eq!(ran.out, "half\n");
    assert!(ran.err.contains("stopping after this pass"), "{}", ran.err);
}

#[test]
fn an_interrupt_while_loading_ends_without_an_answer() {
    let (interrupt, interrupts) = unbounded();
    interrupt.send(()).unwrap();
    let engine = engine(|script| {
        assert!(matches!(script.hears(), Some(Intent::Shutdown)));
    });
    let ran = run(engine, true, &interrupts);
    assert!(ran.result.unwrap_err().to_string().contains("loaded"));
    assert_eq!(ran.out, "");
}

#[test]
fn an_error_keeps_the_text_and_fails() {
    let engine = engine(|mut script| {
        script.all(Event::Ready);
        script.take_prompt();
        script.say(RequestEvent::Text("so far".into()));
        let failed = OracleError::Graph("m.gguf: read error".into());
        script.say(RequestEvent::Failed(RequestError::Pass(Arc::new(failed))));
    });
    let ran = run(engine, false, &crossbeam_channel::never());
    let error = ran.result.unwrap_err().to_string();
    assert!(error.contains("m.gguf: read error"), "{error}");
    assert_eq!(ran.out, "so far\n");
}

#[test]
fn models_that_do_not_load_fail() {
    let engine = engine(|script| {
        let error =
            SessionError::Load(OpenError::Io(io::Error::other("m.gguf is not a model")).into());
        script.all(Event::Fatal(Arc::new(error)));
    });
    let ran = run(engine, true, &crossbeam_channel::never());
    assert_eq!(ran.result.unwrap_err().to_string(), "m.gguf is not a model");
    assert_eq!(ran.out, "");
}

#[test]
fn an_engine_that_vanishes_fails() {
    let ran = run(engine(|_| ()), false, &crossbeam_channel::never());
    assert!(
        ran.result
            .unwrap_err()
            .to_string()
            .contains("without an answer")
    );
}

#[test]
fn a_reader_that_goes_away_is_told_from_other_failures() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for json in [false, true] {
        let engine = engine(hello);
        let mut output = Output {
            out: &mut Closed,
            err: &mut Vec::new(),
            json,
            show_thinking: false,
            terminal: false,
            progress: Progress::hidden(),
            at: Place::Start,
        };
        let never = crossbeam_channel::never();
        let error = answer(&engine.connect(), question(), &never, &mut output).unwrap_err();
        let kind = error.downcast_ref::<std::io::Error>().unwrap().kind();
        assert_eq!(kind, std::io::ErrorKind::BrokenPipe);
        engine.shutdown();
    }
}

#[test]
fn a_prompt_is_taken_as_written() {
    assert_eq!(prompt(&args(" hi\n"), &b""[..]).unwrap(), " hi\n");
    assert_eq!(
        prompt(&args("-"), "a\nb é\r\n".as_bytes()).unwrap(),
        "a\nb é"
    );
}

#[test]
fn a_prompt_that_is_none_is_refused() {
    for (arg, stdin) in [("", &b""[..]), (" \n", b""), ("-", b"\n")] {
        let error = prompt(&args(arg), stdin).unwrap_err();
        assert!(error.is::<Usage>(), "{error}");
    }
    let error = prompt(&args("-"), &b"ab\xff"[..]).unwrap_err();
    assert!(!error.is::<Usage>());
    assert!(error.to_string().contains("byte 2"), "{error}");
}
