//! The likeliest tokens of a draft's logits, found by several threads: ranking a row takes a good
//! part of a millisecond, and a decode can have dozens of rows.

use super::guess::Guess;
use super::sampler::{Ranked, Sampler};
use crate::units::TokenId;
use std::thread::{Builder, ScopedJoinHandle};

/// Rows that are left to one thread, although others could help.
const ALONE: usize = 2;

/// Most threads that rank rows: where tokens are drawn, each holds two copies of a row.
const MOST_THREADS: usize = 8;

/// A question whose row of logits has been computed.
pub(super) struct Asked<'a> {
    pub question: usize,
    /// The last tokens of the text and the path that the question is about.
    pub history: Vec<TokenId>,
    /// Tokens before the one that is asked about.
    pub position: usize,
    pub logits: &'a [f32],
}

/// What `sampler` would choose first, `most` tokens for each question, on up to so many threads.
pub(super) fn rank(
    asked: &[Asked<'_>],
    sampler: &Sampler,
    most: usize,
    threads: usize,
) -> Vec<(usize, Vec<Guess>)> {
    let threads = threads.clamp(1, MOST_THREADS);
    let mut shares = asked.chunks(asked.len().div_ceil(threads).max(ALONE));
    let own = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| {
                let work = move || alone(share, sampler, most);
                let thread = Builder::new().name("rank".into());
                (share, thread.spawn_scoped(scope, work))
            })
            .collect();
        let mut ranked = alone(own, sampler, most);
        for (share, other) in others {
            ranked.extend(match other.map(ScopedJoinHandle::join) {
                Ok(Ok(ranked)) => ranked,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // No thread could be started.
                Err(_) => alone(share, sampler, most),
            });
        }
        ranked
    })
}

fn alone(share: &[Asked<'_>], sampler: &Sampler, most: usize) -> Vec<(usize, Vec<Guess>)> {
    let guess = |r: Ranked| Guess {
        token: r.token,
        p: r.p,
        class: 0,
    };
    let of = |asked: &Asked<'_>| {
        let ranked = sampler.rank(asked.logits, &asked.history, asked.position, most);
        (asked.question, ranked.into_iter().map(guess).collect())
    };
    share.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sampler::Sampling;
    use super::*;

    #[test]
    fn each_question_has_its_own_answer_on_any_number_of_threads() {
        let rows: Vec<Vec<f32>> = (0..13)
            .map(|row| (0..50).map(|i| ((i * 7 + row * 3) % 50) as f32).collect())
            .collect();
        let asked: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(row, logits)| Asked {
                question: 100 + row,
                history: Vec::new(),
                position: row,
                logits,
            })
            .collect();
        let sampler = Sampler::new(Sampling::default(), Vec::new());
        for threads in [1, 2, 5, 40] {
            let mut ranked = rank(&asked, &sampler, 4, threads);
            ranked.sort_by_key(|(question, _)| *question);
            assert_eq!(ranked.len(), rows.len());
            for ((question, guesses), logits) in ranked.iter().zip(&rows) {
                let token = |g: &Guess| logits[usize::try_from(g.token.0).unwrap()];
                let found: Vec<_> = guesses.iter().map(token).collect();
                assert_eq!(found, [49.0, 48.0, 47.0, 46.0], "question {question}");
            }
        }
        assert!(rank(&[], &sampler, 4, 3).is_empty());
    }
}
