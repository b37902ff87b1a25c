//! Which traces are run: all are checked before any is, and a limit spreads over them.

use crate::typing::{Composer, Trace, TraceError};
use std::fmt;
use std::path::{Path, PathBuf};

/// A trace that is to be run.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub path: PathBuf,
    pub trace: Trace,
    /// The text that it submits.
    pub text: String,
}

impl Chosen {
    /// Reads and checks the trace at `path`.
    pub fn load(path: &Path) -> Result<Self, String> {
        let trace = Trace::load(path).map_err(|e: TraceError| e.to_string())?;
        Self::new(path, trace)
    }

    /// A trace in hand; `path` is what it is called in messages.
    pub fn new(path: &Path, trace: Trace) -> Result<Self, String> {
        let mut composer = Composer::new();
        for event in trace.events() {
            composer
                .apply(&event.edit)
                .map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let text = composer.take();
        if text.trim().is_empty() {
            return Err(format!(
                "{}: the text at the end is empty, and nothing answers that",
                path.display()
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            trace,
            text,
        })
    }

    /// What the trace is called: its header's id, or its file's name where it has none.
    pub fn id(&self) -> String {
        match self.trace.header().id.as_str() {
            "" => self
                .path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
            id => id.to_owned(),
        }
    }
}

/// Traces that cannot be run, each with its file, line and fault.
#[derive(Debug, PartialEq, Eq)]
pub struct LoadError(pub Vec<String>);

/// The most faults that are listed.
const LISTED: usize = 10;

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => f.write_str(only),
            all => {
                write!(f, "{} of the traces cannot be run:", all.len())?;
                for fault in all.iter().take(LISTED) {
                    write!(f, "\n  {fault}")?;
                }
                match all.len().saturating_sub(LISTED) {
                    0 => Ok(()),
                    more => write!(f, "\n  and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// Checks every trace, and gives those that a limit leaves. One bad trace stops the benchmark
/// before models are loaded: figures over the rest would silently be of another set.
pub fn load(paths: &[PathBuf], limit: Option<usize>) -> Result<Vec<Chosen>, LoadError> {
    let mut faults = Vec::new();
    let mut good = Vec::new();
    for path in paths {
        match Chosen::load(path) {
            Ok(chosen) => good.push(Some(chosen)),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(LoadError(faults));
    }
    let chosen = spread(good.len(), limit.unwrap_or(good.len()));
    Ok(chosen.into_iter().filter_map(|i| good[i].take()).collect())
}

/// `limit` of the indices below `count`, evenly spaced: the middle of each of `limit` equal
/// stretches. All of them where the limit is no less.
pub fn spread(count: usize, limit: usize) -> Vec<usize> {
    let limit = limit.min(count);
    (0..limit).map(|i| (2 * i + 1) * count / (2 * limit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_spreads_evenly() {
        assert_eq!(spread(10, 3), [1, 5, 8]);
        assert_eq!(spread(258, 4), [32, 96, 161, 225]);
        assert_eq!(spread(5, 1), [2]);
        assert_eq!(spread(0, 4), [0; 0]);
        for limit in [7, 8, usize::MAX] {
            assert_eq!(spread(7, limit), [0, 1, 2, 3, 4, 5, 6]);
        }
        for (count, limit) in [(258, 10), (100, 99), (11, 10)] {
            let chosen = spread(count, limit);
            assert_eq!(chosen.len(), limit);
            let gaps: Vec<_> = chosen.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
            assert!(*least >= 1 && most - least <= 1, "{count} {limit}: {chosen:?}");
        }
    }

    #[test]
    fn many_faults_are_counted_and_the_first_listed() {
        let faults: Vec<_> = (1..=12).map(|i| format!("f{i}, line 1: bad")).collect();
        let text = LoadError(faults).to_string();
        assert!(text.starts_with("12 of the traces"), "{text}");
        assert!(text.contains("\n  f10,") && !text.contains("f11,"), "{text}");
        assert!(text.ends_with("and 2 more"), "{text}");
        assert_eq!(LoadError(vec!["one".into()]).to_string(), "one");
    }
}
