//! Recorded routing: which experts each token used.
//!
//! It holds no text. But ids of all layers' experts are much like a fingerprint of each token: who
//! has the model can find the text again by trying tokens one after another. A recording is to be
//! kept as safe as the text; sessions write it for its owner alone.
//!
//! ```text
//!  header   0   8  "nmosrout"
//!           8   2  version, 1                           integers little-endian
//!          10   2  groups, n
//!          12  32  ModelKey
//!          44 16n  of each group, in the order of layers:
//!                  layer u32, experts u16, experts that a token uses u16, bytes of an expert u64
//!
//!  then, to the end of the file, in the order in which they came:
//!
//!  pass     0   1  0x50
//!           1   1  what the tokens are of: 0 a prompt, 1 an answer
//!           2   1  what a scout takes the text for: 0 CODE, 1 CHAT, 2 DOCS, 255 not known
//!           3   4  tokens
//!           7       of each group: tokens that it computed u32 (a last layer may compute those
//!                   alone whose logits are wanted), and of each of these, in the router's order,
//!                   ids u16
//!
//!  turn's   0   1  0x54, after the last pass of an answer, or of a prompt that got none
//!  end      1   1  what the answer was, as above; 255 where the prompt was given up or failed
//! ```
//!
//! A file that was cut off ends with the last record that is whole ([`Reader::is_cut_off`]).
//!
//! Invariants: ids that are read are below their group's experts; memory for a pass is at most
//! [`MOST_TOKENS`] tokens'. Units: bytes, tokens.

mod read;
mod write;

pub use read::Reader;
pub use write::Writer;

use super::model_key::ModelKey;
use crate::units::Bytes;
use crate::vocabulary::Label;
use std::io;

/// Most tokens of a pass.
pub const MOST_TOKENS: u32 = 1 << 16;
/// A recording begins with it.
pub(super) const MAGIC: &[u8; 8] = b"nmosrout";
const VERSION: u16 = 1;
const PASS: u8 = 0x50;
const TURN_END: u8 = 0x54;
const NO_LABEL: u8 = 255;

/// Of one layer: the experts that it chooses among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedGroup {
    pub layer: u32,
    pub experts: u16,
    /// That a token uses.
    pub used: u16,
    /// Of one expert in memory.
    pub expert_bytes: Bytes,
}

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub model: ModelKey,
    /// In the order of layers.
    pub groups: Vec<RoutedGroup>,
}

/// What a pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    Prompt,
    Answer,
}

/// The choices of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedPass {
    pub kind: PassKind,
    /// What a scout took the text for.
    pub label: Option<Label>,
    pub tokens: u32,
    /// Of each group, `[tokens, used]`, or of fewer tokens where it did not compute all.
    pub ids: Vec<Vec<u16>>,
}

/// What a recording consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Pass(RoutedPass),
    /// A prompt has been answered, with an answer that was so; `None` where it was given up or
    /// failed, so that nothing is to be learnt of it.
    TurnEnd(Option<Label>),
}

/// Why a recording cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    #[error("cannot read the recording")]
    Read(#[source] io::Error),
    #[error("cannot write the recording")]
    Write(#[source] io::Error),
    #[error("this is no recording of routing")]
    NoRecording,
    #[error("the file holds something that is no recording, and is left as it is: name another")]
    Occupied,
    #[error("the recording is of version {0}, and this program reads version {VERSION}")]
    Version(u16),
    #[error("its header is damaged: {0}")]
    Header(HeaderFault),
    #[error("record {record} is damaged: {fault}")]
    Record { record: u64, fault: RecordFault },
}

/// What is wrong about a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    #[error("it ends too early")]
    CutOff,
    #[error("it has no layers with experts")]
    NoGroups,
    #[error("layer {layer} uses {used} of {experts} experts")]
    Experts { layer: u32, experts: u16, used: u16 },
    #[error("the experts of layer {layer} are of {bytes} bytes")]
    Bytes { layer: u32, bytes: u64 },
    #[error("its layers have {0} experts in all, and at most {MOST_EXPERTS} are possible")]
    TooMany(u64),
}

