//! Writes down which experts passes use, as they are computed.
//!
//! ```text
//!  session:  reads --begin_pass--chose*--end_pass--> a pass's record       end_turn
//!            kind, label          a layer's ids       a failed pass leaves none
//! ```
//!
//! A step after the router's names its ids once for each table of a layer: the first table of a
//! layer that is asked for in a pass counts.

use super::routing::{Header, PassKind, Record, RoutedPass, RoutingError, Writer};
use super::store::TableIdx;
use crate::vocabulary::Label;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// See the module's text.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
    /// Of the passes from now on.
    kind: PassKind,
    label: Option<Label>,
    tokens: u32,
    groups: Vec<Chosen>,
    /// Why nothing more is written.
    failure: Option<RoutingError>,
    has_failed: bool,
}

/// What tokens of a pass chose in a group.
#[derive(Clone, Debug, Default)]
struct Chosen {
    /// That the ids were named for.
    table: Option<usize>,
    ids: Vec<u16>,
}

/// A recording cannot be begun or go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot record routing to {}", path.display())]
pub struct RecordError {
    pub path: PathBuf,
    pub source: RoutingError,
}

impl Recorder {
    /// Begins a file, in place of one that may be there.
    ///
    /// # Errors
    /// The system's own.
    pub fn create(path: &Path, header: Header) -> Result<Self, RecordError> {
        let failed = |source| RecordError {
            path: path.to_owned(),
            source,
        };
        let groups = vec![Chosen::default(); header.groups.len()];
        let file = File::create(path).map_err(|error| failed(RoutingError::Write(error)))?;
        let writer = Writer::new(BufWriter::new(file), header).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            kind: PassKind::Prompt,
            label: None,
            tokens: 0,
            groups,
            failure: None,
            has_failed: false,
        })
    }

    /// What the text is of which passes from now on compute tokens, and what a scout takes it for.
    pub fn reads(&mut self, kind: PassKind, label: Option<Label>) {
        (self.kind, self.label) = (kind, label);
    }

    /// A pass over `tokens` tokens begins.
    pub fn begin_pass(&mut self, tokens: usize) {
        self.tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        for group in &mut self.groups {
            group.table = None;
            group.ids.clear();
        }
    }

    /// Tokens of the pass chose `ids`, each as many as it uses. To be called once they are known to
    /// be in range.
    pub fn chose(&mut self, table: TableIdx, ids: &[i32]) {
        let Some(group) = self.groups.get_mut(table.group) else {
            return;
        };
        if *group.table.get_or_insert(table.table) == table.table {
            let ids = ids.iter().map(|&id| u16::try_from(id).unwrap_or(u16::MAX));
            group.ids.extend(ids);
        }
    }

    /// The pass has been computed.
    pub fn end_pass(&mut self) {
        let ids = self.groups.iter_mut().map(|group| group.ids.clone());
        let pass = RoutedPass {
            kind: self.kind,
            label: self.label,
            tokens: self.tokens,
            ids: ids.collect(),
        };
        self.write(&Record::Pass(pass));
    }

    /// A prompt has been answered, with an answer that was so. All up to here is in the file then.
    ///
    /// # Errors
    /// Why nothing more is recorded, if so; once.
    pub fn end_turn(&mut self, label: Option<Label>) -> Result<(), RecordError> {
        self.write(&Record::TurnEnd(label));
        if !self.has_failed {
            let flushed = self.writer.flush();
            self.note(flushed);
        }
        let path = self.path.clone();
        match self.failure.take() {
            Some(source) => Err(RecordError { path, source }),
            None => Ok(()),
        }
    }

    fn write(&mut self, record: &Record) {
        if !self.has_failed {
            let written = self.writer.record(record);
            self.note(written);
        }
    }

    fn note(&mut self, done: Result<(), RoutingError>) {
        if let Err(error) = done {
            self.has_failed = true;
            self.failure = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model_key::ModelKey;
    use super::super::routing::{Reader, RoutedGroup};
    use super::*;
    use crate::units::Bytes;

    fn header() -> Header {
        let group = |layer| RoutedGroup {
            layer,
            experts: 8,
            used: 2,
            expert_bytes: Bytes(100),
        };
        Header {
            model: ModelKey::of(b"a model"),
            groups: vec![group(0), group(1)],
        }
    }

    fn table(group: usize, table: usize) -> TableIdx {
        TableIdx { group, table }
    }

    #[test]
    fn passes_are_written_once_for_all_tables_and_failed_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routing");
        let mut recorder = Recorder::create(&path, header()).unwrap();
        recorder.reads(PassKind::Prompt, Some(Label::Docs));
        recorder.begin_pass(2);
        recorder.chose(table(0, 1), &[1, 2, 3, 4]);
        recorder.chose(table(0, 0), &[1, 2, 3, 4]);
        // The last layer computes the last token alone.
        recorder.chose(table(1, 0), &[5, 6]);
        recorder.end_pass();
        recorder.begin_pass(1);
        recorder.chose(table(0, 0), &[7, 7]);
        // That pass failed.
        recorder.reads(PassKind::Answer, Some(Label::Code));
        recorder.begin_pass(1);
        recorder.chose(table(0, 0), &[0, 1]);
        recorder.chose(table(1, 0), &[2, 3]);
        recorder.end_pass();
        recorder.end_turn(Some(Label::Chat)).unwrap();

        let mut reader = Reader::new(File::open(&path).unwrap()).unwrap();
        let pass = |kind, label, tokens, ids: [&[u16]; 2]| {
            Record::Pass(RoutedPass {
                kind,
                label: Some(label),
                tokens,
                ids: ids.map(<[u16]>::to_vec).into(),
            })
        };
        let expected = [
            pass(PassKind::Prompt, Label::Docs, 2, [&[1, 2, 3, 4], &[5, 6]]),
            pass(PassKind::Answer, Label::Code, 1, [&[0, 1], &[2, 3]]),
            Record::TurnEnd(Some(Label::Chat)),
        ];
        for record in expected {
            assert_eq!(reader.record().unwrap(), Some(record));
        }
        assert_eq!(reader.record().unwrap(), None);
    }

    #[test]
    fn a_recording_that_cannot_go_on_says_so_once() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none/routing");
        let error = Recorder::create(&missing, header()).unwrap_err();
        assert!(error.to_string().contains("none/routing"), "{error}");
        let path = dir.path().join("routing");
        let mut recorder = Recorder::create(&path, header()).unwrap();
        recorder.begin_pass(1);
        recorder.chose(table(0, 0), &[1, 2]);
        recorder.chose(table(1, 0), &[1]);
        recorder.end_pass();
        assert!(recorder.end_turn(None).is_err(), "no whole token");
        assert!(recorder.end_turn(None).is_ok(), "said once");
    }
}
