//! `nmos experts`: what is known of a mixture's routed experts.

use super::invocation::{Invocation, Run};
use super::output;
use super::report::Usage;
use crate::experts::Profile;
use crate::experts::replay::{Cost, Policy, Replayed, Trace};
use crate::experts::routing::Reader;
use crate::units::Bytes;
use anyhow::Context;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `nmos experts` can do.
#[derive(Debug, Subcommand)]
pub enum ExpertsCommand {
    /// Say how often recorded routing would find its experts in memory, for several sizes of it
    Replay(ReplayArgs),
}

/// `nmos experts replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Recorded routing
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,
    /// Memory for experts, of several sizes [default: an eighth, a quarter, a half and three
    /// quarters of them]
    // Of the same name as the shared option, in whose place it is here, and therefore kept as text.
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = size_parser())]
    pub ram: Vec<OsString>,
    /// Recordings of other text, from which the profile is learnt first; it goes on learning from
    /// each turn that is replayed
    #[arg(long, value_name = "FILE")]
    pub learn: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Run for ExpertsCommand {
    fn run(&self, _invocation: &Invocation) -> anyhow::Result<ExitCode> {
        match self {
            Self::Replay(args) => {
                let report = replay(args)?;
                output::print(&report, args.json, &mut io::stdout(), text)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Everything that is printed. A rate is null where nothing was used.
#[derive(Debug, Serialize)]
struct Report {
    recording: String,
    /// Its last record is not whole, and was left out.
    is_cut_off: bool,
    turns: usize,
    layers: usize,
    experts: usize,
    experts_bytes: Bytes,
    budgets: Vec<Budget>,
}

#[derive(Debug, Serialize)]
struct Budget {
    ram_bytes: Bytes,
    policies: Vec<Outcome>,
    /// Of the way from LRU's hit rate to that of Belady's eviction, the part that `intent` goes. Null
    /// where there is no way to go.
    prompt_gap_closed: Option<f64>,
    answer_gap_closed: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    policy: Policy,
    prompt_hit_rate: Option<f64>,
    answer_hit_rate: Option<f64>,
    /// A token that was computed: guesses that were wrong count as well.
    bytes_a_prompt_token: Option<f64>,
    bytes_an_answer_token: Option<f64>,
}

fn size_parser() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|text| size(&text).map(|_| text))
}

fn size(text: &OsString) -> Result<Bytes, crate::units::BytesError> {
    text.to_string_lossy().parse()
}

fn replay(args: &ReplayArgs) -> anyhow::Result<Report> {
    let trace = read(&args.recording)?;
    let mut profile = trace.empty_profile();
    for path in &args.learn {
        let other = read(path)?;
        if other.header() != trace.header() {
            let (path, recording) = (path.display(), args.recording.display());
            return Err(Usage(format!("{path} is not of the model of {recording}")).into());
        }
        other.teach(&mut profile);
    }
    let experts_bytes = trace.header().bytes();
    let sizes: Vec<_> = match &args.ram[..] {
        [] => [1, 2, 4, 6]
            .map(|eighths| Bytes(experts_bytes.0 / 8 * eighths).max(trace.least()))
            .into(),
        sizes => sizes.iter().map(size).collect::<Result<_, _>>()?,
    };
    let budgets = sizes.into_iter().map(|size| budget(&trace, size, &profile));
    Ok(Report {
        recording: args.recording.display().to_string(),
        is_cut_off: trace.is_cut_off(),
        turns: trace.turns(),
        layers: trace.header().groups.len(),
        experts: trace.header().experts().into_iter().sum(),
        experts_bytes,
        budgets: budgets.collect::<anyhow::Result<_>>()?,
    })
}

fn read(path: &Path) -> anyhow::Result<Trace> {
    let what = || format!("cannot replay {}", path.display());
    let file = File::open(path).with_context(what)?;
    let reader = Reader::new(BufReader::new(file)).with_context(what)?;
    Trace::read(reader).with_context(what)
}

fn budget(trace: &Trace, ram_bytes: Bytes, profile: &Profile) -> anyhow::Result<Budget> {
    let mut found = Vec::new();
    for policy in Policy::ALL {
        found.push((policy, trace.replay(ram_bytes, policy, profile)?));
    }
    let closed = |cost: fn(&Replayed) -> &Cost| {
        let rate = |of| {
            let (_, replayed) = found.iter().find(|(policy, _)| *policy == of)?;
            cost(replayed).hit_rate()
        };
        let (lru, belady) = (rate(Policy::Lru)?, rate(Policy::Belady)?);
        (belady > lru).then_some((rate(Policy::Intent)? - lru) / (belady - lru))
    };
    let outcome = |(policy, replayed): &(Policy, Replayed)| Outcome {
        policy: *policy,
        prompt_hit_rate: replayed.prompts.hit_rate(),
        answer_hit_rate: replayed.answers.hit_rate(),
        bytes_a_prompt_token: replayed.prompts.bytes_a_token(),
        bytes_an_answer_token: replayed.answers.bytes_a_token(),
    };
    Ok(Budget {
        ram_bytes,
        prompt_gap_closed: closed(|replayed| &replayed.prompts),
        answer_gap_closed: closed(|replayed| &replayed.answers),
        policies: found.iter().map(outcome).collect(),
    })
}

fn text(report: &Report, out: &mut Vec<u8>) -> io::Result<()> {
    let Report {
        turns,
        layers,
        experts,
        experts_bytes,
        ..
    } = report;
    writeln!(out, "{}", report.recording)?;
    writeln!(
        out,
        "turns {turns}, layers {layers}, experts {experts} ({experts_bytes} in all)"
    )?;
    if report.is_cut_off {
        writeln!(out, "the file was cut off: its last record is left out")?;
    }
    writeln!(
        out,
        "\nexperts found in memory, simulated:\n{:>10}  {:10}{:>10}{:>10}{:>12}{:>24}",
        "memory", "", "prompts", "answers", "gap closed", "a computed token"
    )?;
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / Bytes::MIB as f64);
    let percent = |part: Option<f64>| part.map_or("-".to_owned(), |p| format!("{:.1}%", p * 100.0));
    for budget in &report.budgets {
        let mut memory = mib(budget.ram_bytes.0 as f64);
        for outcome in &budget.policies {
            let bytes = outcome.bytes_an_answer_token;
            let bytes = bytes.map_or("-".to_owned(), mib);
            let closed = match outcome.policy {
                Policy::Intent => percent(budget.answer_gap_closed),
                Policy::Lru | Policy::Belady => String::new(),
            };
            writeln!(
                out,
                "{memory:>10}  {:10}{:>10}{:>10}{closed:>12}{bytes:>24}",
                outcome.policy.title(),
                percent(outcome.prompt_hit_rate),
                percent(outcome.answer_hit_rate),
            )?;
            memory.clear();
        }
    }
    writeln!(
        out,
        "\ngap closed: the part that eviction by intent goes of the way from LRU's hits in answers \
         to Belady's, which has\nthe most that are possible for experts of equal size\n\
         a computed token: bytes that an answer reads for it, guesses that were wrong among the tokens"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::experts::ModelKey;
    use crate::experts::routing::{Header, PassKind, Record, RoutedGroup, RoutedPass, Writer};
    use clap::Parser;

    fn recording(path: &Path, model: &[u8]) {
        let header = Header {
            model: ModelKey::of(model),
            groups: vec![RoutedGroup {
                layer: 0,
                experts: 8,
                used: 1,
                expert_bytes: Bytes(1024),
            }],
        };
        let mut writer = Writer::new(File::create(path).unwrap(), header).unwrap();
        for token in 0..40 {
            let pass = RoutedPass {
                kind: if token == 0 {
                    PassKind::Prompt
                } else {
                    PassKind::Answer
                },
                label: None,
                tokens: 1,
                ids: vec![vec![token % 5]],
            };
            writer.record(&Record::Pass(pass)).unwrap();
        }
        writer.record(&Record::TurnEnd(None)).unwrap();
        writer.finish().unwrap();
    }

    fn args(line: &[&str]) -> ReplayArgs {
        let cli = Cli::try_parse_from(["nmos", "experts", "replay"].iter().chain(line)).unwrap();
        match cli.command {
            Some(Command::Experts(ExpertsCommand::Replay(args))) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn memory_is_a_list_of_sizes_here() {
        let args = args(&["file", "--ram", "1GiB,512MiB"]);
        let sizes: Vec<_> = args.ram.iter().map(|text| size(text).unwrap()).collect();
        assert_eq!(sizes, [Bytes::mib(1024), Bytes::mib(512)]);
        Cli::try_parse_from(["nmos", "experts", "replay", "file", "--ram", "1GiB,much"])
            .unwrap_err();
    }

    #[test]
    fn a_replay_says_what_each_policy_would_have_hit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routing");
        recording(&path, b"a model");
        let name = path.to_str().unwrap();
        let report = replay(&args(&[name, "--ram", "4KiB,8KiB"])).unwrap();
        let [lru, _, belady] = &report.budgets[0].policies[..] else {
            panic!("three policies");
        };
        assert_eq!(lru.answer_hit_rate, Some(0.0), "five in turn, four fit");
        assert!(belady.answer_hit_rate.unwrap() > 0.6);
        assert_eq!(report.budgets[1].answer_gap_closed, None, "all fit");
        let mut lines = Vec::new();
        text(&report, &mut lines).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        assert!(
            lines.contains("turns 1, layers 1, experts 8 (8 KiB in all)"),
            "{lines}"
        );
        let row = |name: &str| lines.lines().find(|line| line.contains(name));
        let belady = row("Belady's  ").unwrap();
        assert!(belady.ends_with(" MiB"), "{lines}");
        assert!(row("gap closed: ").is_some(), "{lines}");
    }

    #[test]
    fn what_cannot_be_replayed_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let [path, other] = ["one", "other"].map(|name| dir.path().join(name));
        recording(&path, b"a model");
        recording(&other, b"another");
        let [path, other] = [&path, &other].map(|path| path.to_str().unwrap());
        let words = |line: &[&str]| format!("{:#}", replay(&args(line)).unwrap_err());
        assert!(words(&[path, "--learn", other]).contains("is not of the model of"));
        assert!(words(&[path, "--ram", "1023"]).contains("give 1 KiB or more"));
        let missing = dir.path().join("none");
        assert!(words(&[missing.to_str().unwrap()]).contains("cannot replay"));
    }
}
