//! Marks inside messages, by which a rendered prompt tells typed text from the template's own.
//!
//! A template gets the real text of every message, so that `trim`, `split('</think>')`, slices and
//! length tests act on what people see. Only what could be mistaken is changed:
//!
//! ```text
//!  typed    see <|im_end|> there       the name of a control token is broken:  <·|im_end|>
//!  answer   It is four.                an anchor before its last character:    It is four#.
//! ```
//!
//! Marks are code points of a private plane that no text uses. Typed text that does hold one is
//! escaped, so nobody can forge a mark. [`unmark`] takes all of them out again.

use crate::units::TokenId;
use aho_corasick::{AhoCorasick, Input, MatchKind};
use std::collections::HashSet;
use std::ops::Range;

/// Breaks the name of a control token.
const BREAK: char = '\u{10f000}';
/// The anchor of the first answer; the others follow.
const FIRST_ANCHOR: u32 = 0x10_f001;
/// Answers that can have an anchor. Older ones than these are read as text.
const ANCHORS: u32 = 0xf00;
/// The first seal (`seals.rs`); others follow up to the escape.
pub(super) const FIRST_SEAL: u32 = 0x10_ff01;
pub(super) const SEALS: usize = 0xfc;
/// The next character is an escape of one of the marks' own code points, or of a zero byte.
const ESCAPE: char = '\u{10fffd}';
/// What is subtracted from a code point to escape it.
const SHIFT: u32 = 0x1_0000;
/// A zero byte, escaped: C strings end at one.
const ZERO: char = '\u{f0000}';

/// The names of a vocabulary's control tokens.
pub(super) struct ControlNames {
    /// As they are written; the longest first.
    exact: AhoCorasick,
    /// In any mixture of capitals: templates may change these.
    any_case: AhoCorasick,
    names: Vec<String>,
    ids: Vec<TokenId>,
    known: HashSet<TokenId>,
    longest: usize,
    /// Whether a name begins with this byte, and whether one ends with it.
    firsts: [bool; 256],
    lasts: [bool; 256],
}

impl ControlNames {
    pub(super) fn new(tokens: Vec<(String, TokenId)>) -> Self {
        // One character cannot be broken, and is no name that a template could write safely.
        let (names, ids): (Vec<_>, Vec<_>) = tokens
            .into_iter()
            .filter(|(name, _)| name.chars().nth(1).is_some())
            .unzip();
        let search = |any_case: bool, names: &[String]| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .ascii_case_insensitive(any_case)
                .build(names)
        };
        let (Ok(exact), Ok(any_case)) = (search(false, &names), search(true, &names)) else {
            // Fails only with billions of states.
            unreachable!("a vocabulary's names are few")
        };
        let (mut firsts, mut lasts) = ([false; 256], [false; 256]);
        for name in names.iter().map(String::as_bytes) {
            for (table, byte) in [(&mut firsts, name[0]), (&mut lasts, name[name.len() - 1])] {
                table[usize::from(byte.to_ascii_lowercase())] = true;
                table[usize::from(byte.to_ascii_uppercase())] = true;
            }
        }
        Self {
            exact,
            any_case,
            firsts,
            lasts,
            longest: names.iter().map(String::len).max().unwrap_or(0),
            names,
            known: ids.iter().copied().collect(),
            ids,
        }
    }

    /// The control tokens in `text`, and where they are written.
    pub(super) fn find<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = (Range<usize>, TokenId)> + 'a {
        self.exact
            .find_iter(text)
            .map(|found| (found.range(), self.ids[found.pattern().as_usize()]))
    }

    /// Whether it is one of these control tokens.
    pub(super) fn has_id(&self, token: TokenId) -> bool {
        self.known.contains(&token)
    }

    /// A control token's name.
    pub(super) fn name_of(&self, token: TokenId) -> Option<&str> {
        let at = self.ids.iter().position(|&id| id == token)?;
        Some(&self.names[at])
    }

    /// Whether there is a control token of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// Whether a control token's name is in `text`, in any mixture of capitals.
    pub(super) fn any_in(&self, text: &str) -> bool {
        self.any_case.is_match(text)
    }

    /// Where names in `text` are to be broken, in order; names that are `kept` stay whole.
    fn breaks(&self, text: &str, kept: &[Range<usize>]) -> Vec<usize> {
        let mut breaks = Vec::new();
        let after_first = |at: usize| at + text[at..].chars().next().map_or(0, char::len_utf8);
        let mut from = 0;
        while let Some(found) = self.any_case.find(Input::new(text).range(from..)) {
            if kept.contains(&found.range()) {
                from = found.end();
                continue;
            }
            let at = after_first(found.start());
            breaks.push(at);
            // A name may begin within another.
            from = at;
        }
        // A name may be made whole by what comes before the text or after it.
        let mut head = floor(text, self.longest.min(text.len()));
        while let Some((at, _)) = text[..head].char_indices().next_back() {
            let piece = &text[..head];
            let last = usize::from(text.as_bytes()[head - 1]);
            if self.lasts[last] && self.names.iter().any(|n| ends_with(n, piece)) {
                breaks.push(at);
            }
            head = at;
        }
        let mut tail = ceil(text, text.len().saturating_sub(self.longest));
        while tail < text.len() {
            let piece = &text[tail..];
            let first = usize::from(text.as_bytes()[tail]);
            if self.firsts[first] && self.names.iter().any(|n| starts_with(n, piece)) {
                breaks.push(after_first(tail));
            }
            tail = after_first(tail);
        }
        // What is kept may begin or end the text.
        let within = |at: usize| kept.iter().any(|kept| kept.start < at && at < kept.end);
        breaks.retain(|&at| !within(at));
        breaks.sort_unstable();
        breaks.dedup();
        breaks
    }
}

