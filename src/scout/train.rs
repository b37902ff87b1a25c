//! Fits the scout's weights to labelled prompts. The same prompts give the same weights.
//!
//! Each prompt is seen as it grows (see [`views`]): a model that is asked after eight
//! characters has to have learnt what eight characters look like. Multinomial logistic
//! regression by AdaGrad over word features (scaled by one over the root of their number,
//! as in [`Model`]) and flags, with an L2 penalty; a source weighs with the root of its
//! share, so that one large benchmark with one way of opening does not set the tone. Word
//! features of fewer than [`Settings::min_prompts`] prompts are left out, the weightiest
//! [`Settings::max_words`] kept. Temperatures come from predictions on prompts that the
//! fold's model has not seen.

use super::evaluate::{Prediction, fold_of, predictions};
use super::facts::Flag;
use super::features::{Reader, Sink};
use super::model::{Model, Weights, softmax};
use super::prompts::Prompt;
use crate::random::SplitMix64;
use crate::vocabulary::Label;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// How to fit. The defaults are those of the shipped weights.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub epochs: usize,
    pub rate: f32,
    /// L2 penalty on word weights and on flags, a step.
    pub word_penalty: f32,
    pub flag_penalty: f32,
    pub min_prompts: usize,
    pub max_words: usize,
    /// Folds that temperatures are fitted over.
    pub folds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epochs: 30,
            rate: 0.03,
            word_penalty: 3e-5,
            flag_penalty: 1e-5,
            min_prompts: 3,
            max_words: 5_000,
            folds: 5,
        }
    }
}

/// Lengths at which a growing prompt is looked at.
const LENGTHS: [usize; 14] = [4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192];

/// Words from which each temperature holds.
const TEMPERATURE_FROM: [u16; 4] = [0, 3, 8, 24];

/// The texts that a prompt is while it comes to be: typed prefixes, the whole typed part,
/// and with its pasted part before or after it.
pub fn views(prompt: &Prompt) -> Vec<String> {
    let typed = prompt.typed();
    let chars = typed.chars().count();
    let mut views: Vec<String> = LENGTHS
        .iter()
        .filter(|&&n| n < chars)
        .map(|&n| typed.chars().take(n).collect())
        .collect();
    if let Some([start, end]) = prompt.paste_span {
        let pasted: String = prompt.text.chars().take(end).skip(start).collect();
        views.push(format!("{}\n\n{typed}", pasted.trim()));
        views.push(prompt.text.clone());
    }
    views.push(typed);
    views
}

/// Fits weights and temperatures to `prompts`.
pub fn train(prompts: &[Prompt], settings: &Settings) -> Model {
    let mut model = fit(prompts, settings);
    let mut held_out = Vec::new();
    for fold in 0..settings.folds {
        let (test, rest): (Vec<Prompt>, Vec<Prompt>) = prompts
            .iter()
            .cloned()
            .partition(|p| fold_of(p, settings.folds) == fold);
        let fitted = Arc::new(fit(&rest, settings));
        let texts = test
            .iter()
            .flat_map(|p| views(p).into_iter().map(move |v| (v, p)));
        held_out.extend(predictions(&fitted, texts));
    }
    model.temperatures = TEMPERATURE_FROM
        .iter()
        .zip(TEMPERATURE_FROM.iter().skip(1).chain([&u16::MAX]))
        .map(|(&from, &to)| {
            let here = held_out.iter().filter(|p| (from..to).contains(&p.words));
            (from, best_temperature(here))
        })
        .collect();
    model
}

/// The temperature of least log-loss, to a hundredth.
fn best_temperature<'a>(held_out: impl Iterator<Item = &'a Prediction> + Clone) -> f32 {
    let loss = |t: f32| -> f64 {
        let of = |p: &Prediction| softmax(p.scores, t)[p.label as usize].max(1e-6);
        held_out.clone().map(|p| -f64::from(of(p).ln())).sum()
    };
    (30..=300)
        .map(|hundredths| hundredths as f32 / 100.0)
        .min_by(|&a, &b| loss(a).total_cmp(&loss(b)))
        .unwrap_or(1.0)
}

/// A text as the fit sees it.
struct Example {
    words: Vec<u32>,
    flags: Vec<Flag>,
    label: Label,
    weight: f32,
}

