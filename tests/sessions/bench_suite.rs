//! The benchmark against a scripted session, on a virtual clock.

use crossbeam_channel::{Receiver, never, unbounded};
use nmos::bench::{
    self, Case, MachineFacts, Options, Play, Report, Row, Run, Session, Stage, SuiteEnd, Watch,
};
use nmos::model::TextError;
use nmos::oracle::OpenError;
use nmos::session::{
    EngineEnd, EngineHandle, Event, Intent, RequestError, RequestEvent, SessionError,
};
use nmos::telemetry::{AnswerStats, Snapshot};
use nmos::typing::{Composer, Edit, Trace, VirtualClock};
use nmos::vocabulary::Label;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// SHA-256 of `Hello`, computed elsewhere.
const HELLO: &str = "185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969";

/// Types `Hullo`, and mends it.
fn hello(id: &str) -> Case {
    let text = format!(
        "{{\"version\":1,\"id\":\"{id}\",\"label\":\"CODE\",\"provenance\":\"real\",\
         \"final_chars\":5,\"final_sha256\":\"{HELLO}\"}}\n\
         {{\"t_us\":0,\"kind\":\"insert\",\"text\":\"Hullo\"}}\n\
         {{\"t_us\":400000,\"kind\":\"delete\",\"start\":1,\"end\":2}}\n\
         {{\"t_us\":800000,\"kind\":\"insert\",\"text\":\"e\"}}\n\
         {{\"t_us\":60000000,\"kind\":\"enter\"}}\n"
    );
    Case::new(
        Path::new("hello.jsonl"),
        Trace::parse(text.as_bytes()).unwrap(),
    )
}

/// A prompt as the session got it.
struct Got {
    anticipate: bool,
    edits: Vec<Edit>,
    times_us: Vec<u64>,
    text: String,
}

