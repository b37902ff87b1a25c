//! Whether a forged model computes what its source does.
//!
//! The source answers two prompts greedily. The forged model reads each prompt with that answer
//! after it, in one pass: in a width class a token's logits do not depend on what else is in the
//! pass, so that they are those it would have answered by. The time of a large model's pass is thus
//! spent once a prompt, not once a token.

use super::running::{Means, RunError, Runner};
use super::{ForgeError, Watch};
use crate::ggml::llama::LlamaError;
use crate::model::{Gguf, GgufError, TextError, Tokenizer, trial};
use crate::oracle::{Oracle, OracleError, TokenTree, WidthClass, argmax};
use crate::units::{Bytes, TokenId};
use std::path::Path;

/// Code and prose, so that text of both kinds is compared.
const PROMPTS: [&str; 2] = [
    "The three largest rivers of the world are",
    "fn fibonacci(n: u64) -> u64 {\n",
];

/// Tokens of each answer.
const ANSWER_TOKENS: usize = 32;

/// Most tokens of a prompt: with its answer it fits one pass.
const PROMPT_TOKENS: usize = WidthClass::BATCH.max - ANSWER_TOKENS;

/// How far a wider model's logits may be from the source's in the mean over an answer, each row's
/// distance being a share of how far the source's logits are from their own mean (both root mean
/// squares over the vocabulary).
///
/// Its norms multiply by rounded factors, and a rounding that tips a quantised activation to its
/// next step grows from layer to layer. Raising each weight of the first norm of SmolLM2-135M
/// (Q4_1) by its last bit moves the logits by 0.07 in the mean and 0.17 at most; widening it, by
/// as much. A wrong column or head moves them by more than a half. A mixture of 64 experts (Q4_K)
/// made twice or four times as wide is 0.02 away, and SmolLM2-135M made a mixture of copies 0.05.
pub const TOLERANCE: f32 = 0.2;

/// How alike the two have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The same bits.
    Bits,
    /// Logits within [`TOLERANCE`]: the same text but where two tokens are nearly as likely.
    Text,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    pub prompts: usize,
    pub tokens: usize,
    /// All logits of all tokens have the same bits.
    pub same_bits: bool,
    /// Tokens where two were so near to each other that rounding decided.
    pub near_ties: usize,
    /// Distance of logits in the mean over an answer, as [`TOLERANCE`] counts it; the larger.
    pub difference: f32,
}

/// Where two models differ the most.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "the forged model does not compute what its source does: after {after:?} the source says \
     {source_says:?} and the forged model {forged_says:?}, and their logits differ by \
     {difference:.3} of their spread"
)]
pub struct Difference {
    pub after: String,
    pub source_says: String,
    pub forged_says: String,
    pub difference: f32,
}