/// Numbers every feature that it meets.
#[derive(Default)]
struct Vocabulary {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Sink for Vocabulary {
    fn number_of(&mut self, name: &str) -> Option<u32> {
        if let Some(&number) = self.numbers.get(name) {
            return Some(number);
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Some(number)
    }

    fn add(&mut self, _: u32) {}

    fn remove(&mut self, _: u32) {}
}

/// Fits weights alone; all temperatures are 1.
pub fn fit(prompts: &[Prompt], settings: &Settings) -> Model {
    let (names, examples) = read(prompts, settings.min_prompts);
    let mut fit = Fit::new(names.len());
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut random = SplitMix64::new(0x9e37_79b9_7f4a_7c15);
    for _ in 0..settings.epochs {
        shuffle(&mut order, &mut random);
        for &at in &order {
            fit.step(&examples[at], settings);
        }
    }
    let mut words: Vec<(String, Weights)> = names
        .into_iter()
        .zip(&fit.words)
        .map(|(name, cell)| (name, cell.thousandths()))
        .collect();
    words.retain(|(_, w)| spread(w) > 0);
    words.sort_by(|a, b| spread(&b.1).cmp(&spread(&a.1)).then(a.0.cmp(&b.0)));
    words.truncate(settings.max_words);
    words.sort();
    let flags = fit.flags.iter().map(Cell::thousandths).collect();
    Model::new(vec![(0, 1.0)], flags, words)
}

/// The names of the features that enough prompts have, and all examples in terms of them.
fn read(prompts: &[Prompt], min_prompts: usize) -> (Vec<String>, Vec<Example>) {
    let mut group_sizes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for p in prompts {
        *group_sizes.entry((&p.source, p.label.name())).or_default() += 1;
    }
    let mean: f32 = group_sizes
        .values()
        .map(|&n| (n as f32).sqrt())
        .sum::<f32>()
        / prompts.len().max(1) as f32;
    let mut vocabulary = Vocabulary::default();
    let mut prompts_with: Vec<usize> = Vec::new();
    let mut examples = Vec::new();
    for p in prompts {
        let size = group_sizes[&(p.source.as_str(), p.label.name())] as f32;
        let mut of_prompt = HashSet::new();
        let views = views(p);
        for view in &views {
            let mut reader = Reader::new();
            reader.update(view, &mut vocabulary);
            let mut words = reader.log().to_vec();
            words.sort_unstable();
            words.dedup();
            of_prompt.extend(words.iter().copied());
            examples.push(Example {
                words,
                flags: reader.facts().flags().collect(),
                label: p.label,
                weight: 1.0 / (size.sqrt() * mean),
            });
        }
        prompts_with.resize(vocabulary.names.len(), 0);
        for feature in of_prompt {
            prompts_with[feature as usize] += 1;
        }
    }
    let mut kept = Vec::new();
    let mut renumbered = vec![None; vocabulary.names.len()];
    for (old, name) in vocabulary.names.into_iter().enumerate() {
        if prompts_with[old] >= min_prompts {
            renumbered[old] = Some(kept.len() as u32);
            kept.push(name);
        }
    }
    for example in &mut examples {
        let known = example.words.iter().filter_map(|&w| renumbered[w as usize]);
        example.words = known.collect();
    }
    (kept, examples)
}

/// One feature's weights and the squares of their gradients so far.
#[derive(Clone, Copy, Default)]
struct Cell {
    weights: [f32; 3],
    squares: [f32; 3],
}

impl Cell {
    fn step(&mut self, gradient: [f32; 3], rate: f32, penalty: f32) {
        let cells = self.weights.iter_mut().zip(&mut self.squares);
        for ((weight, square), gradient) in cells.zip(gradient) {
            let g = gradient + penalty * *weight;
            *square += g * g;
            *weight -= rate * g / (square.sqrt() + 1e-6);
        }
    }

    /// Less their mean, which moves no probability.
    fn thousandths(&self) -> Weights {
        let mean = self.weights.iter().sum::<f32>() / 3.0;
        self.weights.map(|w| ((w - mean) * 1e3).round() as i32)
    }
}

struct Fit {
    words: Vec<Cell>,
    flags: Vec<Cell>,
}

impl Fit {
    fn new(words: usize) -> Self {
        Self {
            words: vec![Cell::default(); words],
            flags: vec![Cell::default(); Flag::ALL.len()],
        }
    }

    fn step(&mut self, example: &Example, settings: &Settings) {
        let scale = 1.0 / (example.words.len().max(1) as f32).sqrt();
        let mut scores = [0.0f32; 3];
        for &word in &example.words {
            for (score, weight) in scores.iter_mut().zip(self.words[word as usize].weights) {
                *score += weight * scale;
            }
        }
        for &flag in &example.flags {
            for (score, weight) in scores.iter_mut().zip(self.flags[flag as usize].weights) {
                *score += weight;
            }
        }
        let mut gradient = softmax(scores, 1.0);
        gradient[example.label as usize] -= 1.0;
        let gradient = gradient.map(|g| g * example.weight);
        for &word in &example.words {
            let scaled = gradient.map(|g| g * scale);
            self.words[word as usize].step(scaled, settings.rate, settings.word_penalty);
        }
        for &flag in &example.flags {
            self.flags[flag as usize].step(gradient, settings.rate, settings.flag_penalty);
        }
    }
}

fn spread(w: &Weights) -> i32 {
    w.iter().max().unwrap_or(&0) - w.iter().min().unwrap_or(&0)
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], random: &mut SplitMix64) {
    for at in (1..order.len()).rev() {
        order.swap(at, (random.next() % (at as u64 + 1)) as usize);
    }
}
