//! `nmos run`: one prompt, one answer, for scripts and pipes.
//!
//! A client of a session with one request. The answer goes to standard output as it comes, in
//! whole characters; everything else goes to standard error. What the model thinks before is shown
//! where that was asked for, between `<think>` and `</think>` whatever marks the model has.
//!
//! ```text
//!  Ready -> submit -> Submitted -> Thought* -> Text* -> Done
//!             |                      |
//!             '--- Ctrl-C: cancel ---'   a second Ctrl-C ends the process at once
//! ```

use super::expert_flags::ExpertFlags;
use super::flags::AnswerFlags;
use super::invocation::{Invocation, Run, engine_options, tell_wait};
use super::progress::Progress;
use super::report::{FAILED, Usage};
use crate::config::Settings;
use crate::session::{self, Client, EngineOptions, Event, Request, RequestEvent, SessionEnded};
use crate::telemetry::{AnswerEnd, AnswerStats, see_log};
use crate::tui::{clean, think_cut, tokens};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use crossbeam_channel::{Receiver, select};
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// `nmos run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The prompt, or `-` to read it from standard input
    pub prompt: String,
    #[command(flatten)]
    pub answer: AnswerFlags,
    #[command(flatten)]
    pub experts: ExpertFlags,
    /// Answer with as many tokens as are allowed, also where the model would end before
    #[arg(long)]
    pub ignore_eos: bool,
    /// Print one JSON object with the answer and its figures instead of the text
    #[arg(long)]
    pub json: bool,
    /// Print what the model thinks before it answers, too
    #[arg(long)]
    pub show_thinking: bool,
}

impl Run for RunArgs {
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start_over(self.answer.layer())?;
        run_once(self, &started.settings, &mut io::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn run_once(args: &RunArgs, settings: &Settings, out: &mut io::Stdout) -> anyhow::Result<()> {
    let prompt = prompt(args, io::stdin())?;
    let options = EngineOptions {
        fixed_length: args.ignore_eos,
        draft_waits: true,
        ..args.experts.over(engine_options(settings)?)?
    };
    let request = Request::prompt(&options.system, prompt, options.params());
    let interrupts = interrupts()?;
    let engine = session::spawn(options);
    let answered = answer(
        &engine.connect(),
        request,
        &interrupts,
        &mut Output {
            out,
            err: &mut io::stderr(),
            json: args.json,
            show_thinking: args.show_thinking,
            terminal: io::stdout().is_terminal(),
            progress: Progress::on_terminal(!args.json),
            at: Place::Start,
        },
    );
    engine.shutdown_telling(tell_wait);
    answered
}

/// The prompt that the arguments ask for; `-` reads it from `stdin`.
fn prompt(args: &RunArgs, mut stdin: impl Read) -> anyhow::Result<String> {
    let mut prompt = args.prompt.clone();
    if prompt == "-" {
        let mut bytes = Vec::new();
        stdin
            .read_to_end(&mut bytes)
            .context("cannot read the prompt from standard input")?;
        prompt = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            anyhow!("the prompt on standard input is not UTF-8 text: byte {at} fits no character")
        })?;
        // What says that a file is UTF-8 is no part of the text.
        if prompt.starts_with('\u{feff}') {
            prompt.remove(0);
        }
        // A shell's `echo` ends its line; the prompt does not.
        if prompt.ends_with('\n') {
            prompt.pop();
            if prompt.ends_with('\r') {
                prompt.pop();
            }
        }
    }
    if prompt.trim().is_empty() {
        return Err(Usage("the prompt is empty: write what is to be answered".into()).into());
    }
    Ok(prompt)
}

/// Where an answer goes.
struct Output<'a, O: Write, E: Write> {
    pub out: &'a mut O,
    pub err: &'a mut E,
    /// One JSON object instead of text.
    pub json: bool,
    pub show_thinking: bool,
    /// Text goes to a terminal, which control characters of an answer would reach.
    pub terminal: bool,
    pub progress: Progress,
    pub at: Place,
}

/// What was printed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing, or a line's end.
    Start,
    /// Text of the answer within a line.
    Text,
    /// A thought, within a line or at its end.
    Thought { line_ended: bool },
}

impl<O: Write, E: Write> Output<'_, O, E> {
    fn thought(&mut self, piece: &str) -> io::Result<()> {
        if self.json || !self.show_thinking {
            return Ok(());
        }
        if !matches!(self.at, Place::Thought { .. }) {
            self.end_line()?;
            writeln!(self.out, "<think>")?;
        }
        self.print(piece)?;
        let line_ended = piece.ends_with('\n');
        self.at = Place::Thought { line_ended };
        Ok(())
    }

    fn text(&mut self, piece: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        if matches!(self.at, Place::Thought { .. }) {
            self.end_line()?;
            writeln!(self.out)?;
        }
        self.print(piece)?;
        self.at = match piece.ends_with('\n') {
            true => Place::Start,
            false => Place::Text,
        };
        Ok(())
    }

    fn print(&mut self, piece: &str) -> io::Result<()> {
        self.progress.make_way();
        match self.terminal {
            true => self.out.write_all(clean(piece).as_bytes())?,
            false => self.out.write_all(piece.as_bytes())?,
        }
        self.out.flush()
    }

    /// Ends the last line, so that what follows has a line of its own.
    fn end_line(&mut self) -> io::Result<()> {
        match self.at {
            Place::Start => return Ok(()),
            Place::Text => writeln!(self.out)?,
            Place::Thought { line_ended: true } => writeln!(self.out, "</think>")?,
            Place::Thought { line_ended: false } => writeln!(self.out, "\n</think>")?,
        }
        self.at = Place::Start;
        self.out.flush()
    }

    /// The answer has ended: no more of it comes.
    fn end(&mut self) -> io::Result<()> {
        self.progress.clear();
        self.end_line()
    }
}

