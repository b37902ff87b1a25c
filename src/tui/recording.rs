//! The user's typing as traces: one file a prompt.
//!
//! ```text
//!  --record typed.jsonl    first prompt   typed.jsonl
//!                          second prompt  typed-2.jsonl ...
//! ```
//! A file appears when its prompt is sent; what is not sent leaves none. Numbers that are
//! taken, as by an earlier session, are passed over.

use super::app::Recorder;
use crate::typing::{RecordError, RecordText, TraceRecorder, TypingEvent};
use anyhow::bail;
use std::path::{Path, PathBuf};

/// Where the prompts of a session are recorded, and what of them.
pub struct Recording {
    path: PathBuf,
    keep: RecordText,
    /// Number of the current file.
    number: usize,
    current: TraceRecorder,
}

impl Recording {
    /// # Errors
    /// A file that is there already, and a directory that is not.
    pub fn new(path: PathBuf, keep: RecordText) -> anyhow::Result<Self> {
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty());
        if dir.is_some_and(|d| !d.is_dir()) {
            bail!("cannot record to {}: no such directory", path.display());
        }
        if path.symlink_metadata().is_ok() {
            bail!(
                "cannot record to {}: it is there already; name another file",
                path.display()
            );
        }
        Ok(Self {
            current: TraceRecorder::new(&path, keep),
            path,
            keep,
            number: 1,
        })
    }

    /// Takes down an event; the one after an `Enter` begins the next file.
    ///
    /// # Errors
    /// A file that cannot be written. Nothing more is recorded then.
    pub fn record(&mut self, event: &TypingEvent) -> Result<(), RecordError> {
        if self.current.record(event)? {
            let next = loop {
                self.number += 1;
                let path = numbered(&self.path, self.number);
                if path.symlink_metadata().is_err() {
                    break path;
                }
            };
            self.current = TraceRecorder::new(next, self.keep);
        }
        Ok(())
    }

    /// As the workbench takes it.
    pub fn into_recorder(mut self) -> Recorder {
        Box::new(move |event| self.record(event))
    }
}

/// `typed.jsonl` and 2 make `typed-2.jsonl`.
fn numbered(path: &Path, n: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{n}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typing::{Edit, Trace};

    fn typed(recording: &mut Recording, text: &str) {
        let insert = Edit::Insert {
            text: text.into(),
            paste: false,
        };
        for (t_us, edit) in [(0, insert), (900, Edit::Enter)] {
            recording.record(&TypingEvent { t_us, edit }).unwrap();
        }
    }

    #[test]
    fn each_prompt_has_its_file_without_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("typed.jsonl");
        let mut recording = Recording::new(path.clone(), RecordText::TimingOnly).unwrap();
        typed(&mut recording, "one");
        typed(&mut recording, "three");
        for (path, text) in [(path, "xxx"), (dir.path().join("typed-2.jsonl"), "xxxxx")] {
            let trace = Trace::load(&path).unwrap();
            assert!(
                matches!(&trace.events()[0].edit, Edit::Insert { text: t, .. } if t == text),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn files_of_an_earlier_session_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        for old in ["typed-2.jsonl", "typed-3.jsonl"] {
            std::fs::write(file(old), "kept").unwrap();
        }
        let mut recording = Recording::new(file("typed.jsonl"), RecordText::Keep).unwrap();
        for text in ["one", "two", "three"] {
            typed(&mut recording, text);
        }
        for (name, chars) in [
            ("typed.jsonl", 3),
            ("typed-4.jsonl", 3),
            ("typed-5.jsonl", 5),
        ] {
            assert_eq!(
                Trace::load(&file(name)).unwrap().header().final_chars,
                chars
            );
        }
        assert_eq!(
            std::fs::read_to_string(file("typed-2.jsonl")).unwrap(),
            "kept"
        );
    }

    #[test]
    fn what_would_fail_at_enter_is_said_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("there");
        std::fs::write(&there, "kept").unwrap();
        for path in [there, dir.path().join("no/typed.jsonl")] {
            assert!(Recording::new(path, RecordText::Keep).is_err());
        }
    }
}
