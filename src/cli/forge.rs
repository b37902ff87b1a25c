//! `nmos forge`: a large test model that computes what the oracle computes.

use super::args::ForgeArgs;
use super::report::Usage;
use crate::config::Settings;
use crate::forge::{
    Agreement, Check, Dims, Forge, ForgeError, Growth, Made, PRESETS, Quant, Watch, free_bytes,
};
use crate::model::{locate, progress};
use crate::system;
use crate::tui::{clean, clean_line};
use crate::units::Bytes;
use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Reads the name of a shape.
pub fn preset_parser() -> impl TypedValueParser<Value = Dims> {
    let dims = |name: String| {
        PRESETS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, dims)| *dims)
    };
    PossibleValuesParser::new(PRESETS.map(|(name, _)| name))
        .try_map(move |name| dims(name).ok_or("no shape of this name"))
}

/// Reads the name of a mixture of types.
pub fn quant_parser() -> impl TypedValueParser<Value = Quant> {
    PossibleValuesParser::new(Quant::ALL.map(Quant::name))
        .try_map(|name| Quant::from_name(&name).ok_or("no mixture of this name"))
}

/// Makes the model, or says what would be made.
///
/// # Errors
/// See [`ForgeError`].
pub fn run(args: &ForgeArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let source = locate::resolve(&settings.oracle.value)?;
    let growth = Growth {
        preset: args.shape,
        layers: args.layers,
        size: args.size,
        width: args.width,
        heads: args.heads,
        kv_heads: args.kv_heads,
        ff: args.ff,
    };
    crate::ggml::init()?;
    let forge = match Forge::new(&source, &growth, args.quant, args.seed) {
        Err(error @ (ForgeError::Nothing | ForgeError::Shape(_))) => {
            return Err(Usage(format!(
                "{error}; see nmos forge --help for --layers, --size, --shape, --width and --quant"
            ))
            .into());
        }
        other => other.with_context(|| format!("cannot forge from {}", source.display()))?,
    };
    describe(&forge, out)?;
    let output = match &args.output {
        Some(output) if !args.dry_run => output,
        place => return room(&forge, place.as_deref(), out),
    };
    let check = match args.no_verify {
        true => None,
        false => Some(Check {
            ram: system::budget(
                settings.ram.value.size(),
                &system::memory(),
                system::rss().unwrap_or_default(),
            )?,
            threads: system::usable_threads(settings.threads.value),
        }),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("cannot listen for Ctrl-C")?;
    }
    let watch = Watch {
        progress: &*progress::for_stderr(),
        stop: &stop,
    };
    let made = forge.make(output, check, &watch)?;
    let place = clean(&output.display().to_string());
    writeln!(out, "{place}: {}", verdict(made))?;
    out.flush()?;
    Ok(())
}

fn describe(forge: &Forge, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "source  {}", clean_line(&forge.source_name()))?;
    writeln!(out, "        {}", forge.source_dims())?;
    if let Some(blueprint) = forge.blueprint() {
        writeln!(out, "forged  {}", blueprint.dims)?;
        let types: Vec<_> = blueprint
            .types()
            .into_iter()
            .map(|(ty, bytes)| format!("{ty} {bytes}"))
            .collect();
        let bytes = blueprint.file_bytes();
        writeln!(out, "        {}: {}", exactly(bytes), types.join(", "))?;
    }
    Ok(())
}

/// What a dry run ends with.
fn room(forge: &Forge, output: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    let needed = forge.needed_bytes();
    let place = output.unwrap_or(Path::new("model.gguf"));
    let free = free_bytes(place)
        .with_context(|| format!("cannot look at the disk of {}", place.display()))?;
    writeln!(
        out,
        "disk    {needed} are needed while it is made, {free} are free"
    )?;
    out.flush()?;
    Ok(())
}

/// A size as people and as disks count it.
fn exactly(bytes: Bytes) -> String {
    format!("{bytes} ({} bytes)", bytes.0)
}

fn verdict(made: Made) -> String {
    match made {
        Made::NotCompared => "made, not compared with its source".to_owned(),
        Made::Requantised => {
            "made; it is a model of its own, with nothing to agree with".to_owned()
        }
        Made::Agrees(Agreement {
            prompts,
            tokens,
            same_bits,
            near_ties,
            difference,
        }) => {
            let logits = match same_bits {
                true => "all logits have the same bits".to_owned(),
                false => format!(
                    "logits differ by {:.1}% of their spread",
                    difference * 100.0
                ),
            };
            let text = match near_ties {
                0 => "the same text as the source".to_owned(),
                n => format!("the source's text but for {n} near ties"),
            };
            format!("made and compared: {text} ({tokens} tokens on {prompts} prompts), {logits}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_how_alike_they_are() {
        let agreement = Agreement {
            prompts: 2,
            tokens: 64,
            same_bits: true,
            near_ties: 0,
            difference: 0.0,
        };
        assert_eq!(
            verdict(Made::Agrees(agreement)),
            "made and compared: the same text as the source (64 tokens on 2 prompts), all logits \
             have the same bits"
        );
        let wider = Agreement {
            same_bits: false,
            near_ties: 1,
            difference: 0.0312,
            ..agreement
        };
        let text = verdict(Made::Agrees(wider));
        assert!(
            text.contains("1 near ties") && text.contains("3.1%"),
            "{text}"
        );
    }
}