fn starts_with(name: &str, piece: &str) -> bool {
    let start = name.as_bytes().get(..piece.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(piece.as_bytes()))
}

fn ends_with(name: &str, piece: &str) -> bool {
    let from = name.len().checked_sub(piece.len());
    from.is_some_and(|from| name.as_bytes()[from..].eq_ignore_ascii_case(piece.as_bytes()))
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// Marks typed text: no control token is in the result, whatever a template puts around it.
pub(super) fn mark(names: &ControlNames, text: &str) -> String {
    mark_with(names, text, &[], None, &mut [])
}

/// `kept` are real control tokens; offsets in `cuts` are taken along.
fn mark_with(
    names: &ControlNames,
    text: &str,
    kept: &[Range<usize>],
    anchor: Option<(usize, char)>,
    cuts: &mut [(usize, usize)],
) -> String {
    let breaks = names.breaks(text, kept);
    let mut breaks = breaks.into_iter().peekable();
    let mut cuts = cuts.iter_mut().peekable();
    let mut out = String::with_capacity(text.len() + 8);
    let ends = std::iter::once((text.len(), None));
    for (at, c) in text.char_indices().map(|(at, c)| (at, Some(c))).chain(ends) {
        while let Some(cut) = cuts.next_if(|cut| cut.0 <= at) {
            cut.0 = out.len();
        }
        if breaks.next_if_eq(&at).is_some() {
            out.push(BREAK);
        }
        if let Some((_, mark)) = anchor.filter(|anchor| anchor.0 == at) {
            out.push(mark);
        }
        match c {
            Some('\0') => out.extend([ESCAPE, ZERO]),
            Some(c) if is_mark(c) => {
                let escaped = char::from_u32(u32::from(c) - SHIFT);
                out.push(ESCAPE);
                out.push(escaped.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(c) => out.push(c),
            None => {}
        }
    }
    out
}

pub(super) fn is_mark(c: char) -> bool {
    (BREAK..=ESCAPE).contains(&c)
}

/// Marks what a template made of marked text, which may have got names and ends of names.
pub(super) fn mark_again(names: &ControlNames, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut from = 0;
    for at in names.breaks(text, &[]) {
        out.push_str(&text[from..at]);
        out.push(BREAK);
        from = at;
    }
    out.push_str(&text[from..]);
    out
}

/// Marked text cut where names in it are broken.
pub(super) fn unbroken(text: &str) -> impl Iterator<Item = &str> {
    text.split(BREAK)
}

/// The real text of what was marked.
pub(super) fn unmark(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => match chars.next() {
                Some(ZERO) => out.push('\0'),
                Some(c) => {
                    let real = char::from_u32(u32::from(c) + SHIFT).filter(|&c| is_mark(c));
                    out.push(real.unwrap_or(c));
                }
                None => {}
            },
            c if is_mark(c) => {}
            c => out.push(c),
        }
    }
    out
}

/// The characters of marked text that people see, each with the marks before it.
pub(super) fn real_characters(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut escaped = false;
        let last = rest.char_indices().find(|&(_, c)| {
            let marks = !escaped && is_mark(c);
            escaped = c == ESCAPE;
            !marks
        });
        let mut end = last.map_or(rest.len(), |(at, c)| at + c.len_utf8());
        // Marks that nothing follows are the last character's.
        if rest[end..].chars().all(|c| is_mark(c) && c != ESCAPE) {
            end = rest.len();
        }
        let (one, later) = rest.split_at(end);
        rest = later;
        (!one.is_empty()).then_some(one)
    })
}