/// What is wrong about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    #[error("it begins with the byte {0:#04x}")]
    Mark(u8),
    #[error("what it computes is {0}, which is not known")]
    Kind(u8),
    #[error("its label is {0}, which is not known")]
    Label(u8),
    #[error("it has {0} tokens, and from 1 to {MOST_TOKENS} are possible")]
    Tokens(u32),
    #[error("layer {layer} computes {rows} of {tokens} tokens")]
    Rows { layer: u32, rows: u32, tokens: u32 },
    #[error("layer {layer} has {experts} experts, and a token uses expert {id}")]
    Id { layer: u32, experts: u16, id: u16 },
    /// Only where it is written.
    #[error("its choices are not those of the header's layers")]
    Shape,
}

/// Of all layers. Memory in proportion to them is needed to replay a recording.
const MOST_EXPERTS: u64 = 1 << 17;
/// No expert is larger.
const MOST_EXPERT_BYTES: u64 = 1 << 40;

impl Header {
    fn check(&self) -> Result<(), HeaderFault> {
        if self.groups.is_empty() || self.groups.len() > usize::from(u16::MAX) {
            return Err(HeaderFault::NoGroups);
        }
        for group in &self.groups {
            let (layer, bytes) = (group.layer, group.expert_bytes.0);
            if group.used == 0 || group.used > group.experts {
                return Err(HeaderFault::Experts {
                    layer,
                    experts: group.experts,
                    used: group.used,
                });
            }
            if !(1..=MOST_EXPERT_BYTES).contains(&bytes) {
                return Err(HeaderFault::Bytes { layer, bytes });
            }
        }
        let groups = self.groups.iter();
        let experts: u64 = groups.map(|group| u64::from(group.experts)).sum();
        if experts > MOST_EXPERTS {
            return Err(HeaderFault::TooMany(experts));
        }
        Ok(())
    }

    /// Memory of all experts.
    pub fn bytes(&self) -> Bytes {
        let of_group = |group: &RoutedGroup| u64::from(group.experts) * group.expert_bytes.0;
        let sum = self.groups.iter().map(of_group);
        Bytes(sum.fold(0, u64::saturating_add))
    }

    /// Experts that a token uses in a group, at most.
    pub fn used(&self) -> usize {
        let used = self.groups.iter().map(|group| usize::from(group.used));
        used.max().unwrap_or(1)
    }

    /// Experts of each group.
    pub fn experts(&self) -> Vec<usize> {
        let experts = self.groups.iter().map(|group| usize::from(group.experts));
        experts.collect()
    }

    /// Of a model that tests make up: each of its `layers` has so many `experts` of 100 bytes, of
    /// which a token uses `used`.
    #[cfg(test)]
    pub(crate) fn made_up(layers: u32, experts: u16, used: u16) -> Self {
        let group = |layer| RoutedGroup {
            layer,
            experts,
            used,
            expert_bytes: Bytes(100),
        };
        Self {
            model: ModelKey::of(b"a model"),
            groups: (0..layers).map(group).collect(),
        }
    }
}