/// What a session says to a prompt.
#[derive(Clone)]
enum Says {
    Of(RequestEvent),
    /// It cannot go on.
    Fatal(&'static str),
}

/// A session that hears prompts and lets `reply` say what comes of the `n`-th, from 0.
fn engine(mut reply: impl FnMut(usize, &Got) -> Vec<Says> + Send + 'static) -> EngineHandle {
    let script = move |end: EngineEnd| {
        let hears = || end.intents.recv().map(|stamped| stamped.intent);
        end.clients.tell_all(Event::Ready);
        for n in 0.. {
            match hears() {
                Ok(Intent::NewConversation) => {}
                Ok(Intent::Shutdown) | Err(_) => return,
                other => panic!("{other:?}"),
            }
            let Ok(Intent::Anticipate(anticipate)) = hears() else {
                panic!("nothing said of working ahead");
            };
            let mut got = Got {
                anticipate,
                edits: vec![],
                times_us: vec![],
                text: String::new(),
            };
            let mut composer = Composer::new();
            let mut typist = None;
            while got.edits.last() != Some(&Edit::Enter) {
                let Ok(stamped) = end.intents.recv() else {
                    return;
                };
                typist = Some(stamped.client);
                match stamped.intent {
                    Intent::Typing(event) => {
                        composer.apply(&event.edit).unwrap();
                        got.edits.push(event.edit);
                        got.times_us.push(event.t_us);
                    }
                    Intent::Shutdown => return,
                    other => panic!("{other:?}"),
                }
            }
            got.text = composer.take();
            let id = end.clients.next_request();
            for says in reply(n, &got) {
                match says {
                    Says::Of(event) => assert!(end.clients.tell(typist.unwrap(), id, event)),
                    Says::Fatal(why) => {
                        let error =
                            SessionError::Load(OpenError::Io(std::io::Error::other(why)).into());
                        end.clients.tell_all(Event::Fatal(Arc::new(error)));
                    }
                }
            }
        }
    };
    EngineHandle::start(Arc::new(VirtualClock::new()), script)
}

fn submitted(got: &Got) -> Says {
    let prompt = got.text.clone();
    Says::Of(RequestEvent::Submitted { prompt })
}

fn answered(text: &str, ttft_ms: f64) -> AnswerStats {
    AnswerStats {
        text: text.into(),
        ttft_ms: Some(ttft_ms),
        scout_label: Some(Label::Code),
        tokens: 4,
        ..AnswerStats::default()
    }
}

fn done(stats: AnswerStats) -> Says {
    Says::Of(RequestEvent::Done(Box::new(stats)))
}

fn failed() -> Says {
    let error = RequestError::from(TextError::NoToken('x'));
    Says::Of(RequestEvent::Failed(error))
}

/// A quarter of the cold time where work ahead is allowed.
fn sound(got: &Got) -> Vec<Says> {
    vec![
        submitted(got),
        done(answered("Hi.", if got.anticipate { 25.0 } else { 100.0 })),
    ]
}

#[derive(Default)]
struct Shown(usize);

impl Watch for Shown {
    fn ticks(&self) -> Receiver<Instant> {
        never()
    }
    fn show(&mut self, _: Stage, _: &Snapshot) {}
    fn ready(&mut self, _: &Snapshot) -> std::io::Result<()> {
        Ok(())
    }
    fn row(&mut self, _: &Row) -> std::io::Result<()> {
        self.0 += 1;
        Ok(())
    }
}

fn run(engine: EngineHandle, cases: &[Case], baseline: bool) -> (SuiteEnd, Vec<Row>) {
    run_until(engine, cases, baseline, never())
}

fn run_until(
    engine: EngineHandle,
    cases: &[Case],
    baseline: bool,
    interrupts: Receiver<()>,
) -> (SuiteEnd, Vec<Row>) {
    let (mut rows, mut shown) = (Vec::new(), Shown::default());
    let client = engine.connect();
    let session = Session {
        client: &client,
        pace: &VirtualClock::new(),
        interrupts,
        speed: 4.0,
        baseline,
        warm_up: false,
    };
    let end = bench::run(session, cases, &mut shown, &mut rows).unwrap();
    engine.shutdown();
    assert_eq!(shown.0, rows.len());
    (end, rows)
}

#[test]
fn a_trace_is_typed_event_by_event_and_cold_runs_get_all_at_once() {
    let (seen, got) = unbounded();
    let engine = engine(move |_, got| {
        seen.send((got.anticipate, got.edits.len(), got.times_us.clone()))
            .unwrap();
        sound(got)
    });
    let cases = ["a", "b", "c"].map(hello);
    let (end, rows) = run(engine, &cases, true);
    assert_eq!(end, SuiteEnd::Complete);
    let typed = (true, 4, vec![0, 100_000, 200_000, 15_000_000]);
    let cold = (false, 2, vec![0, 0]);
    let order: Vec<_> = got.iter().collect();
    // Every second trace runs cold first.
    let expected = [&typed, &cold, &cold, &typed, &typed, &cold].map(Clone::clone);
    assert_eq!(order, expected);
    for row in &rows {
        assert_eq!((row.hash_ok, row.texts_agree), (Some(true), Some(true)));
        let stats = row.stats.as_ref().unwrap();
        assert_eq!(stats.ttft_ms, Some(25.0));
        assert_eq!(stats.cold_ttft_ms, Some(100.0));
        assert_eq!(stats.hidden_fraction, Some(0.75));
        assert_eq!(row.scout_right(), Some(true));
        assert!(row.faults().is_empty());
    }
}

#[test]
fn a_session_is_warmed_up_by_a_prompt_that_is_no_row() {
    let (seen, got) = unbounded();
    let engine = engine(move |n, got| {
        seen.send((got.anticipate, got.edits.len())).unwrap();
        match n {
            // It failed: the rows will tell, if it matters.
            0 => vec![submitted(got), failed()],
            _ => sound(got),
        }
    });
    let (mut rows, mut shown) = (Vec::new(), Shown::default());
    let session = Session {
        client: &engine.connect(),
        pace: &VirtualClock::new(),
        interrupts: never(),
        speed: 4.0,
        baseline: false,
        warm_up: true,
    };
    let end = bench::run(session, &[hello("a")], &mut shown, &mut rows).unwrap();
    engine.shutdown();
    assert_eq!(end, SuiteEnd::Complete);
    assert_eq!(got.iter().collect::<Vec<_>>(), [(false, 2), (true, 4)]);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].faults().is_empty());
}

