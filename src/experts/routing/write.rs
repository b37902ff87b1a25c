//! Writing a recording: each record whole, as it comes.

use super::{
    Header, MAGIC, NO_LABEL, PASS, PassKind, Record, RecordFault, RoutedPass, RoutingError,
    TURN_END, VERSION, check,
};
use crate::vocabulary::Label;
use std::io::Write;

/// Writes a recording, a record at a time.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    header: Header,
    records: u64,
    /// A record, which is written whole.
    bytes: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// A header that no reader would take, and the writer's own.
    pub fn new(mut out: W, header: Header) -> Result<Self, RoutingError> {
        header.check().map_err(RoutingError::Header)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.groups.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&header.model.0);
        for group in &header.groups {
            bytes.extend_from_slice(&group.layer.to_le_bytes());
            bytes.extend_from_slice(&group.experts.to_le_bytes());
            bytes.extend_from_slice(&group.used.to_le_bytes());
            bytes.extend_from_slice(&group.expert_bytes.0.to_le_bytes());
        }
        out.write_all(&bytes).map_err(RoutingError::Write)?;
        Ok(Self {
            out,
            header,
            records: 0,
            bytes,
        })
    }

    /// # Errors
    /// A pass that is not of the header's groups, of which nothing is written, and the writer's
    /// own.
    pub fn record(&mut self, record: &Record) -> Result<(), RoutingError> {
        self.bytes.clear();
        match record {
            Record::Pass(pass) => self.put_pass(pass).map_err(|fault| RoutingError::Record {
                record: self.records,
                fault,
            })?,
            Record::TurnEnd(label) => self.bytes.extend_from_slice(&[TURN_END, number(*label)]),
        }
        self.out
            .write_all(&self.bytes)
            .map_err(RoutingError::Write)?;
        self.records += 1;
        Ok(())
    }

    fn put_pass(&mut self, pass: &RoutedPass) -> Result<(), RecordFault> {
        check(&self.header, pass)?;
        let kind = match pass.kind {
            PassKind::Prompt => 0,
            PassKind::Answer => 1,
        };
        let bytes = &mut self.bytes;
        bytes.extend_from_slice(&[PASS, kind, number(pass.label)]);
        bytes.extend_from_slice(&pass.tokens.to_le_bytes());
        for (ids, group) in pass.ids.iter().zip(&self.header.groups) {
            let rows = ids.len() / usize::from(group.used);
            bytes.extend_from_slice(&(rows as u32).to_le_bytes());
            for id in ids {
                bytes.extend_from_slice(&id.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Sees to it that all records are written.
    ///
    /// # Errors
    /// The writer's own.
    pub fn flush(&mut self) -> Result<(), RoutingError> {
        self.out.flush().map_err(RoutingError::Write)
    }

    /// Hands back what was written to, with all records in it.
    ///
    /// # Errors
    /// The writer's own.
    pub fn finish(mut self) -> Result<W, RoutingError> {
        self.flush()?;
        Ok(self.out)
    }
}

/// A label as a file has it.
fn number(label: Option<Label>) -> u8 {
    label.map_or(NO_LABEL, |label| label as u8)
}