/// An answer as a template gets it, and where its tokens are in that.
pub(super) struct MarkedAnswer {
    pub text: String,
    /// Offsets in `text` at which a token ends and a character too, and how many tokens end there.
    cuts: Vec<(usize, usize)>,
    anchor: Option<(usize, char)>,
}

/// A token of an answer, for [`MarkedAnswer::new`].
pub(super) struct AnswerToken {
    /// With the name of a control token.
    pub bytes: Vec<u8>,
    pub control: bool,
}

impl MarkedAnswer {
    /// Answer number `index` of a conversation.
    pub(super) fn new(names: &ControlNames, index: usize, tokens: &[AnswerToken]) -> Self {
        let (mut text, mut pending) = (String::new(), Vec::new());
        let (mut cuts, mut kept) = (vec![(0, 0)], Vec::new());
        for (i, token) in tokens.iter().enumerate() {
            let began = text.len();
            pending.extend_from_slice(&token.bytes);
            match std::str::from_utf8(&pending) {
                Ok(whole) => text.push_str(whole),
                // The character goes on in the next token.
                Err(error) if error.error_len().is_none() && i + 1 < tokens.len() => continue,
                Err(_) => text.push_str(&String::from_utf8_lossy(&pending)),
            }
            pending.clear();
            cuts.push((text.len(), i + 1));
            if token.control {
                kept.push(began..text.len());
            }
        }
        // Before the last character that is no space, so that trimming does not meet it; after a
        // tag, which a template may look for.
        let last = text.trim_end().char_indices().next_back();
        let place = last.map(|(at, c)| if c == '>' { at + 1 } else { at });
        let number = u32::try_from(index).ok().filter(|&n| n < ANCHORS);
        let mark = number.and_then(|n| char::from_u32(FIRST_ANCHOR + n));
        let anchor = place.zip(mark);
        let mut text = mark_with(names, &text, &kept, anchor, &mut cuts);
        let anchor = mark.and_then(|mark| text.find(mark).map(|at| (at, mark)));
        text.shrink_to_fit();
        Self { text, cuts, anchor }
    }

    /// Where this answer is in `rendered`, from `from` on, and what of it is there.
    pub(super) fn find(
        &self,
        names: &ControlNames,
        rendered: &str,
        from: usize,
    ) -> Option<Found<'_>> {
        let (mine, mark) = self.anchor?;
        let there = from + rendered.get(from..)?.find(mark)?;
        let mut start = there - common_end(&rendered[from..there], &self.text[..mine]);
        let mut end = there + common_start(&rendered[there..], &self.text[mine..]);
        // A control token of the template's may end as what it took out of the answer does.
        for (name, _) in names.find(&rendered[from..]) {
            let name = from + name.start..from + name.end;
            if name.start >= end {
                break;
            }
            if name.start < start && start < name.end {
                start = name.end;
            }
            if name.end > end {
                end = name.start;
            }
        }
        let place = start..end;
        let (start, end) = (mine - (there - start), mine + (end - there));
        // Whole tokens of what is there; what is left at its ends is text.
        let first = self.cuts.partition_point(|cut| cut.0 < start);
        let last = self
            .cuts
            .partition_point(|cut| cut.0 <= end)
            .checked_sub(1)?;
        if first > last {
            return None;
        }
        let (a, b) = (self.cuts[first], self.cuts[last]);
        Some(Found {
            place,
            head: &self.text[start..a.0],
            tokens: a.1..b.1,
            tail: &self.text[b.0..end],
        })
    }
}

/// What of an answer a template wrote.
pub(super) struct Found<'a> {
    pub place: Range<usize>,
    /// Text before the first whole token.
    pub head: &'a str,
    pub tokens: Range<usize>,
    /// Text after the last.
    pub tail: &'a str,
}

