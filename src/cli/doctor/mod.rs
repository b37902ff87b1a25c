//! `nmos doctor`: measures this machine and says whether NMOS can run well on it.
//!
//! Every line is a [`Check`]: what was found, how good that is, and what to do where it is not
//! good. `fail` means that NMOS cannot answer here as it is set up, and makes the exit code 1;
//! `warn` means that it runs, but worse than it could.
//!
//! What it finds out about the disk is kept for sessions and `nmos plan`
//! ([`crate::system::measure::Tunings`]).

mod checks;
mod machine;
mod speed;

use super::invocation::{Invocation, Run, engine_options};
use crate::config::{Layer, Settings};
use crate::plan::{Forecast, Forecasts, Placement, Planner};
use crate::system::measure::disk::{self, Tuned};
use crate::system::measure::memory::{self, Bandwidth};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warn,
    Fail,
}

impl Grade {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One finding.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    grade: Grade,
    /// What was found or measured.
    found: String,
    /// What to do; `None` where nothing need be done.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            grade: Grade::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            name,
            grade: Grade::Warn,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            grade: Grade::Fail,
            ..Self::warn(name, found, advice)
        }
    }
}

/// Everything found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    /// Nothing failed.
    fit: bool,
    version: String,
    kernel: String,
    cpu: crate::system::CpuFacts,
    memory: crate::system::MemoryFacts,
    /// Of the disk that holds the oracle, in decimal gigabytes a second; null if not measured.
    read_gb_s: Option<f64>,
    /// How that was read best, and all that was tried; null if not measured.
    disk: Option<Tuned>,
    bandwidth: Bandwidth,
    huge_pages: crate::system::HugePages,
    gpus: Vec<String>,
    /// Of the oracle within the budget; null where it cannot be known.
    passes: Option<Vec<Forecast>>,
    checks: Vec<Check>,
}

/// `nmos doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

impl Run for DoctorArgs {
    /// Examines the machine and prints what was found.
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let loaded = invocation.settings();
        let config = checks::config(&loaded);
        let settings = match loaded {
            Ok(settings) => settings,
            // The rest is examined as it would be without the file and variables that are wrong.
            Err(_) => Settings::resolve(invocation.flags.clone(), Layer::default(), None)?,
        };
        let report = examine(&settings, config);
        super::output::print(&report, self.json, &mut io::stdout(), print)?;
        Ok(if report.fit {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(super::report::FAILED)
        })
    }
}

fn examine(settings: &Settings, config: Check) -> Report {
    let cpu = crate::system::cpu_facts();
    let memory = crate::system::memory();
    let huge_pages = crate::system::huge_pages();
    let gpus = crate::system::gpus();
    let threads = crate::system::usable_threads(settings.threads.value);
    let bandwidth = memory::bandwidth(threads);
    let oracle = crate::model::locate::resolve(&settings.oracle.value).ok();
    let tuned = oracle.as_deref().map(disk::tune);
    let mut all = vec![
        machine::processor(&cpu, threads),
        machine::backends(),
        machine::gpus(&gpus),
        machine::memory(&memory, settings.ram.value.size()),
        speed::bandwidth(&bandwidth),
        machine::huge_pages(&huge_pages),
        machine::locked_memory(),
        machine::io_uring(),
    ];
    all.extend(checks::models(settings));
    all.push(checks::place(oracle.as_deref()));
    all.push(speed::reading(tuned.as_ref()));
    let tuned = tuned.and_then(Result::ok).flatten();
    if let (Some(oracle), Some(tuned)) = (&oracle, &tuned) {
        all.extend(speed::keep(oracle, tuned));
    }
    let prospects = tuned.as_ref().map(|_| prospects(settings));
    if let Some(Ok(Prospects { placement, .. })) = &prospects {
        let left_out = placement.draft.left_out().map(ToString::to_string);
        checks::leave_out_draft(&mut all, left_out.as_deref());
    }
    all.extend(prospects.as_ref().map(speed::limit));
    all.push(config);
    all.push(checks::log(settings));
    all.push(checks::terminal());
    Report {
        fit: all.iter().all(|check| check.grade != Grade::Fail),
        version: super::version::short(),
        kernel: crate::system::kernel(),
        cpu,
        memory,
        // Where the page cache answers as well, it is not the disk's speed.
        read_gb_s: tuned
            .as_ref()
            .filter(|tuned| tuned.direct)
            .map(|tuned| tuned.tuning.gb_s),
        disk: tuned,
        bandwidth,
        huge_pages,
        gpus,
        passes: prospects.and_then(Result::ok).and_then(|p| p.passes),
        checks: all,
    }
}

