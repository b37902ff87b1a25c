//! What a recording's experts would have cost in other memory, and with other eviction.
//!
//! Passes go through a store without bytes, in the order in which they were computed, and the same
//! [`Eviction`] that the real store asks says who leaves. The profile begins as it is given and
//! learns from each turn when it has ended, as a session's does.
//!
//! A pass that needs more experts of a layer at once than the memory holds is computed in pieces of
//! fewer tokens, as the real one would have been.
//!
//! Units: experts of one pass and layer, each once, however many tokens used it; bytes.

use super::belady::Belady;
use super::eviction::{Eviction, ExpertId, Use};
use super::intent::{Intent, IntentLink};
use super::lru::Lru;
use super::profile::{Profile, Uses};
use super::routing::{Header, PassKind, Reader, Record, RoutedGroup, RoutedPass, RoutingError};
use crate::units::Bytes;
use serde::Serialize;
use std::io::Read;

/// What a scout gives the label that was recorded.
const SCOUT_PROBABILITY: f32 = 0.9;

/// A recording in memory.
#[derive(Clone, Debug)]
pub struct Trace {
    header: Header,
    records: Vec<Record>,
    is_cut_off: bool,
}

/// What is computed at a time.
#[derive(Clone, Debug)]
struct Pass {
    tokens: u32,
    /// Of each group, the experts used, in order, and by how many tokens.
    experts: Vec<Vec<(u16, u32)>>,
}

/// Who says which expert leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    Lru,
    /// See [`Intent`].
    Intent,
    /// The most hits that are possible for experts of equal size: see [`Belady`].
    Belady,
}

impl Policy {
    pub const ALL: [Self; 3] = [Self::Lru, Self::Intent, Self::Belady];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Lru => "LRU",
            Self::Intent => "by intent",
            Self::Belady => "Belady's",
        }
    }
}

/// What experts cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub tokens: u64,
    pub hits: u64,
    pub misses: u64,
    /// Read from the disk.
    pub bytes: u64,
}

impl Cost {
    /// `None` where nothing was used.
    pub fn hit_rate(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }

    pub fn bytes_a_token(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.bytes as f64 / self.tokens as f64)
    }
}

/// What a replay found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Replayed {
    pub prompts: Cost,
    pub answers: Cost,
}

/// The budget is less than a token needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{budget} hold fewer experts than a token uses in a layer: give {needed} or more")]
pub struct TooSmall {
    pub budget: Bytes,
    pub needed: Bytes,
}

