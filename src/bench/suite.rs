//! All traces, one after the other, each with its baseline if one is asked for.

use super::run::{play, warm_up};
use super::{Case, Pace, Play, Row, Run, RunEnd};
use crate::session::{Client, Event};
use crate::telemetry::{Snapshot, see_log};
use crossbeam_channel::{Receiver, never, select};
use std::io;
use std::time::{Duration, Instant};

/// What a benchmark runs on.
pub struct Session<'a> {
    pub client: &'a Client,
    pub pace: &'a dyn Pace,
    /// Yields a message when the user wants no more.
    pub interrupts: Receiver<()>,
    /// How many times faster than it was typed.
    pub speed: f64,
    /// Run each trace cold as well.
    pub baseline: bool,
    /// Have a short prompt answered first, which is not measured: the first pass of a session
    /// waits for the weights that stay in memory, which no later one does.
    pub warm_up: bool,
}

/// Who wants to know how it goes.
pub trait Watch {
    /// When to call [`Watch::show`].
    fn ticks(&self) -> Receiver<Instant>;
    /// Models are loading, or the trace `number` of `of` runs.
    fn show(&mut self, stage: Stage, snapshot: &Snapshot);
    /// A run begins, of which typing takes this long.
    fn began(&mut self, _stage: Stage, _typing: Duration) {}
    /// A run has ended; a row follows when all runs of its trace have.
    fn measured(&mut self, _stage: Stage, _run: &Run) {}
    /// Models are ready.
    fn ready(&mut self, snapshot: &Snapshot) -> io::Result<()>;
    /// A trace is done.
    fn row(&mut self, row: &Row) -> io::Result<()>;
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    Loading,
    /// A prompt is answered that is not measured.
    WarmUp,
    /// From 1.
    Trace {
        number: usize,
        of: usize,
        how: Play,
    },
}

/// How a benchmark ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuiteEnd {
    Complete,
    /// The user stopped it.
    Interrupted,
    /// The session cannot go on; says why.
    Fatal(String),
}

/// Runs `cases` and adds a row for each that was finished to `rows`, which also holds what
/// there is where this fails. Every second trace runs cold first, so that what a session keeps
/// from one run to the next favours neither side.
///
/// # Errors
/// The watcher's, and a speed that makes no sense.
pub fn run(
    session: Session<'_>,
    cases: &[Case],
    watch: &mut dyn Watch,
    rows: &mut Vec<Row>,
) -> anyhow::Result<SuiteEnd> {
    let Session {
        client,
        pace,
        mut interrupts,
        speed,
        baseline,
        warm_up: warms_up,
    } = session;
    let ticks = watch.ticks();
    if let Some(end) = await_ready(client, &mut interrupts, &ticks, watch) {
        return Ok(end);
    }
    if warms_up {
        let mut tick = || watch.show(Stage::WarmUp, &client.hub().snapshot());
        match warm_up(client, pace, &mut interrupts, &ticks, &mut tick) {
            RunEnd::Finished(_) => {}
            RunEnd::Interrupted => return Ok(SuiteEnd::Interrupted),
            RunEnd::Fatal(why) => return Ok(SuiteEnd::Fatal(why)),
        }
    }
    watch.ready(&client.hub().snapshot())?;
    let typed = Play::Typed { speed };
    for (i, case) in cases.iter().enumerate() {
        let order: &[Play] = match (baseline, i % 2) {
            (false, _) => &[typed],
            (true, 0) => &[typed, Play::Cold],
            (true, _) => &[Play::Cold, typed],
        };
        let (mut typed_run, mut cold_run) = (Run::default(), None);
        for &how in order {
            let stage = Stage::Trace {
                number: i + 1,
                of: cases.len(),
                how,
            };
            watch.began(stage, typing_time(case, how));
            let mut tick = || watch.show(stage, &client.hub().snapshot());
            match play(client, case, how, pace, &mut interrupts, &ticks, &mut tick)? {
                RunEnd::Finished(run) => {
                    watch.measured(stage, &run);
                    match how {
                        Play::Cold => cold_run = Some(*run),
                        Play::Typed { .. } => typed_run = *run,
                    }
                }
                RunEnd::Interrupted => return Ok(SuiteEnd::Interrupted),
                RunEnd::Fatal(why) => return Ok(SuiteEnd::Fatal(why)),
            }
        }
        let row = Row::new(case, typed_run, cold_run);
        let shown = watch.row(&row);
        rows.push(row);
        shown?;
    }
    Ok(SuiteEnd::Complete)
}

/// From the first key to Enter.
fn typing_time(case: &Case, how: Play) -> Duration {
    match (how, case.trace.events().last()) {
        (Play::Typed { speed }, Some(last)) => {
            let seconds = last.t_us as f64 / 1e6 / speed;
            Duration::try_from_secs_f64(seconds).unwrap_or_default()
        }
        _ => Duration::ZERO,
    }
}

/// Waits until models are loaded; an end if they never are.
fn await_ready(
    client: &Client,
    interrupts: &mut Receiver<()>,
    ticks: &Receiver<Instant>,
    watch: &mut dyn Watch,
) -> Option<SuiteEnd> {
    loop {
        select! {
            recv(client.events()) -> event => match event {
                Ok(Event::Ready) => return None,
                Ok(Event::Fatal(error)) => return Some(SuiteEnd::Fatal(error.to_string())),
                Ok(_) => {}
                Err(_) => return Some(SuiteEnd::Fatal(format!(
                    "the engine ended before its models were loaded{}",
                    see_log()
                ))),
            },
            recv(interrupts) -> message => match message {
                Ok(()) => return Some(SuiteEnd::Interrupted),
                Err(_) => *interrupts = never(),
            },
            recv(ticks) -> _ => watch.show(Stage::Loading, &client.hub().snapshot()),
        }
    }
}
