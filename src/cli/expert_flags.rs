//! Options of commands that compute answers, for mixtures of experts.

use super::report::Usage;
use crate::session::EngineOptions;
use crate::vocabulary::ExpertPolicy;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// See the module's text.
#[derive(Debug, Args)]
pub struct ExpertFlags {
    /// How the experts of a mixture come and go: for comparison, the default is the best
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    pub experts: ExpertPolicy,
    /// Write down which experts of a mixture each token uses, for `nmos experts replay`. From these
    /// ids of all layers whoever has the model can find the text again by trying, so that the file
    /// is readable by its owner alone
    #[arg(long, value_name = "FILE")]
    pub record_routing: Option<PathBuf>,
}

impl ExpertFlags {
    /// `options` with what these say.
    ///
    /// # Errors
    /// Two that do not go together.
    pub fn over(&self, options: EngineOptions) -> Result<EngineOptions, Usage> {
        if self.experts == ExpertPolicy::WholeLayers && self.record_routing.is_some() {
            return Err(Usage(format!(
                "--record-routing writes down experts as they are asked for, and with --experts {} \
                 none is: leave one of the two out",
                self.experts.name()
            )));
        }
        Ok(EngineOptions {
            experts: self.experts,
            record_routing: self.record_routing.clone(),
            ..options
        })
    }
}

impl ValueEnum for ExpertPolicy {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.title()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn each_policy_has_a_word_for_run_and_for_bench() {
        for policy in ExpertPolicy::ALL {
            let line = |command: &'static str| {
                let line = ["nmos", command, "--experts", policy.name(), "x"];
                Cli::try_parse_from(line).unwrap().command
            };
            let (Some(Command::Run(run)), Some(Command::Bench(bench))) =
                (line("run"), line("bench"))
            else {
                panic!("other commands");
            };
            assert_eq!([run.experts.experts, bench.experts.experts], [policy; 2]);
        }
        let Some(Command::Run(run)) = Cli::try_parse_from(["nmos", "run", "x"]).unwrap().command
        else {
            panic!("not run");
        };
        assert_eq!(run.experts.experts, ExpertPolicy::ByLabel);
        let refused = Cli::try_parse_from(["nmos", "run", "--experts", "none", "x"]).unwrap_err();
        let words = refused.to_string();
        assert!(
            ExpertPolicy::ALL
                .iter()
                .all(|policy| words.contains(policy.name())),
            "{words}"
        );
    }
}
