//! How often each label's texts use each expert of a model, learnt from prompts and answers.
//!
//! Of a label it holds the part of tokens that use each expert, and how many tokens that is from.
//! Tokens beyond [`MOST_TOKENS`] push out older ones, so that rates follow what a user does now.
//! Two profiles of one model add up, in any order, which is how programs that run at the same
//! time learn together.
//!
//! ```text
//!   0   8  "nmosexpp"
//!   8   2  version, 2                                     integers and floats little-endian
//!  10   2  groups, n
//!  12  32  ModelKey
//!  44   4  how often it was written, u32
//!  48  2n  experts of each group
//!       8  tokens f32, largest rate f32         for CODE, CHAT, DOCS in turn, and so are
//!       e  levels: rate = largest x (level / top)^2, a byte each; where that would be more than
//!          64 KiB, four bits each, the first of two in the low half
//!       8  the first bytes of the SHA-256 of all above
//! ```
//!
//! Invariants: rates are from 0 to 1; what is read from a file was checked whole. A level is
//! rounded up as often as its rate lies above it, so that small changes are not lost in rounding;
//! it does so otherwise each time that the file is written.
//! Units: tokens.

use super::model_key::ModelKey;
use super::routing::Header;
use crate::vocabulary::Label;
use sha2::{Digest, Sha256};

/// Most bytes of a file.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// Older tokens give way beyond so many, of a label.
const MOST_TOKENS: f32 = 65_536.0;
/// Until so many tokens were seen, every expert counts as used alike.
const DOUBT_TOKENS: f32 = 64.0;
const MAGIC: &[u8; 8] = b"nmosexpp";
const VERSION: u16 = 2;
const HEADER_BYTES: usize = 48;
const CHECK_BYTES: usize = 8;
const LABELS: usize = Label::ALL.len();

/// Why the bytes of a profile cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileFault {
    #[error("it is no profile of experts, or a damaged one")]
    Damaged,
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u16),
    #[error("it is of another model")]
    OtherModel,
}

/// Experts that were used, and by how many tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uses {
    pub tokens: f32,
    /// How often each expert was used, by number in one count over all groups. Of a group they
    /// may be of fewer tokens.
    pub experts: Vec<f32>,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    key: ModelKey,
    /// Experts of each group.
    groups: Vec<u16>,
    labels: [Rates; LABELS],
    /// How often the file that it is from had been written.
    writes: u32,
    /// Of each expert, were all of its group used alike.
    even: Vec<f32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Rates {
    tokens: f32,
    /// By number, in one count over all groups.
    rates: Vec<f32>,
}

impl Profile {
    /// That knows nothing yet. A token uses `used` experts of each group.
    pub fn new(key: ModelKey, groups: &[u16], used: usize) -> Self {
        let even = groups.iter().flat_map(|&experts| {
            let rate = (used as f32 / f32::from(experts.max(1))).min(1.0);
            std::iter::repeat_n(rate, usize::from(experts))
        });
        let even: Vec<f32> = even.collect();
        let none = || Rates {
            tokens: 0.0,
            rates: vec![0.0; even.len()],
        };
        Self {
            key,
            groups: groups.to_vec(),
            labels: [none(), none(), none()],
            writes: 0,
            even,
        }
    }

    /// The same, of the groups in `header`.
    pub fn of(header: &Header) -> Self {
        let groups: Vec<_> = header.groups.iter().map(|group| group.experts).collect();
        Self::new(header.model, &groups, header.used())
    }

    /// How many there are in all groups.
    pub fn experts(&self) -> usize {
        self.even.len()
    }

    /// How many tokens it knows of a label.
    pub fn tokens(&self, label: Label) -> f32 {
        self.labels[label as usize].tokens
    }

    /// The part of a label's tokens that use the expert of this number.
    pub fn rate(&self, label: Label, number: usize) -> f32 {
        let Rates { tokens, rates } = &self.labels[label as usize];
        let doubted = self.even[number] * DOUBT_TOKENS;
        (tokens * rates[number] + doubted) / (tokens + DOUBT_TOKENS)
    }

    /// How many tokens it knows of all labels.
    pub fn all_tokens(&self) -> f32 {
        self.labels.iter().map(|label| label.tokens).sum()
    }

    /// The part of all labels' tokens that use the expert of this number.
    pub fn rate_of_all(&self, number: usize) -> f32 {
        let uses = self.labels.iter().map(|of| of.tokens * of.rates[number]);
        let doubted = self.even[number] * DOUBT_TOKENS;
        (uses.sum::<f32>() + doubted) / (self.all_tokens() + DOUBT_TOKENS)
    }