/// Keeps what is told, in order.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn note(&mut self, what: &str, stage: Stage) {
        if let Stage::Trace { number, how, .. } = stage {
            let how = if how == Play::Cold { "cold" } else { "typed" };
            self.0.push(format!("{what} {number} {how}"));
        }
    }
}

impl Watch for Told {
    fn ticks(&self) -> Receiver<Instant> {
        never()
    }
    fn show(&mut self, _: Stage, _: &Snapshot) {}
    fn began(&mut self, stage: Stage, typing: Duration) {
        let words = format!("began ({} s)", typing.as_secs());
        self.note(&words, stage);
    }
    fn measured(&mut self, stage: Stage, run: &Run) {
        assert!(run.stats.is_some());
        self.note("measured", stage);
    }
    fn ready(&mut self, _: &Snapshot) -> std::io::Result<()> {
        self.0.push("ready".into());
        Ok(())
    }
    fn row(&mut self, row: &Row) -> std::io::Result<()> {
        assert!(row.stats.is_some());
        self.0.push("row".into());
        Ok(())
    }
}

#[test]
fn each_run_is_told_when_it_begins_and_each_row_when_it_is_measured() {
    let (mut rows, mut told) = (Vec::new(), Told::default());
    let engine = engine(|_, got| sound(got));
    let client = engine.connect();
    let session = Session {
        client: &client,
        pace: &VirtualClock::new(),
        interrupts: never(),
        speed: 4.0,
        baseline: true,
        warm_up: false,
    };
    bench::run(session, &[hello("a"), hello("b")], &mut told, &mut rows).unwrap();
    engine.shutdown();
    // A minute of typing, four times faster.
    let expected = [
        "ready",
        "began (15 s) 1 typed",
        "measured 1 typed",
        "began (0 s) 1 cold",
        "measured 1 cold",
        "row",
        "began (0 s) 2 cold",
        "measured 2 cold",
        "began (15 s) 2 typed",
        "measured 2 typed",
        "row",
    ];
    assert_eq!(told.0, expected);
}

#[test]
fn without_a_baseline_what_it_would_tell_is_unknown() {
    let (_, rows) = run(
        engine(|_, got| sound(got)),
        &[hello("a"), hello("b")],
        false,
    );
    for row in rows {
        let stats = row.stats.as_ref().unwrap();
        assert_eq!((stats.cold_ttft_ms, stats.hidden_fraction), (None, None));
        assert_eq!(row.texts_agree, None);
        assert!(row.cold.is_none() && row.faults().is_empty());
    }
}

#[test]
fn a_prompt_that_the_session_misunderstood_is_a_fault() {
    // Wrong in one run of the two is wrong.
    for wrong in [true, false] {
        let engine = engine(move |_, got| {
            let mut events = sound(got);
            if got.anticipate == wrong {
                events[0] = Says::Of(RequestEvent::Submitted {
                    prompt: "Hullo".into(),
                });
            }
            events
        });
        let (_, rows) = run(engine, &[hello("a")], true);
        assert_eq!(rows[0].hash_ok, Some(false));
        assert_eq!(rows[0].faults().len(), 1);
        assert!(bench::row_line(&rows[0]).starts_with('!'));
    }
}

#[test]
fn answers_that_disagree_are_a_fault() {
    let engine = engine(|n, got| {
        let answer = answered(&format!("answer {n}"), 1.0);
        vec![submitted(got), done(answer)]
    });
    let (_, rows) = run(engine, &[hello("a")], true);
    assert_eq!(rows[0].texts_agree, Some(false));
    assert_eq!(rows[0].faults().len(), 1);
}

