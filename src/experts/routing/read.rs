//! Reading a recording. Whatever bytes a file has, what is returned has been checked.

use super::{
    Header, HeaderFault, MAGIC, MOST_TOKENS, ModelKey, NO_LABEL, PASS, PassKind, Record,
    RecordFault, RoutedGroup, RoutedPass, RoutingError, TURN_END, VERSION, check,
};
use crate::units::Bytes;
use crate::vocabulary::Label;
use std::io::{self, Read};

/// Reads a recording, a record at a time.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    records: u64,
    is_cut_off: bool,
}

impl<R: Read> Reader<R> {
    /// Begins with the header.
    ///
    /// # Errors
    /// The reader's own, another kind of file, another version, a damaged header.
    pub fn new(mut from: R) -> Result<Self, RoutingError> {
        let cut_off = RoutingError::Header(HeaderFault::CutOff);
        let mut head = [0; 44];
        let read = fill(&mut from, &mut head)?;
        if !head[..read].starts_with(MAGIC) {
            return Err(RoutingError::NoRecording);
        }
        if read < head.len() {
            return Err(cut_off);
        }
        match u16::from_le_bytes([head[8], head[9]]) {
            VERSION => {}
            version => return Err(RoutingError::Version(version)),
        }
        let mut model = ModelKey([0; 32]);
        model.0.copy_from_slice(&head[12..]);
        let mut groups = vec![0; 16 * usize::from(u16::from_le_bytes([head[10], head[11]]))];
        if fill(&mut from, &mut groups)? < groups.len() {
            return Err(cut_off);
        }
        let group = |b: &[u8]| RoutedGroup {
            layer: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            experts: u16::from_le_bytes([b[4], b[5]]),
            used: u16::from_le_bytes([b[6], b[7]]),
            expert_bytes: Bytes(u64::from_le_bytes([
                b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15],
            ])),
        };
        let header = Header {
            model,
            groups: groups.chunks_exact(16).map(group).collect(),
        };
        header.check().map_err(RoutingError::Header)?;
        Ok(Self {
            from,
            header,
            records: 0,
            is_cut_off: false,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The last record is not whole, and was left out.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// The reader's own, and damage.
    pub fn record(&mut self) -> Result<Option<Record>, RoutingError> {
        match self.next() {
            Ok(record) => {
                self.records += 1;
                Ok(Some(record))
            }
            Err(Stop::End) => Ok(None),
            Err(Stop::CutOff) => {
                self.is_cut_off = true;
                Ok(None)
            }
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Damage(fault)) => Err(RoutingError::Record {
                record: self.records,
                fault,
            }),
        }
    }

    fn next(&mut self) -> Result<Record, Stop> {
        let mut mark = [0];
        if fill(&mut self.from, &mut mark)? == 0 {
            return Err(Stop::End);
        }
        match mark[0] {
            PASS => self.pass().map(Record::Pass),
            TURN_END => Ok(Record::TurnEnd(label(self.bytes::<1>()?[0])?)),
            mark => Err(RecordFault::Mark(mark).into()),
        }
    }

    fn pass(&mut self) -> Result<RoutedPass, Stop> {
        let [kind, of, tokens @ ..] = self.bytes::<6>()?;
        let kind = match kind {
            0 => PassKind::Prompt,
            1 => PassKind::Answer,
            kind => return Err(RecordFault::Kind(kind).into()),
        };
        let label = label(of)?;
        let tokens = u32::from_le_bytes(tokens);
        if !(1..=MOST_TOKENS).contains(&tokens) {
            return Err(RecordFault::Tokens(tokens).into());
        }
        let mut ids = Vec::with_capacity(self.header.groups.len());
        for number in 0..self.header.groups.len() {
            let rows = u32::from_le_bytes(self.bytes::<4>()?);
            let group = self.header.groups[number];
            if rows > tokens {
                let layer = group.layer;
                return Err(RecordFault::Rows {
                    layer,
                    rows,
                    tokens,
                }
                .into());
            }
            let length = 2 * rows as usize * usize::from(group.used);
            // Memory comes with what is read: the length may be damaged.
            let mut bytes = Vec::new();
            let mut from = self.from.by_ref().take(length as u64);
            let read = from.read_to_end(&mut bytes);
            if read.map_err(RoutingError::Read)? < length {
                return Err(Stop::CutOff);
            }
            let of_group = bytes.chunks_exact(2);
            ids.push(of_group.map(|b| u16::from_le_bytes([b[0], b[1]])).collect());
        }
        let pass = RoutedPass {
            kind,
            label,
            tokens,
            ids,
        };
        check(&self.header, &pass)?;
        Ok(pass)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        match fill(&mut self.from, &mut bytes)? < N {
            true => Err(Stop::CutOff),
            false => Ok(bytes),
        }
    }
}

/// Why there is no next record.
enum Stop {
    End,
    CutOff,
    Damage(RecordFault),
    Error(RoutingError),
}

impl From<RecordFault> for Stop {
    fn from(fault: RecordFault) -> Self {
        Self::Damage(fault)
    }
}

impl From<RoutingError> for Stop {
    fn from(error: RoutingError) -> Self {
        Self::Error(error)
    }
}

fn label(number: u8) -> Result<Option<Label>, RecordFault> {
    match Label::ALL.get(usize::from(number)) {
        Some(&label) => Ok(Some(label)),
        None if number == NO_LABEL => Ok(None),
        None => Err(RecordFault::Label(number)),
    }
}

/// Fills `into` as far as there is something; says how far.
fn fill(from: &mut impl Read, into: &mut [u8]) -> Result<usize, RoutingError> {
    let mut at = 0;
    while at < into.len() {
        match from.read(&mut into[at..]) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RoutingError::Read(error)),
        }
    }
    Ok(at)
}
