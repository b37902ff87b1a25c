//! `nmos bench`: replays traces and prints what a typist waits for.
//!
//! All that can be wrong about the traces, the report's place and the models' files is found
//! before anything is loaded. Rows are printed as they come, and on standard error what each
//! run of a row gave and what goes on; the report is written whatever
//! ended the benchmark, and says whether it is complete.

use super::expert_flags::ExpertFlags;
use super::invocation::{self, Invocation, engine_options, tell_wait};
use super::progress::Progress;
use super::report::FAILED;
use super::run::interrupts;
use crate::bench::{
    self, Case, FigurePercentiles, MachineFacts, ModelFacts, Options, Play, Report, Row, Run,
    ScoutScore, Session, Stage, SuiteEnd, Watch,
};
use crate::config::{Settings, limits};
use crate::session::{self, Client, EngineOptions, Sampling};
use crate::telemetry::Snapshot;
use crate::tui::{clean, clean_line};
use crate::typing::MonotonicClock;
use crate::vocabulary::OracleForm;
use anyhow::{Context, anyhow};
use clap::Args;
use crossbeam_channel::Receiver;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// `nmos bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Traces that were recorded
    #[arg(required = true, value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// How many times faster than they were typed
    #[arg(long, value_name = "X", default_value = "1", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::speed))]
    pub speed: f64,
    /// Run only so many traces, spread evenly over those given
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Tokens of every answer
    #[arg(short = 'n', long, value_name = "N", default_value = "32", allow_negative_numbers = true, value_parser = |s: &str| limits::read(s, limits::max_tokens))]
    pub tokens: usize,
    /// Also run each trace cold, with all work starting at Enter, and compare
    #[arg(long)]
    pub baseline: bool,
    #[command(flatten)]
    pub experts: ExpertFlags,
    /// Write the whole report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl invocation::Run for BenchArgs {
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start()?;
        run(self, &started.settings, &mut io::stdout())
    }
}

/// Runs the benchmark. The exit code says whether every row is sound.
///
/// # Errors
/// Bad traces, models that cannot be used, and a report that cannot be written.
fn run(args: &BenchArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let cases = bench::load(&args.traces, args.limit.map(Into::into))?;
    if let Some(path) = &args.json {
        bench::check_place(path).with_context(|| cannot_write(path))?;
    }
    let engine_options = EngineOptions {
        max_tokens: args.tokens,
        fixed_length: true,
        // Two runs can only be compared where nothing is left to chance.
        sampling: Sampling::default(),
        ..args.experts.over(engine_options(settings)?)?
    };
    let mut err = io::stderr();
    let mut models = Vec::new();
    if args.json.is_some() {
        let oracle = Some(("oracle", engine_options.oracle.as_path()));
        let draft = engine_options.draft.path().map(|path| ("draft", path));
        for (role, path) in oracle.into_iter().chain(draft) {
            models.extend(ModelFacts::of(role, path, |file| {
                // A note that cannot be shown is no reason to give up.
                let _ = writeln!(err, "note: hashing {}", file.display());
            })?);
        }
    }
    let machine = MachineFacts::now();
    let interrupts = interrupts()?;
    let options = options(args, &engine_options);
    let engine = session::spawn(engine_options);
    let mut output = Output {
        out,
        progress: Progress::on_terminal(false),
        options,
        run: None,
    };
    let mut rows = Vec::new();
    let ended = measure(
        &engine.connect(),
        args,
        interrupts,
        &cases,
        &mut output,
        &mut rows,
    );
    output.progress.clear();
    let options = output.options;
    engine.shutdown_telling(tell_wait);
    // Also after a failure: what was measured is kept.
    let complete = matches!(ended, Ok(SuiteEnd::Complete));
    let summary = match &ended {
        Ok(_) => summary(&rows, cases.len(), out),
        Err(_) => Ok(()),
    };
    let sound = rows.iter().all(|row| row.faults().is_empty());
    if let Some(path) = &args.json {
        let report = Report::new(machine, models, options, rows, complete);
        bench::write_file(&report, path).with_context(|| cannot_write(path))?;
    }
    match ended? {
        SuiteEnd::Fatal(why) => return Err(anyhow!(why)),
        SuiteEnd::Complete | SuiteEnd::Interrupted => summary?,
    }
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the report {}", path.display())
}

fn options(args: &BenchArgs, engine: &EngineOptions) -> Options {
    Options {
        threads: crate::system::usable_threads(engine.threads),
        speed: args.speed,
        tokens: args.tokens,
        baseline: args.baseline,
        limit: args.limit.map(Into::into),
        scout: engine.scout,
        temperature: engine.sampling.temperature,
        expert_policy: engine.experts.unless_default(),
        ..Options::default()
    }
}