/// Why models do not agree, or could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Differs(Box<Difference>),
    #[error("the models cannot be compared: {0}")]
    Vocabulary(#[from] LlamaError),
    #[error("the models cannot be compared: {0}")]
    Text(#[from] TextError),
    #[error("the models cannot be compared: {0}")]
    Trial(#[from] trial::TrialError),
    #[error("the models cannot be compared: {0}")]
    Index(#[from] GgufError),
    #[error("the models cannot be compared (--no-verify leaves that out): {0}")]
    Run(#[from] RunError),
    #[error("the models cannot be compared: {0}")]
    Pass(#[from] OracleError),
}

/// A prompt and how the source answers it.
struct Answer {
    prompt: Vec<TokenId>,
    tokens: Vec<TokenId>,
    /// The logits by which each token was chosen.
    rows: Vec<Vec<f32>>,
}

/// Compares the model at `forged` with the one at `source`.
///
/// # Errors
/// A difference that `likeness` does not allow, and models that cannot be run.
pub fn verify(
    source: &Path,
    forged: &Path,
    likeness: Likeness,
    means: Means,
    watch: &Watch<'_>,
) -> Result<Agreement, ForgeError> {
    let index = Gguf::open(source).map_err(VerifyError::from)?;
    trial::admit(&index, Some(means.ram)).map_err(VerifyError::from)?;
    let tokenizer = Tokenizer::open(&index).map_err(VerifyError::from)?;
    watch
        .progress
        .note("comparing: the source answers two prompts");
    let mut oracle = open(source, means, tokenizer.n_vocab()).map_err(VerifyError::from)?;
    let answers = PROMPTS
        .iter()
        .map(|prompt| {
            let mut tokens: Vec<_> = tokenizer.begin().into_iter().collect();
            tokens.extend(tokenizer.text(prompt).map_err(VerifyError::from)?);
            tokens.truncate(PROMPT_TOKENS);
            answer(&mut *oracle, tokens, watch)
        })
        .collect::<Result<Vec<_>, _>>()?;
    drop(oracle);
    watch
        .progress
        .note("comparing: the forged model reads the answers");
    let mut oracle = open(forged, means, tokenizer.n_vocab()).map_err(VerifyError::from)?;
    let mut agreement = Agreement {
        prompts: answers.len(),
        tokens: 0,
        same_bits: true,
        near_ties: 0,
        difference: 0.0,
    };
    for answer in &answers {
        watch.check()?;
        compare(&mut *oracle, answer, likeness, &tokenizer, &mut agreement)?;
    }
    Ok(agreement)
}

/// Opens a model, with memory left for rows of logits: the source's of all answers, and the forged
/// model's of one.
fn open(path: &Path, means: Means, n_vocab: usize) -> Result<Box<dyn Oracle>, RunError> {
    let rows = (PROMPTS.len() + 1) * ANSWER_TOKENS;
    let runner = Runner {
        path,
        means,
        held: Bytes((rows * n_vocab * size_of::<f32>()) as u64),
        ctx_tokens: WidthClass::BATCH.max.next_multiple_of(256),
        max_nodes: ANSWER_TOKENS,
    };
    runner.open()
}

/// Lets the source answer.
fn answer(
    oracle: &mut dyn Oracle,
    prompt: Vec<TokenId>,
    watch: &Watch<'_>,
) -> Result<Answer, ForgeError> {
    oracle.truncate(0);
    let (mut tokens, mut rows) = (Vec::new(), Vec::new());
    let mut next = prompt.clone();
    while tokens.len() < ANSWER_TOKENS {
        watch.check()?;
        let mut found = logits(oracle, &next, next.len() - 1)?;
        oracle.commit(&(0..next.len()).collect::<Vec<_>>());
        let Some(row) = found.pop() else { break };
        next = vec![argmax(&row)];
        tokens.extend(&next);
        rows.push(row);
    }
    Ok(Answer {
        prompt,
        tokens,
        rows,
    })
}

/// One pass over a chain; the logits of its tokens from index `from` on.
fn logits(
    oracle: &mut dyn Oracle,
    tokens: &[TokenId],
    from: usize,
) -> Result<Vec<Vec<f32>>, VerifyError> {
    let tree = TokenTree::chain(tokens, from);
    let output = oracle.pass(&tree, WidthClass::BATCH)?;
    let rows = output.logits.nodes().iter();
    Ok(rows
        .filter_map(|&node| Some(output.logits.of(node)?.to_vec()))
        .collect())
}

fn compare(
    oracle: &mut dyn Oracle,
    answer: &Answer,
    likeness: Likeness,
    tokenizer: &Tokenizer,
    agreement: &mut Agreement,
) -> Result<(), VerifyError> {
    oracle.truncate(0);
    let mut tokens = answer.prompt.clone();
    tokens.extend(&answer.tokens[..answer.tokens.len() - 1]);
    let rows = logits(oracle, &tokens, answer.prompt.len() - 1)?;
    let mut worst = (0, 0.0);
    let mut sum = 0.0;
    let mut same_bits = true;
    for (i, (ours, source)) in rows.iter().zip(&answer.rows).enumerate() {
        let (difference, same) = distance(ours, source);
        if difference > worst.1 {
            worst = (i, difference);
        }
        sum += difference;
        same_bits &= same;
        agreement.near_ties += usize::from(argmax(ours) != answer.tokens[i]);
    }
    let mean = sum / rows.len() as f32;
    let allowed = match likeness {
        Likeness::Bits => same_bits,
        Likeness::Text => mean <= TOLERANCE,
    };
    if !allowed {
        let text = |tokens: &[TokenId]| {
            let bytes: Vec<u8> = tokens.iter().flat_map(|&t| tokenizer.bytes(t)).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (at, difference) = worst;
        return Err(VerifyError::Differs(Box::new(Difference {
            after: text(&tokens[..answer.prompt.len() + at]),
            source_says: text(&[answer.tokens[at]]),
            forged_says: text(&[argmax(&rows[at])]),
            difference,
        })));
    }
    agreement.tokens += rows.len();
    agreement.same_bits &= same_bits;
    agreement.difference = agreement.difference.max(mean);
    Ok(())
}

/// How far a row is from the source's as a share of that one's spread, and whether they are the
/// same bits. What is not a number is infinitely far from everything.
fn distance(ours: &[f32], source: &[f32]) -> (f32, bool) {
    let n = source.len() as f64;
    let same = ours.len() == source.len()
        && ours
            .iter()
            .zip(source)
            .all(|(x, y)| x.to_bits() == y.to_bits());
    if same {
        return (0.0, true);
    }
    let mean = source.iter().map(|&y| f64::from(y)).sum::<f64>() / n;
    let square = |x: f64| x * x;
    let spread: f64 = source.iter().map(|&y| square(f64::from(y) - mean)).sum();
    let apart: f64 = ours
        .iter()
        .zip(source)
        .map(|(&x, &y)| square(f64::from(x) - f64::from(y)))
        .sum();
    let share = (apart / spread).sqrt() as f32;
    (if share.is_nan() { f32::INFINITY } else { share }, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_sees_bits_and_what_is_no_number() {
        let source = [1.0, 3.0];
        assert_eq!(distance(&[1.0, 3.0], &source), (0.0, true));
        assert_eq!(distance(&[1.0, 4.0], &[1.0, 3.0]).0, 0.5_f32.sqrt());
        assert_eq!(distance(&[0.0, 1.0], &[-0.0, 1.0]), (0.0, false));
        assert_eq!(distance(&[f32::NAN, 3.0], &source), (f32::INFINITY, false));
    }
}