/// Asks for an answer and prints it. `interrupts` yields a message at each Ctrl-C.
///
/// Ends with an error when the session does; the text up to there has been printed.
fn answer<O: Write, E: Write>(
    client: &Client,
    request: Request,
    interrupts: &Receiver<()>,
    output: &mut Output<'_, O, E>,
) -> anyhow::Result<()> {
    let mut interrupts = interrupts.clone();
    let ticks = output.progress.ticks();
    let mut unasked = Some(request);
    let mut asked = None;
    loop {
        let event = select! {
            recv(client.events()) -> event => event.map_err(|_| {
                anyhow!("the engine ended without an answer{}", see_log())
            })?,
            recv(interrupts) -> message => {
                if message.is_err() {
                    // Nobody is left who could interrupt.
                    interrupts = crossbeam_channel::never();
                } else if let Some(id) = asked {
                    let message = "stopping after this pass; Ctrl-C again ends at once";
                    output.progress.say(message, output.err);
                    listened(client, client.cancel(id))?;
                } else {
                    bail!("stopped before the models were loaded");
                }
                continue;
            }
            recv(ticks) -> _ => {
                output.progress.show(&client.hub().snapshot());
                continue;
            }
        };
        match event {
            Event::Ready => {
                if let Some(request) = unasked.take() {
                    asked = listened(client, client.submit(request))?;
                }
            }
            Event::Notice(notice) => note(&notice.to_string(), output),
            Event::Fatal(error) => {
                output.end()?;
                return Err(error.into());
            }
            Event::Request(_, RequestEvent::Submitted { .. }) => {}
            Event::Request(_, RequestEvent::Thought { text, .. }) => output.thought(&text)?,
            Event::Request(_, RequestEvent::Text(text)) => output.text(&text)?,
            Event::Request(_, RequestEvent::Done(stats)) => {
                let cells = client.hub().snapshot().engine.ctx_tokens;
                return finish(&stats, cells, output);
            }
            Event::Request(_, RequestEvent::Failed(error)) => {
                output.end()?;
                return Err(error.into());
            }
        }
    }
}

/// What was sent, or `None` where the session no longer listens and has said why: that event is
/// still in the channel.
fn listened<T>(client: &Client, sent: Result<T, SessionEnded>) -> anyhow::Result<Option<T>> {
    if sent.is_err() && client.events().is_empty() {
        bail!("the engine ended without an answer{}", see_log());
    }
    Ok(sent.ok())
}

fn note<O: Write, E: Write>(what: &str, output: &mut Output<'_, O, E>) {
    let err = &mut *output.err;
    output.progress.above(|| {
        // A note that cannot be shown is no reason to lose the answer.
        let _ = writeln!(err, "note: {}", clean(what));
    });
}

fn finish<O: Write, E: Write>(
    stats: &AnswerStats,
    ctx_tokens: usize,
    output: &mut Output<'_, O, E>,
) -> anyhow::Result<()> {
    output.end()?;
    if !output.json {
        for remark in remarks(stats, ctx_tokens) {
            note(&remark, output);
        }
    }
    if output.json {
        serde_json::to_writer(&mut *output.out, stats).map_err(std::io::Error::from)?;
        writeln!(output.out)?;
        output.out.flush()?;
    }
    Ok(())
}

/// What a reader of the answer alone would not know of it.
fn remarks(stats: &AnswerStats, ctx_tokens: usize) -> Vec<String> {
    let mut remarks: Vec<_> = think_cut(stats).into_iter().collect();
    let is_empty = stats.tokens > 0 && stats.text.trim().is_empty();
    let thought = match stats.thinking_tokens {
        0 => String::new(),
        n => format!(" after {} of thinking", tokens(n)),
    };
    remarks.extend(match stats.end {
        AnswerEnd::ContextFull => Some(format!(
            "the answer is cut off: with the prompt it fills the context of {ctx_tokens} tokens, \
             which --ctx sets"
        )),
        _ if !is_empty => None,
        AnswerEnd::Length => {
            let sooner = match (stats.thinking_tokens, stats.think_cut) {
                (n @ 1.., None) => format!(", a --think-budget below {n} ends thoughts sooner"),
                _ => String::new(),
            };
            Some(format!(
                "there is no answer: the limit of {} was reached{thought}; -n allows more{sooner}",
                tokens(stats.tokens)
            ))
        }
        AnswerEnd::EndOfText | AnswerEnd::StopString => {
            Some(format!("there is no answer: the model ended it{thought}"))
        }
        AnswerEnd::Stopped => Some(format!("there is no answer: it was stopped{thought}")),
    });
    remarks
}

/// A channel that yields a message at the first Ctrl-C; the second ends the process at once.
pub fn interrupts() -> anyhow::Result<Receiver<()>> {
    use signal_hook::consts::SIGINT;
    let stopping = Arc::new(AtomicBool::new(false));
    // In this order: the first signal finds the flag down and puts it up, the second finds it up.
    signal_hook::flag::register_conditional_shutdown(SIGINT, FAILED.into(), stopping.clone())
        .and_then(|_| signal_hook::flag::register(SIGINT, stopping))
        .context("cannot listen for Ctrl-C")?;
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT]).context("cannot listen for Ctrl-C")?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if sender.send(()).is_err() {
                    break;
                }
            }
        })
        .context("cannot listen for Ctrl-C")?;
    Ok(receiver)
}

#[cfg(test)]
mod tests;
