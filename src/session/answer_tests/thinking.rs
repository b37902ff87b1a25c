//! Thoughts, their budget, and stop strings, in a language of few words.

use super::*;
use crate::model::Pieces;

/// Texts of the toy's tokens, two of which mark thoughts. What is cut and is none of these texts is
/// cut into bytes, whose tokens have numbers from [`BYTES`] on.
struct ToyPieces;

const BYTES: i32 = 1000;

const OPEN: TokenId = TokenId(0);
const CLOSE: TokenId = TokenId(1);

impl Pieces for ToyPieces {
    fn bytes(&self, token: TokenId) -> Option<Vec<u8>> {
        let text = match token {
            OPEN => "<think>".to_owned(),
            CLOSE => "</think>".to_owned(),
            TokenId(2) => "\n".to_owned(),
            TokenId(n) if n >= BYTES => return Some(vec![(n - BYTES) as u8]),
            TokenId(n) => format!("{n} "),
        };
        Some(text.into_bytes())
    }

    fn cut(&self, text: &str) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (token, len) = (0..ToyOracle::N_VOCAB as i32)
                .filter_map(|id| {
                    let bytes = self.bytes(TokenId(id))?;
                    rest.as_bytes()
                        .starts_with(&bytes)
                        .then_some((TokenId(id), bytes.len()))
                })
                .max_by_key(|(_, len)| *len)
                .unwrap_or((TokenId(BYTES + i32::from(rest.as_bytes()[0])), 1));
            tokens.push(token);
            rest = &rest[len..];
        }
        tokens
    }
}

/// A thought of at most `budget` tokens, and the text by it that `prompt` leads to, one by one.
fn thinking_rules(stops: &[&str], budget: Option<usize>, seed: u64) -> Arc<Rules> {
    let sampling = Sampling {
        temperature: if seed == 0 { 0.0 } else { 1.1 },
        seed,
        ..Sampling::default()
    };
    let params = Params {
        sampling,
        max_tokens: 48,
        fixed_length: false,
        think_budget: budget,
    };
    let form = AnswerForm::of_texts(Arc::new(ToyPieces), stops, "\n</think>\n\n");
    Arc::new(Rules::new(&params, &Arc::new(form)))
}

fn thinking_by_hand(prompt: &[TokenId], rules: &Rules, budget: usize) -> Vec<TokenId> {
    #[derive(PartialEq)]
    enum Part {
        Thought,
        Between,
        Text,
    }
    let mut text = prompt.to_vec();
    let (mut part, mut thought, mut is_cut) = (Part::Thought, 0, false);
    while text.len() < prompt.len() + rules.max_tokens {
        if part == Part::Thought && thought >= budget {
            text.extend([2, 1, 2, 2].map(TokenId));
            (part, is_cut) = (Part::Between, true);
            continue;
        }
        let token = rules
            .sampler
            .choose(&ToyOracle::logits_after(&text), &text, text.len());
        text.push(token);
        part = match (part, token) {
            (Part::Thought, CLOSE) | (Part::Between, TokenId(2)) => Part::Between,
            // After a cut no other thought begins.
            (Part::Between, OPEN) if is_cut => Part::Between,
            (Part::Between, OPEN) => Part::Thought,
            (Part::Thought, _) => {
                thought += 1;
                Part::Thought
            }
            _ => Part::Text,
        };
    }
    text.truncate(prompt.len() + rules.max_tokens);
    text.split_off(prompt.len())
}

proptest! {
    #[test]
    fn a_thought_is_cut_at_its_budget_whatever_is_guessed(
        n in 1i32..60,
        size in prop_oneof![1usize..20, Just(63)],
        wrong_every in 0usize..5,
        has_draft in any::<bool>(),
        budget in 0usize..40,
        seed in prop_oneof![Just(0u64), any::<u64>()],
        recycle in any::<bool>(),
    ) {
        let prompt = [prompt(n), vec![OPEN]].concat();
        let draft = has_draft.then(|| Draft::new(wrong_every));
        let rules = thinking_rules(&[], Some(budget), seed);
        let speculator = speculator_of(Trees::Exact, size, draft, recycle);
        let ended = answer(&prompt, speculator, &rules);
        let right = thinking_by_hand(&prompt, &rules, budget);
        prop_assert_eq!(ended.answer.tokens(), &right[..]);
        let reply = ended.answer.reply();
        prop_assert!(reply.cut_at().is_none_or(|cut| cut == budget));
        prop_assert!(reply.thinking_tokens() <= budget);
        let cached = ended.decoder.cache.tokens();
        let all = [&prompt[..], &right].concat();
        let kept = cached.iter().zip(&all).take_while(|(a, b)| a == b).count();
        prop_assert!(kept + 1 >= all.len().min(cached.len()), "{} of {}", kept, all.len());
    }
}

#[test]
fn what_closes_a_thought_takes_one_pass_and_not_one_a_token() {
    let prompt = [prompt(20), vec![OPEN]].concat();
    let passes = |budget| {
        let rules = thinking_rules(&[], budget, 0);
        let ended = answer(&prompt, speculator(1, None), &rules);
        assert_eq!(ended.answer.tokens().len(), 48);
        (ended.answer.passes, ended.answer.reply().cut_at())
    };
    assert_eq!(passes(None), (48, None));
    assert_eq!(passes(Some(3)), (48 - 4, Some(3)));
}

#[test]
fn a_stop_string_ends_an_answer_and_is_no_part_of_it() {
    let free = |prompt: &[TokenId]| {
        let free = answer(prompt, speculator(1, None), &thinking_rules(&[], None, 0));
        free.answer.reply().text().to_owned()
    };
    let prompt = (1..60)
        .map(prompt)
        .find(|p| free(p).matches(' ').count() > 20);
    let prompt = prompt.expect("a prompt that leads to no thought");
    let text = free(&prompt);
    // From the middle of a token to the middle of one three tokens later.
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let at: usize = words[..9].iter().map(|word| word.len()).sum();
    let stop = &text[at - 1..=at + words[9].len() + words[10].len()];
    let first = text.find(stop).unwrap();
    for size in [1, 16] {
        let rules = thinking_rules(&[stop], None, 0);
        let ended = answer(&prompt, speculator(size, Some(Draft::new(3))), &rules);
        assert_eq!(ended.answer.end(), Some(AnswerEnd::StopString));
        assert_eq!(ended.answer.reply().text(), &text[..first]);
        let said: Vec<u8> = ended
            .answer
            .tokens()
            .iter()
            .flat_map(|&token| ToyPieces.bytes(token).unwrap())
            .collect();
        assert_eq!(String::from_utf8(said).unwrap(), text[..first]);
    }
}