#[test]
fn answers_that_rounding_may_tell_apart_are_none() {
    let engine = engine(|n, got| {
        let answer = AnswerStats {
            rounded: true,
            ..answered(&format!("answer {n}"), 1.0)
        };
        vec![submitted(got), done(answer)]
    });
    let (_, rows) = run(engine, &[hello("a")], true);
    assert_eq!(rows[0].texts_agree, Some(false));
    assert!(rows[0].faults().is_empty());
    assert_eq!(rows[0].notices.len(), 1);
    assert!(bench::row_line(&rows[0]).starts_with(' '));
}

#[test]
fn an_error_costs_its_row_alone_and_a_late_end_is_not_the_next_runs() {
    let engine = engine(|n, got| match n {
        0 => vec![submitted(got), failed(), done(answered("late", 9.0))],
        _ => sound(got),
    });
    let (end, rows) = run(engine, &[hello("a"), hello("b")], false);
    assert_eq!(end, SuiteEnd::Complete);
    let fault =
        "typed: the model has no token for 'x': write the prompt, or the system text, without it";
    assert_eq!(rows[0].faults(), [fault]);
    assert!(rows[0].stats.is_none());
    assert_eq!(rows[1].stats.as_ref().unwrap().text, "Hi.");
    assert!(rows[1].faults().is_empty());
}

#[test]
fn a_session_that_ends_keeps_the_rows_before() {
    let engine = engine(|n, got| match n {
        0 => sound(got),
        _ => vec![Says::Fatal("no memory")],
    });
    let (end, rows) = run(engine, &[hello("a"), hello("b")], false);
    assert_eq!(end, SuiteEnd::Fatal("no memory".into()));
    assert_eq!(rows.len(), 1);
}

#[test]
fn an_interrupt_keeps_the_rows_before() {
    let (interrupt, interrupts) = unbounded();
    let engine = engine(move |n, got| match n {
        0 => sound(got),
        _ => {
            interrupt.send(()).unwrap();
            vec![submitted(got)]
        }
    });
    let (end, rows) = run_until(engine, &[hello("a"), hello("b")], false, interrupts);
    assert_eq!(end, SuiteEnd::Interrupted);
    assert_eq!(rows.len(), 1);
}

#[test]
fn every_field_of_the_contract_is_there_and_unknown_ones_are_null() {
    let engine = engine(|n, got| match n {
        0 | 1 => sound(got),
        _ => vec![submitted(got), failed()],
    });
    let (_, rows) = run(engine, &[hello("a"), hello("b")], true);
    let options = Options {
        speed: 4.0,
        ..Options::default()
    };
    let report = Report::new(MachineFacts::now(), vec![], options, rows, true);
    let json = serde_json::to_value(&report).unwrap();
    for field in [
        "version", "build", "machine", "models", "options", "scout", "complete",
    ] {
        assert!(!json[field].is_null(), "{field}");
    }
    assert_eq!(json["input"], "replayed traces, 4x speed");
    let (good, bad) = (&json["rows"][0], &json["rows"][1]);
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
        assert!(good.get(field).is_some(), "{field}");
        assert!(good["cold"].get(field).is_some(), "cold {field}");
        assert!(
            bad.get(field).is_some_and(|v| v.is_null()),
            "{field} of a failed row"
        );
    }
    assert_eq!(good["id"], "a");
    assert!(bad["cold"].is_null() && bad["texts_agree"].is_null());
    // Failed rows count in no percentile.
    assert_eq!(json["percentiles"]["ttft_ms"]["n"], 1);
    assert_eq!(json["percentiles"]["hidden_fraction"]["p95"], 0.75);
    assert_eq!(
        json["scout"],
        serde_json::json!({"labelled": 1, "right": 1})
    );
}