impl Trace {
    /// Reads all of a recording.
    ///
    /// # Errors
    /// The reader's.
    pub fn read(mut from: Reader<impl Read>) -> Result<Self, RoutingError> {
        let mut records = Vec::new();
        while let Some(record) = from.record()? {
            records.push(record);
        }
        Ok(Self {
            header: from.header().clone(),
            records,
            is_cut_off: from.is_cut_off(),
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// How many turns have ended.
    pub fn turns(&self) -> usize {
        let ends = self.records.iter();
        ends.filter(|record| matches!(record, Record::TurnEnd(_)))
            .count()
    }

    /// The least memory in which a token can be computed.
    pub fn least(&self) -> Bytes {
        self.needed(1)
    }

    /// The memory in which `tokens` tokens can be computed at once.
    fn needed(&self, tokens: u64) -> Bytes {
        let of_group = |group: &RoutedGroup| {
            let experts = (tokens * u64::from(group.used)).min(u64::from(group.experts));
            experts * group.expert_bytes.0
        };
        let groups = self.header.groups.iter();
        Bytes(groups.map(of_group).max().unwrap_or(0))
    }

    /// The most tokens, of those of one pass, that can be computed at once in `budget`.
    fn widest(&self, budget: Bytes) -> usize {
        let groups = self.header.groups.iter();
        let most = groups.map(|group| group.experts.div_ceil(group.used)).max();
        // More than that choose no more experts than there are.
        let most = u64::from(most.unwrap_or(1));
        let fits = (1..=most).rev().find(|&n| self.needed(n) <= budget);
        match fits {
            Some(n) if n == most => usize::MAX,
            Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
            None => 0,
        }
    }

    /// A profile that knows nothing, of the recorded model.
    pub fn empty_profile(&self) -> Profile {
        Profile::of(&self.header)
    }

    /// Teaches `profile` all turns whose answer's label is known.
    pub fn teach(&self, profile: &mut Profile) {
        let mut turn = Vec::new();
        for record in &self.records {
            match record {
                Record::Pass(pass) => turn.extend(self.pieces(pass, usize::MAX)),
                Record::TurnEnd(label) => {
                    let passes = turn.drain(..);
                    if let Some(label) = *label {
                        passes.for_each(|pass| profile.learn(label, &self.counted(&pass)));
                    }
                }
            }
        }
    }

    /// A pass in pieces of at most `widest` tokens. Where a group computed fewer of its tokens,
    /// these are taken for its last.
    fn pieces(&self, pass: &RoutedPass, widest: usize) -> Vec<Pass> {
        let tokens = pass.tokens as usize;
        let widest = widest.min(tokens);
        let piece = |start: usize| {
            let range = start..(start + widest).min(tokens);
            let experts = pass.ids.iter().zip(&self.header.groups);
            let experts = experts.map(|(ids, group)| {
                let used = usize::from(group.used);
                let missing = tokens - ids.len() / used;
                let rows = range.start.max(missing) - missing..range.end.max(missing) - missing;
                let mut ids = ids[rows.start * used..rows.end * used].to_vec();
                ids.sort_unstable();
                let runs = ids.chunk_by(|a, b| a == b);
                runs.map(|run| (run[0], run.len() as u32)).collect()
            });
            Pass {
                tokens: range.len() as u32,
                experts: experts.collect(),
            }
        };
        (0..tokens).step_by(widest.max(1)).map(piece).collect()
    }

    /// As a profile learns of them.
    fn counted(&self, pass: &Pass) -> Uses {
        let mut uses = Uses {
            tokens: pass.tokens as f32,
            experts: Vec::new(),
        };
        for (used, group) in pass.experts.iter().zip(&self.header.groups) {
            let start = uses.experts.len();
            uses.experts.resize(start + usize::from(group.experts), 0.0);
            for &(expert, its) in used {
                uses.experts[start + usize::from(expert)] = its as f32;
            }
        }
        uses
    }

    /// Computes all passes with experts in `budget`. `profile` is what `Policy::Intent` begins
    /// with.
    ///
    /// # Errors
    /// A budget that is too small.
    pub fn replay(
        &self,
        budget: Bytes,
        policy: Policy,
        profile: &Profile,
    ) -> Result<Replayed, TooSmall> {
        let needed = self.least();
        if budget < needed {
            return Err(TooSmall { budget, needed });
        }
        let widest = self.widest(budget);
        let steps = self.records.iter().map(|record| match record {
            Record::Pass(pass) => (record, self.pieces(pass, widest)),
            Record::TurnEnd(_) => (record, Vec::new()),
        });
        let steps: Vec<_> = steps.collect();
        let experts = self.header.experts();
        let link = IntentLink::default();
        let (eviction, link): (Box<dyn Eviction>, _) = match policy {
            Policy::Lru => (Box::new(Lru::new(experts)), link),
            Policy::Intent => {
                let intent = Intent::new(&self.header, profile.clone());
                let link = intent.link();
                (Box::new(intent), link)
            }
            Policy::Belady => {
                let passes = steps.iter().flat_map(|(_, pieces)| pieces);
                let uses = passes.flat_map(Pass::uses).flatten();
                let belady = Belady::new(&experts, uses.map(|of| of.id));
                (Box::new(belady), link)
            }
        };
        let mut store = Store::new(&self.header, budget, eviction);
        let mut label = None;
        let mut found = Replayed::default();
        for (record, pieces) in &steps {
            let pass = match record {
                Record::Pass(pass) => pass,
                Record::TurnEnd(label) => {
                    match *label {
                        Some(label) => drop(link.learn(label)),
                        None => link.forget(),
                    }
                    continue;
                }
            };
            if label != Some(pass.label) {
                label = Some(pass.label);
                link.set_guess(pass.label.map(|label| (label, SCOUT_PROBABILITY)));
            }
            let cost = match pass.kind {
                PassKind::Prompt => &mut found.prompts,
                PassKind::Answer => &mut found.answers,
            };
            for piece in pieces {
                store.compute(piece, cost);
            }
        }
        Ok(found)
    }
}

impl Pass {
    /// Of each group, in the order in which they are computed.
    fn uses(&self) -> impl Iterator<Item = Vec<Use>> {
        let groups = self.experts.iter().enumerate();
        groups.map(|(group, experts)| {
            let of = |&(expert, its): &(u16, u32)| Use {
                id: ExpertId {
                    group,
                    expert: usize::from(expert),
                },
                its,
            };
            experts.iter().map(of).collect()
        })
    }
}

/// The real store's decisions, without its bytes.
struct Store<'a> {
    header: &'a Header,
    budget: u64,
    taken: u64,
    /// Of each group, of each expert.
    is_here: Vec<Vec<bool>>,
    eviction: Box<dyn Eviction>,
}

impl<'a> Store<'a> {
    fn new(header: &'a Header, budget: Bytes, eviction: Box<dyn Eviction>) -> Self {
        let experts = header.experts().into_iter();
        Self {
            header,
            budget: budget.0,
            taken: 0,
            is_here: experts.map(|experts| vec![false; experts]).collect(),
            eviction,
        }
    }

    fn compute(&mut self, pass: &Pass, cost: &mut Cost) {
        self.eviction.begin_pass();
        cost.tokens += u64::from(pass.tokens);
        for (group, uses) in pass.uses().enumerate() {
            // All of a layer are asked for before any of them is read.
            self.eviction.used(group, &uses);
            for of in &uses {
                if self.is_here[group][of.id.expert] {
                    cost.hits += 1;
                } else {
                    cost.misses += 1;
                    cost.bytes += self.header.groups[group].expert_bytes.0;
                }
            }
            for of in &uses {
                self.bring(of.id, &uses);
            }
        }
    }

    /// Makes place for an expert; those of the layer at hand are `held`.
    fn bring(&mut self, id: ExpertId, held: &[Use]) {
        let ExpertId { group, expert } = id;
        if self.is_here[group][expert] {
            return;
        }
        let bytes = self.header.groups[group].expert_bytes.0;
        while self.taken + bytes > self.budget {
            let is_here = &self.is_here;
            let is_held = |id: ExpertId| held.binary_search_by_key(&id, |held| held.id).is_ok();
            let may_go = |id: ExpertId| is_here[id.group][id.expert] && !is_held(id);
            // The budget has place for all that are held.
            let Some(victim) = self.eviction.victim(&may_go) else {
                break;
            };
            self.is_here[victim.group][victim.expert] = false;
            self.taken -= self.header.groups[victim.group].expert_bytes.0;
            self.eviction.left(victim);
        }
        self.is_here[group][expert] = true;
        self.taken += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::routing::Writer;
    use super::*;
    use crate::vocabulary::Label;
    use proptest::prelude::*;

    /// Two layers of 12 experts of which a token uses two.
    fn trace(passes: &[(PassKind, usize, Vec<[u16; 2]>)]) -> Trace {
        let mut writer = Writer::new(Vec::new(), Header::made_up(2, 12, 2)).unwrap();
        let mut answered = None;
        for (kind, label, tokens) in passes {
            let label = Some(Label::ALL[*label]);
            if *kind == PassKind::Prompt && answered.is_some() {
                writer.record(&Record::TurnEnd(answered)).unwrap();
            }
            answered = label;
            let ids: Vec<u16> = tokens.iter().flatten().copied().collect();
            let pass = RoutedPass {
                kind: *kind,
                label,
                tokens: tokens.len() as u32,
                ids: vec![ids.clone(), ids],
            };
            writer.record(&Record::Pass(pass)).unwrap();
        }
        writer.record(&Record::TurnEnd(answered)).unwrap();
        Trace::read(Reader::new(&writer.finish().unwrap()[..]).unwrap()).unwrap()
    }

    /// Turns whose answers go round the experts of their label, of which most fit.
    fn rounds() -> Trace {
        let mut passes = Vec::new();
        for turn in 0..12 {
            let label = turn % 2;
            let first = 6 * label as u16;
            passes.push((
                PassKind::Prompt,
                label,
                vec![[first, first + 1], [first, first + 2]],
            ));
            for token in 0..30 {
                let expert = first + 2 * (token % 3);
                passes.push((PassKind::Answer, label, vec![[expert, expert + 1]]));
            }
        }
        trace(&passes)
    }

    #[test]
    fn intent_is_between_age_and_the_optimum_where_age_fails() {
        let trace = rounds();
        let profile = trace.empty_profile();
        let hits = |policy| {
            let found = trace.replay(Bytes(1000), policy, &profile).unwrap();
            found.answers.hit_rate().unwrap()
        };
        let [lru, intent, belady] = Policy::ALL.map(hits);
        assert!(lru < intent && intent <= belady, "{lru} {intent} {belady}");
    }

    #[test]
    fn all_that_fits_is_read_once_and_too_little_is_refused() {
        let trace = rounds();
        let profile = trace.empty_profile();
        for policy in Policy::ALL {
            let found = trace.replay(Bytes(2400), policy, &profile).unwrap();
            assert_eq!(
                found.prompts.misses + found.answers.misses,
                24,
                "{policy:?}"
            );
            assert_eq!(found.prompts.bytes + found.answers.bytes, 2400);
            assert_eq!((found.prompts.tokens, found.answers.tokens), (24, 360));
        }
        let refused = trace.replay(Bytes(199), Policy::Lru, &profile).unwrap_err();
        assert_eq!(refused.needed, Bytes(200));
    }

    #[test]
    fn a_pass_that_needs_more_than_there_is_is_computed_in_pieces() {
        let all: Vec<_> = (0..6).map(|token| [2 * token, 2 * token + 1]).collect();
        let trace = trace(&[
            (PassKind::Prompt, 0, all.clone()),
            (PassKind::Prompt, 0, all),
        ]);
        let Record::Pass(pass) = &trace.records[0] else {
            panic!("a pass is first");
        };
        // A last layer that computed the last three tokens alone.
        let mut pass = pass.clone();
        pass.ids[1].drain(..6);
        let experts = |widest| -> Vec<_> {
            let pieces = trace.pieces(&pass, widest);
            let pieces = pieces
                .iter()
                .map(|piece| (piece.tokens, piece.experts[1].len()));
            pieces.collect()
        };
        assert_eq!(experts(usize::MAX), [(6, 6)]);
        assert_eq!(experts(4), [(4, 2), (2, 4)]);
        assert_eq!(
            (trace.widest(Bytes(1199)), trace.widest(Bytes(1200))),
            (5, usize::MAX)
        );
        let profile = trace.empty_profile();
        let found = trace.replay(Bytes(600), Policy::Belady, &profile).unwrap();
        assert_eq!(found.prompts.tokens, 12);
    }

    #[test]
    fn a_recording_teaches_a_profile() {
        let trace = rounds();
        let mut profile = trace.empty_profile();
        trace.teach(&mut profile);
        assert_eq!(profile.tokens(Label::ALL[0]), 6.0 * 32.0);
        assert!(profile.rate(Label::ALL[0], 0) > 0.3);
        assert!(profile.rate(Label::ALL[1], 0) < 0.1);
        assert_eq!(profile.tokens(Label::ALL[2]), 0.0);
    }

    proptest! {
        #[test]
        fn nobody_hits_more_than_the_optimum(
            tokens in prop::collection::vec((any::<bool>(), prop::array::uniform2(0u16..12)), 1..80),
            memory in 4u64..24,
        ) {
            let passes: Vec<_> = tokens.iter().map(|&(answers, ids)| {
                let kind = if answers { PassKind::Answer } else { PassKind::Prompt };
                (kind, 0, vec![ids])
            }).collect();
            let trace = trace(&passes);
            let profile = trace.empty_profile();
            let hits = Policy::ALL.map(|policy| {
                let found = trace.replay(Bytes(100 * memory), policy, &profile).unwrap();
                found.prompts.hits + found.answers.hits
            });
            prop_assert!(hits[0] <= hits[2] && hits[1] <= hits[2], "{:?}", hits);
        }
    }
}
