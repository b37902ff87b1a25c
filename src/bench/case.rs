//! The traces of a benchmark: which of the files given are used, and the text of each.

use crate::typing::{Composer, Trace, TraceError};
use std::path::{Path, PathBuf};

/// A trace and the text that it types.
#[derive(Clone, Debug)]
pub struct Case {
    pub path: PathBuf,
    pub trace: Trace,
    /// The submitted text, as the trace's own edits make it.
    pub text: String,
}

impl Case {
    /// Takes a valid trace.
    pub fn new(path: &Path, trace: Trace) -> Self {
        let mut composer = Composer::new();
        for event in trace.events() {
            // A trace in hand is one whose edits all fit.
            let _ = composer.apply(&event.edit);
        }
        Self {
            path: path.to_owned(),
            text: composer.text().to_owned(),
            trace,
        }
    }

    /// The header's identity, or the file's name where it has none.
    pub fn id(&self) -> String {
        match self.trace.header().id.as_str() {
            "" => self
                .path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            id => id.to_owned(),
        }
    }
}

/// Reads and checks all of `paths`, and keeps at most `limit`, spread over them.
///
/// # Errors
/// The first file that is not a trace, with its line, also where it would not be kept.
pub fn load(paths: &[PathBuf], limit: Option<usize>) -> Result<Vec<Case>, TraceError> {
    let mut traces = Vec::with_capacity(paths.len());
    for path in paths {
        traces.push(Some(Trace::load(path)?));
    }
    let chosen = spread(paths.len(), limit);
    Ok(chosen
        .into_iter()
        .filter_map(|i| Some(Case::new(&paths[i], traces[i].take()?)))
        .collect())
}

/// Which of `len` things to take so that `limit` of them lie evenly among all.
pub fn spread(len: usize, limit: Option<usize>) -> Vec<usize> {
    let n = limit.map_or(len, |limit| limit.min(len));
    (0..n).map(|i| i * len / n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_spreads_over_all() {
        assert_eq!(spread(10, None), (0..10).collect::<Vec<_>>());
        assert_eq!(spread(10, Some(20)).len(), 10);
        assert_eq!(spread(258, Some(3)), [0, 86, 172]);
        assert_eq!(spread(5, Some(4)), [0, 1, 2, 3]);
        assert_eq!(spread(5, Some(0)), [0; 0]);
        assert_eq!(spread(0, Some(3)), [0; 0]);
    }

    #[test]
    fn a_bad_trace_is_named_even_where_the_limit_leaves_it_out() {
        let dir = tempfile::tempdir().unwrap();
        let sha = "185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969";
        let good = format!(
            "{{\"version\":1,\"final_chars\":5,\"final_sha256\":\"{sha}\"}}\n\
             {{\"t_us\":0,\"kind\":\"insert\",\"text\":\"Hullo\"}}\n\
             {{\"t_us\":9,\"kind\":\"delete\",\"start\":1,\"end\":2}}\n\
             {{\"t_us\":10,\"kind\":\"insert\",\"text\":\"e\"}}\n\
             {{\"t_us\":20,\"kind\":\"enter\"}}\n"
        );
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = write("good.jsonl", &good);
        let cases = load(std::slice::from_ref(&good), None).unwrap();
        assert_eq!(
            (cases[0].text.as_str(), cases[0].id()),
            ("Hello", "good".into())
        );

        let bad = write("bad.jsonl", "{\"version\":2}\n");
        let error = load(&[good, bad], Some(1)).unwrap_err().to_string();
        assert!(error.contains("bad.jsonl, line 1"), "{error}");
    }
}