    /// Learns of text with this label. Uses of a model of another shape are none of this one's.
    pub fn learn(&mut self, label: Label, uses: &Uses) {
        if uses.tokens <= 0.0 || uses.experts.len() != self.experts() {
            return;
        }
        let mut rates = self.labels[label as usize].rates.clone();
        let mut start = 0;
        for &experts in &self.groups {
            let group = start..start + usize::from(experts);
            start = group.end;
            let all: f32 = uses.experts[group.clone()].iter().sum();
            // What nobody saw stays as it is.
            if all > 0.0 {
                let used: f32 = self.even[group.clone()].iter().sum();
                let seen = uses.experts[group.clone()].iter();
                let of_group = rates[group].iter_mut().zip(seen);
                of_group.for_each(|(rate, n)| *rate = (used * n / all).clamp(0.0, 1.0));
            }
        }
        self.labels[label as usize].add(&Rates {
            tokens: uses.tokens,
            rates,
        });
    }

    /// Adds what `other`, of the same model, has learnt.
    pub fn merge(&mut self, other: &Self) {
        if (self.key, &self.groups) == (other.key, &other.groups) {
            for (own, other) in self.labels.iter_mut().zip(&other.labels) {
                own.add(other);
            }
            self.writes = self.writes.max(other.writes);
        }
    }

    /// As a file has it; `None` for a model that no file is large enough for.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let depth = Depth::of(&self.groups)?;
        let writes = self.writes.wrapping_add(1);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(self.groups.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&self.key.0);
        bytes.extend_from_slice(&writes.to_le_bytes());
        for experts in &self.groups {
            bytes.extend_from_slice(&experts.to_le_bytes());
        }
        for label in &self.labels {
            let largest = label.rates.iter().copied().fold(0.0, f32::max);
            bytes.extend_from_slice(&label.tokens.to_le_bytes());
            bytes.extend_from_slice(&largest.to_le_bytes());
            depth.write(&label.rates, largest, writes, &mut bytes);
        }
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        Some(bytes)
    }

    /// What `bytes` hold, where that is of the same model as `self`.
    ///
    /// # Errors
    /// Another version, another model, damage.
    pub fn read(&self, bytes: &[u8]) -> Result<Self, ProfileFault> {
        let damaged = ProfileFault::Damaged;
        let (content, check) = bytes
            .split_at_checked(bytes.len().saturating_sub(CHECK_BYTES))
            .ok_or(damaged)?;
        let head = content.get(..HEADER_BYTES).ok_or(damaged)?;
        if &head[..8] != MAGIC || Sha256::digest(content)[..CHECK_BYTES] != *check {
            return Err(damaged);
        }
        match u16::from_le_bytes([head[8], head[9]]) {
            VERSION => {}
            version => return Err(ProfileFault::Version(version)),
        }
        let groups = usize::from(u16::from_le_bytes([head[10], head[11]]));
        let shape = content
            .get(HEADER_BYTES..HEADER_BYTES + 2 * groups)
            .ok_or(damaged)?;
        let shape = shape
            .chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]));
        if head[12..44] != self.key.0 || !shape.eq(self.groups.iter().copied()) {
            return Err(ProfileFault::OtherModel);
        }
        let depth = Depth::of(&self.groups).ok_or(damaged)?;
        let each = depth.bytes(self.experts());
        let mut rest = &content[HEADER_BYTES + 2 * groups..];
        if rest.len() != LABELS * (8 + each) {
            return Err(damaged);
        }
        let mut found = self.clone();
        found.writes = u32::from_le_bytes([head[44], head[45], head[46], head[47]]);
        for label in &mut found.labels {
            let (own, after) = rest.split_at(8 + each);
            rest = after;
            let float =
                |at: usize| f32::from_le_bytes([own[at], own[at + 1], own[at + 2], own[at + 3]]);
            let (tokens, largest) = (float(0), float(4));
            if !(0.0..=MOST_TOKENS).contains(&tokens) || !(0.0..=1.0).contains(&largest) {
                return Err(damaged);
            }
            label.tokens = tokens;
            for (number, rate) in label.rates.iter_mut().enumerate() {
                *rate = depth.rate(&own[8..], number, largest);
            }
        }
        Ok(found)
    }
}

impl Rates {
    fn add(&mut self, other: &Self) {
        let tokens = self.tokens + other.tokens;
        if tokens <= 0.0 {
            return;
        }
        for (rate, more) in self.rates.iter_mut().zip(&other.rates) {
            *rate = (*rate * self.tokens + more * other.tokens) / tokens;
        }
        self.tokens = tokens.min(MOST_TOKENS);
    }
}