fn check(header: &Header, pass: &RoutedPass) -> Result<(), RecordFault> {
    if !(1..=MOST_TOKENS).contains(&pass.tokens) {
        return Err(RecordFault::Tokens(pass.tokens));
    }
    if pass.ids.len() != header.groups.len() {
        return Err(RecordFault::Shape);
    }
    for (ids, group) in pass.ids.iter().zip(&header.groups) {
        let (used, most) = (usize::from(group.used), pass.tokens as usize);
        if ids.len() % used != 0 || ids.len() / used > most {
            return Err(RecordFault::Shape);
        }
        if let Some(&id) = ids.iter().find(|&&id| id >= group.experts) {
            return Err(RecordFault::Id {
                layer: group.layer,
                experts: group.experts,
                id,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        let group = |layer, experts, used| RoutedGroup {
            layer,
            experts,
            used,
            expert_bytes: Bytes(4096),
        };
        Header {
            model: ModelKey::of(b"a model"),
            groups: vec![group(1, 8, 2), group(3, 300, 1)],
        }
    }

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let token = (prop::array::uniform2(0u16..8), 0u16..300);
        let pass = (
            prop::collection::vec(token, 1..6),
            0usize..7,
            any::<bool>(),
            0usize..4,
        );
        let record = pass.prop_map(|(tokens, last, answers, label)| {
            let label = Label::ALL.get(label).copied();
            if last == 6 {
                return Record::TurnEnd(label);
            }
            let kind = if answers {
                PassKind::Answer
            } else {
                PassKind::Prompt
            };
            Record::Pass(RoutedPass {
                kind,
                label,
                tokens: tokens.len() as u32,
                ids: vec![
                    tokens.iter().flat_map(|token| token.0).collect(),
                    tokens.iter().skip(last).map(|token| token.1).collect(),
                ],
            })
        });
        prop::collection::vec(record, 0..6)
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), header()).unwrap();
        let mut records = records.iter();
        records
            .try_for_each(|record| writer.record(record))
            .unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Record>, bool), RoutingError> {
        let mut reader = Reader::new(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.record()? {
            records.push(record);
        }
        Ok((records, reader.is_cut_off()))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in records()) {
            prop_assert_eq!(read(&written(&records)).unwrap(), (records, false));
        }

        #[test]
        fn a_file_that_was_cut_off_has_its_whole_records(
            records in records(), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = written(&records);
            let head = written(&[]).len();
            let cut = head + cut.index(bytes.len() - head + 1);
            let (found, is_cut_off) = read(&bytes[..cut]).unwrap();
            prop_assert_eq!(&found[..], &records[..found.len()]);
            prop_assert_eq!(is_cut_off, written(&found).len() != cut);
        }

        #[test]
        fn no_damage_is_a_panic_and_ids_are_always_in_range(
            records in records(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = written(&records);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(mut reader) = Reader::new(&bytes[..]) {
                while let Ok(Some(record)) = reader.record() {
                    if let Record::Pass(pass) = record {
                        prop_assert!(check(reader.header(), &pass).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let words = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(words(b"GGUF and more"), "this is no recording of routing");
        let good = written(&[Record::Pass(RoutedPass {
            kind: PassKind::Answer,
            label: None,
            tokens: 1,
            ids: vec![vec![1, 2], vec![299]],
        })]);
        assert!(words(&good[..50]).contains("ends too early"));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            words(&bytes)
        };
        let head = written(&[]).len();
        assert!(with(8, 9).contains("version 9"));
        assert!(with(48, 0).contains("layer 1 uses 2 of 0 experts"));
        assert!(with(head, 1).contains("record 0 is damaged: it begins with the byte 0x01"));
        assert!(with(head + 2, 7).contains("its label is 7"));
        assert!(with(head + 7, 2).contains("layer 1 computes 2 of 1 tokens"));
        assert!(with(head + 11, 8).contains("layer 1 has 8 experts, and a token uses expert 8"));
    }

    #[test]
    fn a_header_of_more_experts_than_a_model_has_is_refused() {
        let mut header = header();
        header.groups[0].experts = u16::MAX;
        let groups = |n| Header {
            groups: vec![header.groups[0]; n],
            ..header.clone()
        };
        Writer::new(Vec::new(), groups(2)).unwrap();
        let refused = Writer::new(Vec::new(), groups(3)).unwrap_err();
        assert!(refused.to_string().contains("196605 experts"), "{refused}");
        // A file of a megabyte that would have needed 4 GB for each figure of an expert.
        let mut bytes = written(&[])[..44].to_vec();
        bytes[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
        let group = written(&[])[44..60].to_vec();
        for _ in 0..u16::MAX {
            bytes.extend_from_slice(&group);
            let at = bytes.len() - 12;
            bytes[at..at + 2].copy_from_slice(&u16::MAX.to_le_bytes());
        }
        let refused = Reader::new(&bytes[..]).unwrap_err();
        assert!(
            matches!(refused, RoutingError::Header(HeaderFault::TooMany(_))),
            "{refused}"
        );
    }

    #[test]
    fn a_pass_of_another_shape_is_not_written() {
        let mut writer = Writer::new(Vec::new(), header()).unwrap();
        let pass = RoutedPass {
            kind: PassKind::Prompt,
            label: None,
            tokens: 1,
            ids: vec![vec![1, 2], vec![3, 4]],
        };
        let refused = writer.record(&Record::Pass(pass)).unwrap_err();
        assert!(
            matches!(
                refused,
                RoutingError::Record {
                    fault: RecordFault::Shape,
                    ..
                }
            ),
            "{refused}"
        );
        assert_eq!(writer.finish().unwrap(), written(&[]));
    }
}
