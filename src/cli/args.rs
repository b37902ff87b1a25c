//! The command line as a whole: what every command takes, and the tree of commands. Scripts
//! depend on these names. What one command takes is in its own file.

use super::Command;
use super::flags::SharedFlags;
use super::tui::Record;
use clap::Parser;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "nmos",
    about = "A workbench over language models larger than memory",
    long_about = "NMOS runs a language model that is larger than memory, streams its weights from \
                  the SSD, and works while you type. Without a command it opens the workbench.",
    version = super::version::short(),
    long_version = super::version::long(),
    after_help = "Options can also be set as variables (--top-k is NMOS_TOP_K) and in the \
                  configuration file (nmos config path). Exit codes: 0 ok, 1 failed, 2 usage.",
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub record: Record,
    #[command(flatten)]
    pub shared: SharedFlags,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TreeSize;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shared_options_come_before_or_after_the_command() {
        for line in [
            ["nmos", "--ram", "1GiB", "doctor"],
            ["nmos", "doctor", "--ram", "1GiB"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.shared.layer().ram, Some("1GiB".parse().unwrap()));
        }
        let cli = Cli::try_parse_from(["nmos", "plan", "--tree", "16"]).unwrap();
        assert_eq!(cli.shared.layer().tree, Some(TreeSize::Fixed(16)));
        Cli::try_parse_from(["nmos", "--tree", "0"]).unwrap_err();
    }

    #[test]
    fn a_number_below_zero_is_answered_with_what_is_allowed() {
        let error = Cli::try_parse_from(["nmos", "run", "--seed", "-1", "hello"]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("-1 is not a seed: write a whole number from 0 up"),
            "{text}"
        );
        let error = Cli::try_parse_from(["nmos", "run", "-n", "-5", "hello"]).unwrap_err();
        assert!(error.to_string().contains("1 to"), "{error}");
    }

    #[test]
    fn options_of_an_answer_reach_the_layer() {
        let line = "nmos run -n 5 --temp 0.7 --top-k 40 --seed 3 --system x --ctx 512 hello";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Some(Command::Run(run)) = &cli.command else {
            panic!("not run");
        };
        let layer = run.answer.layer().over(cli.shared.layer());
        assert_eq!((layer.max_tokens, layer.ctx), (Some(5), Some(512)));
        assert_eq!(layer.temp, Some(0.7));
        assert_eq!(layer.top_k, Some(40));
        assert_eq!(layer.seed, Some(3));
        assert_eq!(layer.system.as_deref(), Some("x"));
    }
}