fn measure(
    client: &Client,
    args: &BenchArgs,
    interrupts: Receiver<()>,
    cases: &[Case],
    output: &mut Output<'_, impl Write>,
    rows: &mut Vec<Row>,
) -> anyhow::Result<SuiteEnd> {
    let session = Session {
        client,
        pace: &MonotonicClock::new(),
        interrupts,
        speed: args.speed,
        baseline: args.baseline,
        warm_up: true,
    };
    bench::run(session, cases, output, rows)
}

/// Prints rows on standard output, and on the terminal what goes on.
struct Output<'a, W: Write> {
    out: &'a mut W,
    progress: Progress,
    options: Options,
    /// When the present run began, and how long its typing takes.
    run: Option<(Instant, Duration)>,
}

impl<W: Write> Output<'_, W> {
    fn line(&mut self, line: &str) -> io::Result<()> {
        let out = &mut *self.out;
        let mut printed = Ok(());
        self.progress.above(|| {
            printed = writeln!(out, "{line}").and_then(|()| out.flush());
        });
        printed
    }
}

impl<W: Write> Watch for Output<'_, W> {
    fn ticks(&self) -> Receiver<Instant> {
        self.progress.ticks()
    }

    fn show(&mut self, stage: Stage, snapshot: &Snapshot) {
        match stage {
            Stage::Loading => self.progress.show(snapshot),
            Stage::WarmUp => self.progress.show_for("warming up", snapshot),
            Stage::Trace { number, of, how } => {
                let mut what = run_name(number, of, how);
                if let Some((began, typing)) = self.run {
                    let (passed, typing) = (began.elapsed().as_secs(), typing.as_secs());
                    what += &match passed < typing {
                        true => format!(", {passed} of {typing} s of typing"),
                        false => format!(", {passed} s"),
                    };
                }
                self.progress.show_for(&what, snapshot);
            }
        }
    }

    fn began(&mut self, stage: Stage, typing: Duration) {
        self.run = Some((Instant::now(), typing));
        if let Stage::Trace { number, of, how } = stage {
            let typing = match typing.as_secs() {
                0 => String::new(),
                seconds => format!(", {seconds} s of typing"),
            };
            let name = run_name(number, of, how);
            self.progress.note_without_line(&format!("{name}{typing}"));
        }
    }

    fn measured(&mut self, stage: Stage, run: &Run) {
        let Stage::Trace { number, of, how } = stage else {
            return;
        };
        // Otherwise the row follows at once.
        if !self.options.baseline {
            return;
        }
        let Some(stats) = &run.stats else {
            return;
        };
        let figures = [
            stats.ttft_ms.map(|ms| format!("TTFT {ms:.0} ms")),
            stats.tokens_per_s.map(|rate| format!("{rate:.2} tokens/s")),
        ];
        let figures: Vec<String> = figures.into_iter().flatten().collect();
        let name = run_name(number, of, how);
        self.progress
            .note(&format!("{name}: {}", figures.join(", ")));
    }

    fn ready(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        self.options.in_force(snapshot);
        let engine = &snapshot.engine;
        let draft = clean_line(engine.draft.as_deref().unwrap_or("none"));
        let policy = self.options.expert_policy;
        let experts = policy.map_or(String::new(), |of| format!("experts {}, ", of.name()));
        self.line(&format!(
            "oracle {} ({}), {experts}draft {draft}, RAM {}, {} threads, {} tokens an answer, typed at \
             {}x\n",
            clean_line(&engine.oracle),
            engine.form.map_or("", OracleForm::name),
            snapshot.memory.budget,
            engine.threads,
            self.options.tokens,
            self.options.speed,
        ))?;
        self.line(&bench::header())
    }

    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.line(&bench::row_line(row))
    }
}

/// Which run of which trace.
fn run_name(number: usize, of: usize, how: Play) -> String {
    let how = match how {
        Play::Typed { .. } => "typed",
        Play::Cold => "cold",
    };
    format!("trace {number} of {of}, {how}")
}

/// What is printed below the rows.
fn summary(rows: &[Row], of: usize, out: &mut impl Write) -> io::Result<()> {
    if !rows.is_empty() {
        writeln!(
            out,
            "\n{}",
            bench::percentile_lines(&FigurePercentiles::of(rows))
        )?;
        writeln!(out)?;
    }
    for row in rows {
        for fault in row.faults() {
            writeln!(out, "! {}: {}", row.file, clean(&fault))?;
        }
        for notice in &row.notices {
            writeln!(out, "note: {}: {}", row.file, clean(notice))?;
        }
    }
    let scout = ScoutScore::of(rows);
    if scout.labelled > 0 {
        writeln!(out, "scout: {} of {} right", scout.right, scout.labelled)?;
    }
    if rows.len() < of {
        writeln!(out, "incomplete: {} of {of} traces were run", rows.len())?;
    }
    out.flush()
}
