//! Writes down which experts passes use, as they are computed.
//!
//! ```text
//!  session:  reads --begin_pass--chose*--end_pass--> a pass's record       end_turn, give_up
//!            kind, label          a layer's ids       a failed pass leaves none
//! ```
//!
//! Who has the model can find the text of a recording again by trying, so that its file is
//! readable by its owner alone. A file that holds something else is not written over.
//!
//! A step after the router's names its ids once for each table of a layer: the first table of a
//! layer that is asked for in a pass counts.

use super::routing::{Header, MAGIC, PassKind, Record, RoutedPass, RoutingError, Writer};
use super::store::TableIdx;
use crate::vocabulary::Label;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read, Seek};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Read and written by its owner alone.
const MODE: u32 = 0o600;

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
    /// Passes have been written since the last turn's end.
    is_in_turn: bool,
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
    /// Begins a file, in place of an earlier recording that may be there.
    ///
    /// # Errors
    /// A file that holds something else, which stays as it is; and the system's own.
    pub fn create(path: &Path, header: Header) -> Result<Self, RecordError> {
        let failed = |source| RecordError {
            path: path.to_owned(),
            source,
        };
        let groups = vec![Chosen::default(); header.groups.len()];
        let file = begin_file(path).map_err(failed)?;
        let writer = Writer::new(BufWriter::new(file), header).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            kind: PassKind::Prompt,
            label: None,
            tokens: 0,
            groups,
            is_in_turn: false,
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
        self.is_in_turn = true;
    }

    /// A prompt has been answered, with an answer that was so. All up to here is in the file then.
    ///
    /// # Errors
    /// Why nothing more is recorded, if so; once.
    pub fn end_turn(&mut self, label: Label) -> Result<(), RecordError> {
        self.end(Some(label))
    }

    /// The text that was computed up to here has been given up, or could not be computed: nothing
    /// is to be learnt of it.
    ///
    /// # Errors
    /// See [`Self::end_turn`].
    pub fn give_up(&mut self) -> Result<(), RecordError> {
        match self.is_in_turn {
            true => self.end(None),
            false => Ok(()),
        }
    }

    fn end(&mut self, label: Option<Label>) -> Result<(), RecordError> {
        self.write(&Record::TurnEnd(label));
        self.is_in_turn = false;
        self.flush()
    }

    /// All passes up to here are in the file then.
    ///
    /// # Errors
    /// See [`Self::end_turn`].
    pub fn flush(&mut self) -> Result<(), RecordError> {
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

/// Opens the file that a recording is written to, empty.
fn begin_file(path: &Path) -> Result<File, RoutingError> {
    let open = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path);
    let mut file = open.map_err(RoutingError::Write)?;
    let found = file.metadata().map_err(RoutingError::Write)?;
    // A pipe or a device has nothing to lose, and is not ours to close to others.
    if found.is_file() {
        if found.len() > 0 {
            let mut head = [0; MAGIC.len()];
            match file.read_exact(&mut head) {
                Ok(()) if head == *MAGIC => {}
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(RoutingError::Read(error));
                }
                Ok(()) | Err(_) => return Err(RoutingError::Occupied),
            }
        }
        // One that was there may be readable by others.
        file.set_permissions(Permissions::from_mode(MODE))
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.rewind())
            .map_err(RoutingError::Write)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::routing::Reader;
    use super::*;

    fn header() -> Header {
        Header::made_up(2, 8, 2)
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
        recorder.flush().unwrap();
        recorder.end_turn(Label::Chat).unwrap();
        recorder.give_up().unwrap();
        recorder.begin_pass(1);
        recorder.chose(table(0, 0), &[0, 1]);
        recorder.chose(table(1, 0), &[2, 3]);
        recorder.end_pass();
        recorder.give_up().unwrap();

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
            pass(PassKind::Answer, Label::Code, 1, [&[0, 1], &[2, 3]]),
            Record::TurnEnd(None),
        ];
        for record in expected {
            assert_eq!(reader.record().unwrap(), Some(record));
        }
        assert_eq!(reader.record().unwrap(), None);
    }

    #[test]
    fn only_an_earlier_recording_is_written_over_and_no_one_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routing");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        drop(Recorder::create(&path, header()).unwrap());
        assert_eq!(mode(), 0o600);
        let first = std::fs::read(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Recorder::create(&path, header()).unwrap());
        assert_eq!((std::fs::read(&path).unwrap(), mode()), (first, 0o600));
        std::fs::write(&path, b"").unwrap();
        drop(Recorder::create(&path, header()).unwrap());

        for other in [&b"GGUF and all of a model"[..], b"nmos"] {
            std::fs::write(&path, other).unwrap();
            let refused = Recorder::create(&path, header()).unwrap_err();
            assert!(
                matches!(refused.source, RoutingError::Occupied),
                "{refused}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), other);
        }
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
        assert!(recorder.end_turn(Label::Chat).is_err(), "no whole token");
        assert!(recorder.end_turn(Label::Chat).is_ok(), "said once");
    }
}