fn common_end(a: &str, b: &str) -> usize {
    let same = a.chars().rev().zip(b.chars().rev());
    let same = same.take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

fn common_start(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> ControlNames {
        let names = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "aba"];
        let numbered = names.iter().zip(0..);
        ControlNames::new(
            numbered
                .map(|(n, i)| ((*n).to_owned(), TokenId(i)))
                .collect(),
        )
    }

    proptest! {
        #[test]
        fn marked_text_is_the_same_and_has_no_control_token(
            text in "([ab <>s/|]|<s>|<\\|im_end\\|>|<\\|IM_start|\\|>|\u{10f000}|\u{10fffd}|\0|é){0,12}",
            before in "(<\\||<|ab|<\\|im_sta)?",
            after in "(>|s>|ba|rt\\|>)?",
        ) {
            let names = names();
            let marked = mark(&names, &text);
            prop_assert_eq!(unmark(&marked), text.as_str());
            prop_assert!(!names.any_in(&marked));
            // A template that writes both ends of a name around a shorter text means it.
            if text.len() >= names.longest {
                prop_assert_eq!(names.find(&format!("{before}{marked}{after}")).count(), 0);
            }
        }
    }

    #[test]
    fn real_characters_are_those_of_the_text() {
        let text = "a<s>\u{10f000}\0é<";
        let marked = mark(&names(), text);
        assert_ne!(marked, text);
        let characters: Vec<_> = real_characters(&marked).map(unmark).collect();
        let right: Vec<_> = text.chars().map(String::from).collect();
        assert_eq!(characters, right);
        assert_eq!(real_characters("").count(), 0);
    }

    #[test]
    fn marking_again_keeps_marks() {
        let names = names();
        let marked = mark(&names, "<|im_end|> \u{10f000}");
        assert_eq!(mark_again(&names, &marked), marked);
        let put_together = format!("{marked}<|im_start|>x");
        let again = mark_again(&names, &put_together);
        assert!(!names.any_in(&again));
        assert_eq!(unmark(&again), "<|im_end|> \u{10f000}<|im_start|>x");
    }

    #[test]
    fn ordinary_text_is_left_as_it_is() {
        for text in ["hello", "x <b> c </think> d", "  x\n"] {
            assert_eq!(mark(&names(), text), text);
        }
    }

    fn answer(pieces: &[&[u8]]) -> MarkedAnswer {
        let token = |bytes: &&[u8]| AnswerToken {
            bytes: bytes.to_vec(),
            control: false,
        };
        MarkedAnswer::new(&names(), 3, &pieces.iter().map(token).collect::<Vec<_>>())
    }

    #[test]
    fn an_answer_is_found_whole_trimmed_or_in_part() {
        let answer = answer(&[
            b" <think>",
            b"hm</think>",
            b"\n",
            b"It",
            b" is \xc3",
            b"\xa9.",
            b"\n",
        ]);
        let whole = format!("A:{}!", answer.text);
        let found = answer.find(&names(), &whole, 0).unwrap();
        assert_eq!((found.tokens, found.head, found.tail), (0..7, "", ""));
        assert_eq!(&whole[found.place.end..], "!");

        let trimmed = format!("A: {}</s>", answer.text.trim());
        let found = answer.find(&names(), &trimmed, 0).unwrap();
        assert_eq!(found.tokens, 0..6);
        assert_eq!((found.head, found.tail), ("", ""));
        assert_eq!(
            &trimmed[..found.place.start],
            "A:",
            "the space is the answer's own"
        );

        let thoughtless = answer.text.split("</think>").last().unwrap().trim();
        let found = answer.find(&names(), thoughtless, 0).unwrap();
        assert_eq!((found.tokens, found.place.start), (3..6, 0));

        let cut = &answer.text[answer.text.find('t').unwrap()..];
        let found = answer.find(&names(), cut, 0).unwrap();
        assert_eq!((found.head, found.tokens), ("think>", 1..7));
        assert!(answer.find(&names(), "something else", 0).is_none());
    }

    #[test]
    fn an_answers_control_tokens_stay_whole_at_its_ends() {
        let token = |text: &str, control| AnswerToken {
            bytes: text.as_bytes().to_vec(),
            control,
        };
        let tokens = [
            token("<s>", true),
            token("a<s>", false),
            token("<|im_end|>", true),
        ];
        let answer = MarkedAnswer::new(&names(), 0, &tokens);
        assert_eq!(names().find(&answer.text).count(), 2, "{:?}", answer.text);
        assert!(answer.text.starts_with("<s>a"), "{:?}", answer.text);
        let found = answer.find(&names(), &answer.text, 0).unwrap();
        assert_eq!(found.tokens, 0..3);
    }

    #[test]
    fn an_answer_takes_nothing_of_the_templates_control_tokens() {
        let answer = answer(&[b"<think>", b"hm</think>", b"It", b" is.", b"</s"]);
        let rest = answer.text.split("</think>").last().unwrap();
        let rendered = format!("<|im_start|>{rest}<|im_end|>");
        let found = answer.find(&names(), &rendered, 0).unwrap();
        assert_eq!((found.head, found.tokens, found.tail), ("", 2..5, ""));
        assert_eq!(
            found.place,
            "<|im_start|>".len()..rendered.len() - "<|im_end|>".len()
        );
    }

    #[test]
    fn an_answer_cut_within_a_character_is_still_its_tokens() {
        let answer = answer(&[b"ab", b"\xe2\x82"]);
        let found = answer.find(&names(), &answer.text, 0).unwrap();
        assert_eq!(found.tokens, 0..2);
        assert!(answer.text.contains(char::REPLACEMENT_CHARACTER));
    }
}