/// What the oracle would do on this machine.
struct Prospects {
    placement: Placement,
    /// Why llama.cpp's graph computes it; `None` where ours can.
    left_to_llama: Option<String>,
    /// `None` for an architecture that we have no kernels' times for.
    passes: Option<Vec<Forecast>>,
}

fn prospects(settings: &Settings) -> anyhow::Result<Prospects> {
    let options = engine_options(settings)?;
    let planner = Planner::open(options.plan_request())?;
    let placement = planner.place()?;
    let forecasts = Forecasts::measure(&planner.oracle, &placement)?;
    Ok(Prospects {
        placement,
        left_to_llama: planner.oracle.blueprint.left_to_llama(),
        passes: forecasts.map(|all| all.passes),
    })
}

fn print(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "nmos {} on {}\n", report.version, report.kernel)?;
    for check in &report.checks {
        let mut lines = check.found.lines();
        let (grade, first) = (check.grade.name(), lines.next().unwrap_or_default());
        writeln!(out, "{grade:<5} {:<14} {first}", check.name)?;
        for line in lines {
            writeln!(out, "{:<20} {line}", "")?;
        }
        if let Some(advice) = &check.advice {
            writeln!(out, "{:<20} -> {advice}", "")?;
        }
    }
    let count = |grade| report.checks.iter().filter(|c| c.grade == grade).count();
    let warned = match count(Grade::Warn) {
        0 => String::new(),
        n => format!(", {n} to look at"),
    };
    match count(Grade::Fail) {
        0 => writeln!(out, "\nfit to run{warned}"),
        n => writeln!(out, "\nnot fit: {n} failed{warned}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    fn report(checks: Vec<Check>) -> String {
        let mut out = Vec::new();
        let report = Report {
            fit: true,
            version: "1".into(),
            kernel: "Linux 6".into(),
            cpu: crate::system::cpu_facts(),
            memory: crate::system::MemoryFacts::default(),
            read_gb_s: None,
            disk: None,
            bandwidth: Bandwidth {
                threads: 1,
                bytes: crate::units::Bytes(1),
                read_gb_s: 1.0,
                copy_gb_s: 1.0,
            },
            huge_pages: crate::system::huge_pages(),
            gpus: Vec::new(),
            passes: None,
            checks,
        };
        print(&report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn advice_is_printed_below_what_it_is_about() {
        let text = report(vec![
            Check::ok("kernel", "6.1"),
            Check::warn("disk", "slow\nvery", "buy another"),
        ]);
        assert_eq!(
            text,
            "nmos 1 on Linux 6\n\n\
             ok    kernel         6.1\n\
             warn  disk           slow\n                     very\n                     \
             -> buy another\n\nfit to run, 1 to look at\n"
        );
    }

    #[test]
    fn a_draft_that_sessions_leave_out_is_told_of_unless_it_is_unsound() {
        let found = |check, why| {
            let mut all = vec![Check::ok("oracle", "o.gguf"), check];
            checks::leave_out_draft(&mut all, why);
            all.remove(1).found
        };
        let sound = || Check::ok("draft", "d.gguf");
        assert_eq!(
            found(sound(), Some("too little memory")),
            "d.gguf; but too little memory"
        );
        assert_eq!(found(sound(), None), "d.gguf");
        let absent = Check::warn("draft", "absent", "pull it");
        assert_eq!(found(absent, Some("too little memory")), "absent");
    }

    #[test]
    fn a_failure_is_counted() {
        let text = report(vec![Check::fail("oracle", "absent", "pull it")]);
        assert!(text.ends_with("\nnot fit: 1 failed\n"), "{text}");
    }

    #[test]
    fn a_broken_configuration_is_a_finding() {
        let error = ConfigError::Environment {
            variable: "NMOS_RAM".to_owned(),
            what: "'x' is not a size".into(),
        };
        let check = checks::config(&Err(error));
        assert_eq!(check.grade, Grade::Fail);
        assert!(check.found.contains("NMOS_RAM"));
    }
}