/// How many bits a level has.
#[derive(Clone, Copy)]
enum Depth {
    Eight,
    Four,
}

impl Depth {
    /// The most that a file of such groups has space for.
    fn of(groups: &[u16]) -> Option<Self> {
        let experts = groups.iter().map(|&n| usize::from(n)).sum();
        let rest = HEADER_BYTES + 2 * groups.len() + 8 * LABELS + CHECK_BYTES;
        let fits = |depth: &Self| rest + LABELS * depth.bytes(experts) <= MOST_BYTES;
        [Self::Eight, Self::Four].into_iter().find(fits)
    }

    fn top(self) -> f32 {
        match self {
            Self::Eight => 255.0,
            Self::Four => 15.0,
        }
    }

    fn bytes(self, experts: usize) -> usize {
        match self {
            Self::Eight => experts,
            Self::Four => experts.div_ceil(2),
        }
    }

    /// `writes` has another value each time, so that the same rate is rounded up and down.
    fn write(self, rates: &[f32], largest: f32, writes: u32, out: &mut Vec<u8>) {
        let level = |(number, rate): (usize, &f32)| {
            let exact = (rate / largest.max(f32::MIN_POSITIVE)).sqrt() * self.top();
            let below = exact.floor();
            // Between two levels: by chance, in proportion to the rates, so that the mean is right.
            let (low, high) = (below * below, (below + 1.0) * (below + 1.0));
            let part = (exact * exact - low) / (high - low);
            let up = part > chance(number, writes);
            (below + f32::from(u8::from(up))).min(self.top()) as u8
        };
        let mut levels = rates.iter().enumerate().map(level);
        match self {
            Self::Eight => out.extend(levels),
            Self::Four => {
                while let Some(low) = levels.next() {
                    out.push(low | levels.next().unwrap_or(0) << 4);
                }
            }
        }
    }

    fn rate(self, levels: &[u8], number: usize, largest: f32) -> f32 {
        let level = match self {
            Self::Eight => levels[number],
            Self::Four => levels[number / 2] >> (4 * (number % 2)) & 15,
        };
        largest * (f32::from(level) / self.top()).powi(2)
    }
}

