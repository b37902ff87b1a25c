//! `nmos forge`: a large test model that computes what the oracle computes.

use super::invocation::{Invocation, Run, tell_threads};
use super::report::Usage;
use crate::config::Settings;
use crate::forge::{
    Agreement, Dims, Forge, ForgeError, Forged, Growth, Made, Means, PRESETS, Quant, Shares, Watch,
    free_bytes,
};
use crate::model::{Experts, locate, progress};
use crate::system;
use crate::tui::{clean, clean_line};
use crate::units::Bytes;
use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// `nmos forge`
#[derive(Debug, Args)]
#[command(
    long_about = "Make a large test model that computes what the oracle computes: deeper by layers \
                  that add nothing, wider by columns that are zero, a mixture of experts by copies \
                  of its feed-forward. The result is compared with the oracle before it gets its \
                  name."
)]
pub struct ForgeArgs {
    /// The file to make
    #[arg(value_name = "FILE", required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// Layers in all; the added ones are spread evenly among the real ones
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub layers: Option<usize>,
    /// As many layers as bring the file to about this size, as in 4.7GB
    #[arg(
        long,
        value_name = "SIZE",
        conflicts_with = "layers",
        help_heading = "Shape"
    )]
    pub size: Option<Bytes>,
    /// The shape of a Qwen2.5 model; what else is said of the shape overrides it
    #[arg(long, value_name = "NAME", value_parser = preset_parser(), help_heading = "Shape")]
    pub shape: Option<Dims>,
    /// Elements of the residual stream (n_embd)
    #[arg(long, value_name = "D", help_heading = "Shape")]
    pub width: Option<usize>,
    /// Query heads [default: what fills the width, in whole groups]
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub heads: Option<usize>,
    /// Key-value heads [default: the source's, or the next number that divides the heads]
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub kv_heads: Option<usize>,
    /// Elements of the feed-forward, in a mixture of each expert [default: in the source's ratio to
    /// the width]
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub ff: Option<usize>,
    /// Make a mixture of so many experts of a dense model: each is a copy of its feed-forward
    #[arg(long, value_name = "N", help_heading = "Shape")]
    pub experts: Option<usize>,
    /// Experts that a token uses, of those that --experts makes
    #[arg(
        long,
        value_name = "K",
        default_value_t = 2,
        requires = "experts",
        help_heading = "Shape"
    )]
    pub experts_used: usize,
    /// Quantise the weights again first
    #[arg(long, value_name = "MIX", value_parser = quant_parser())]
    pub quant: Option<Quant>,
    /// The number that the filler's bytes start from
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Do not compare the result with what it was made from
    #[arg(long)]
    pub no_verify: bool,
    /// Say what would be made and how large, and make nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Run for ForgeArgs {
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start()?;
        tell_threads(&started.settings);
        run(self, &started.settings, &mut io::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads the name of a shape.
fn preset_parser() -> impl TypedValueParser<Value = Dims> {
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
fn quant_parser() -> impl TypedValueParser<Value = Quant> {
    PossibleValuesParser::new(Quant::ALL.map(Quant::name))
        .try_map(|name| Quant::from_name(&name).ok_or("no mixture of this name"))
}

/// Makes the model, or says what would be made.
///
/// # Errors
/// See [`ForgeError`].
fn run(args: &ForgeArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let source = locate::resolve(&settings.oracle.value)?;
    let growth = Growth {
        preset: args.shape,
        layers: args.layers,
        size: args.size,
        width: args.width,
        heads: args.heads,
        kv_heads: args.kv_heads,
        ff: args.ff,
        experts: args.experts.map(|count| Experts {
            count,
            used: args.experts_used,
        }),
    };
    crate::ggml::init()?;
    let forge = match Forge::new(&source, &growth, args.quant, args.seed) {
        Err(error @ (ForgeError::Nothing | ForgeError::Shape(_))) => {
            return Err(Usage(format!(
                "{error}; see nmos forge --help for --layers, --size, --shape, --width, --experts and --quant"
            ))
            .into());
        }
        other => other.with_context(|| format!("cannot forge from {}", source.display()))?,
    };
    describe(&forge, out)?;
    let output = match &args.output {
        Some(output) if !args.dry_run => output,
        place => return tell_space(&forge, place.as_deref(), out),
    };
    let means = Means {
        ram: system::budget(
            settings.ram.value.size(),
            &system::memory(),
            system::rss().unwrap_or_default(),
        )?,
        threads: system::usable_threads(settings.threads.value),
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
    let Forged { made, routing } = forge.make(output, means, !args.no_verify, &watch)?;
    if let Some(shares) = routing {
        writeln!(out, "routing {}", evenness(shares))?;
    }
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

/// Says what space on the disk it takes, with which a dry run ends.
fn tell_space(forge: &Forge, output: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
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

fn evenness(shares: Shares) -> String {
    format!(
        "on a sample of {} tokens the least used expert of a layer has {:.2} of an even share, the \
         most used {:.1}",
        shares.tokens, shares.least, shares.most
    )
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
    fn how_evenly_experts_are_used_is_said_in_shares() {
        let shares = Shares {
            tokens: 1475,
            least: 0.182,
            most: 2.43,
        };
        assert_eq!(
            evenness(shares),
            "on a sample of 1475 tokens the least used expert of a layer has 0.18 of an even \
             share, the most used 2.4"
        );
    }

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
