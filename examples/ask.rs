//! Asks a model one thing, over the session protocol that every front-end uses.
//!
//! `cargo run --release --example ask -- MODEL PROMPT`
//!
//! `MODEL` is a name from `nmos models list` that has been pulled, or the path of a GGUF file.
//! All else is as the configuration file and the environment say. The answer goes to standard
//! output as it comes, its figures to standard error.

use nmos::config::{Layer, ModelName, Settings};
use nmos::model::locate;
use nmos::session::{self, Client, EngineOptions, Event, Request, RequestEvent};
use nmos::telemetry::AnswerStats;
use std::io::Write;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(prompt)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: ask MODEL PROMPT");
    };
    let flags = Layer {
        oracle: Some(ModelName::new(&model)),
        ..Layer::default()
    };
    let options = EngineOptions {
        draft_waits: true,
        ..Settings::load(flags, None)?.engine_options(|name| locate::resolve(name))?
    };
    let request = Request::prompt(&options.system, prompt, options.params());
    // The session has a thread of its own, on which the models load from now on.
    let engine = session::spawn(options);
    let answered = print_answer(&engine.connect(), request);
    engine.shutdown();
    let stats = answered?;
    let rate = stats.tokens_per_s.unwrap_or_default();
    eprintln!("{} tokens in {} passes", stats.tokens, stats.passes);
    eprintln!("{rate:.1} tokens/s, {} bytes read", stats.bytes_read);
    Ok(())
}

/// Submits the request and prints its text until it ends.
fn print_answer(client: &Client, request: Request) -> anyhow::Result<AnswerStats> {
    let mut out = std::io::stdout();
    let asked = client.submit(request)?;
    loop {
        match client.events().recv()? {
            Event::Request(id, event) if id == asked => match event {
                RequestEvent::Submitted { .. } | RequestEvent::Thought { .. } => {}
                RequestEvent::Text(piece) => {
                    write!(out, "{piece}")?;
                    out.flush()?;
                }
                RequestEvent::Done(stats) => {
                    writeln!(out)?;
                    return Ok(*stats);
                }
                RequestEvent::Failed(error) => return Err(error.into()),
            },
            Event::Notice(notice) => eprintln!("note: {notice}"),
            Event::Fatal(error) => return Err(anyhow::anyhow!(error)),
            Event::Ready | Event::Request(..) => {}
        }
    }
}