/// From 0 to 1, the same for the same arguments, and without a pattern (the finaliser of
/// SplitMix64).
fn chance(number: usize, writes: u32) -> f32 {
    let mut x = (number as u64) << 32 | u64::from(writes);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ x >> 31) >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn empty() -> Profile {
        Profile::new(ModelKey::of(b"a model"), &[8, 4], 2)
    }

    fn uses(tokens: f32, used: &[usize]) -> Uses {
        let mut experts = vec![0.0; 12];
        for &number in used {
            experts[number] = tokens;
        }
        Uses { tokens, experts }
    }

    #[test]
    fn what_was_learnt_is_read_back_and_unknown_text_uses_all_alike() {
        let mut profile = empty();
        profile.learn(Label::Code, &uses(1000.0, &[1, 3]));
        let read = empty().read(&profile.to_bytes().unwrap()).unwrap();
        assert!(read.rate(Label::Code, 1) > 0.9 && read.rate(Label::Code, 0) < 0.03);
        assert_eq!(read.rate(Label::Chat, 1), 0.25);
        assert_eq!(read.rate(Label::Chat, 9), 0.5);
        assert_eq!(read.tokens(Label::Code), 1000.0);
    }

    #[test]
    fn all_labels_count_by_how_much_was_learnt_of_each() {
        let mut profile = empty();
        assert_eq!(profile.rate_of_all(1), 0.25);
        profile.learn(Label::Code, &uses(3000.0, &[0, 1]));
        profile.learn(Label::Docs, &uses(1000.0, &[1, 2]));
        assert_eq!(profile.all_tokens(), 4000.0);
        let rates = [0, 1, 2, 3].map(|number| profile.rate_of_all(number));
        for (found, expected) in rates.into_iter().zip([0.75, 1.0, 0.25, 0.0]) {
            assert!((found - expected).abs() < 0.02, "{rates:?}");
        }
    }

    #[test]
    fn older_text_gives_way() {
        let mut profile = empty();
        profile.learn(Label::Docs, &uses(MOST_TOKENS, &[0]));
        for _ in 0..8 {
            profile.learn(Label::Docs, &uses(MOST_TOKENS / 2.0, &[1]));
        }
        assert!(profile.rate(Label::Docs, 1) > 0.9 && profile.rate(Label::Docs, 0) < 0.1);
    }

    #[test]
    fn small_changes_are_not_lost_in_rounding() {
        let mut profile = empty();
        profile.learn(Label::Code, &uses(20_000.0, &[0]));
        for _ in 0..400 {
            profile.learn(Label::Code, &uses(50.0, &[1]));
            profile = empty().read(&profile.to_bytes().unwrap()).unwrap();
        }
        let rate = profile.rate(Label::Code, 1);
        assert!((rate - 0.5).abs() < 0.1, "{rate}");
    }

    #[test]
    fn a_profile_of_the_most_tokens_goes_on_learning() {
        let mut profile = empty();
        profile.learn(Label::Code, &uses(MOST_TOKENS, &[0]));
        for _ in 0..400 {
            let mut next = empty();
            next.learn(Label::Code, &uses(200.0, &[1]));
            next.merge(&profile);
            profile = empty().read(&next.to_bytes().unwrap()).unwrap();
        }
        assert_eq!(profile.tokens(Label::Code), MOST_TOKENS);
        let [old, new] = [0, 1].map(|number| profile.rate(Label::Code, number));
        assert!(old < 0.4 && new > 0.6, "{old} {new}");
    }

    #[test]
    fn a_file_stays_small_for_the_largest_of_models() {
        for (groups, experts) in [(48, 128), (48, 512), (61, 384)] {
            let key = ModelKey::of(b"large");
            let mut profile = Profile::new(key, &vec![experts; groups], 8);
            let one = Uses {
                tokens: 10.0,
                experts: vec![1.0; profile.experts()],
            };
            profile.learn(Label::Chat, &one);
            let bytes = profile.to_bytes().unwrap();
            assert!(bytes.len() <= MOST_BYTES, "{}", bytes.len());
            profile.read(&bytes).unwrap();
        }
        let huge = Profile::new(ModelKey::of(b"huge"), &[u16::MAX; 4], 8);
        assert_eq!(huge.to_bytes(), None);
    }

    #[test]
    fn another_model_and_another_version_are_told_apart() {
        let bytes = empty().to_bytes().unwrap();
        let other = Profile::new(ModelKey::of(b"another"), &[8, 4], 2);
        assert_eq!(other.read(&bytes), Err(ProfileFault::OtherModel));
        let other = Profile::new(ModelKey::of(b"a model"), &[4, 8], 2);
        assert_eq!(other.read(&bytes), Err(ProfileFault::OtherModel));
        let mut newer = bytes[..bytes.len() - CHECK_BYTES].to_vec();
        newer[8] = 3;
        let check = Sha256::digest(&newer);
        newer.extend_from_slice(&check[..CHECK_BYTES]);
        assert_eq!(empty().read(&newer), Err(ProfileFault::Version(3)));
    }

    proptest! {
        #[test]
        fn damage_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
            let mut profile = empty();
            profile.learn(Label::Code, &uses(100.0, &[1, 3, 9]));
            let mut bytes = profile.to_bytes().unwrap();
            let short = bytes[..cut.index(bytes.len())].to_vec();
            prop_assert_eq!(empty().read(&short), Err(ProfileFault::Damaged));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(empty().read(&bytes), Err(ProfileFault::Damaged));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // With a right check as well.
            let mut content = MAGIC.to_vec();
            content.extend_from_slice(&VERSION.to_le_bytes());
            content.extend_from_slice(&bytes);
            let check = Sha256::digest(&content);
            content.extend_from_slice(&check[..CHECK_BYTES]);
            prop_assert!(empty().read(&bytes).is_err() && empty().read(&content).is_err());
        }

        #[test]
        fn programs_learn_together_in_any_order(
            texts in prop::collection::vec((1u16..500, prop::collection::vec(0usize..12, 1..6)), 1..8),
        ) {
            let learnt: Vec<_> = texts.iter().map(|(tokens, used)| {
                let mut profile = empty();
                profile.learn(Label::Chat, &uses(f32::from(*tokens), used));
                profile
            }).collect();
            let (mut one, mut other) = (empty(), empty());
            for (forth, back) in learnt.iter().zip(learnt.iter().rev()) {
                one.merge(forth);
                other.merge(back);
            }
            for number in 0..12 {
                let (a, b) = (one.rate(Label::Chat, number), other.rate(Label::Chat, number));
                prop_assert!((a - b).abs() < 1e-4 && (0.0..=1.0).contains(&a));
            }
        }
    }
}
