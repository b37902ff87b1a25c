//! Whose logits differ from whose, and by how much.
//!
//! ```text
//!            CPU                       device
//!  ours      host path  --rounding--   window  ==  the same again  ==  all weights there
//!               |                        |
//!            same graph               same kernels
//!               |                        |
//!  llama.cpp its own    --rounding--   its own
//! ```
//!
//! `==` must be the same bits: kernels do the same each time, so that other bits come from a
//! copy that was overtaken. Between CPU and device other kernels round otherwise, and a model of
//! integers turns the last bit of an activation into its next step, which grows from layer to
//! layer. How far that goes is what llama.cpp differs from itself; ours may differ by as much. A
//! copy of the model in floats (`--also f32`) has no such steps, and must differ by little: an
//! error of the graph would show there.

use super::{Bench, Model, noise, same_bits};
use nmos::ggml::llama::{self, Load};
use nmos::model::{GgmlType, Slot, Tokenizer};
use nmos::oracle::{LlamaOracle, Oracle, TokenTree, WidthClass, argmax};
use nmos::river::WindowPlan;
use nmos::units::TokenId;
use serde::Serialize;

/// Tokens of each text, read in passes of [`WIDTH`].
const TOKENS: usize = 96;
const WIDTH: usize = 48;

/// Readings of the same text, besides the first, that must give the same bits.
const AGAIN: usize = 4;

/// How far ours may be from another's, as a multiple of how far llama.cpp's two are apart.
const ROUNDING: f64 = 1.5;

/// How far sums in another order are apart, as a share of the logits' spread.
const SUMS: f64 = 1e-3;

/// The same for floats of eleven bits, which kernels may round activations to.
const FLOATS: f64 = 0.05;

const TEXT: &str = "The river rises in the hills, runs east for two hundred miles, and reaches the \
sea in a wide delta. Nobody who lives there calls it by the name on the map.\n\n\
fn fibonacci(n: u64) -> u64 {\n    let (mut a, mut b) = (0, 1);\n    for _ in 0..n {\n        \
(a, b) = (b, a + b);\n    }\n    a\n}\n\nThe function above returns the same number each time that \
it is called with the same argument, because it reads nothing but its argument and writes nothing \
at all. Such a function is called pure.";

/// Two computations of one text.
#[derive(Debug, Serialize)]
pub struct Comparison {
    model: String,
    text: &'static str,
    what: &'static str,
    tokens: usize,
    same_bits: bool,
    /// Over all logits.
    mean: f64,
    worst: f32,
    largest_logit: f32,
    /// Root mean square of the difference as a share of the logits' own spread, in the mean over
    /// tokens.
    of_spread: f64,
    /// Tokens with the same largest logit.
    same_first: usize,
    /// Most that `of_spread` may be; zero asks for the same bits.
    limit: Option<f64>,
}

impl Comparison {
    fn holds(&self) -> bool {
        match self.limit {
            None => true,
            Some(0.0) => self.same_bits,
            Some(limit) => self.of_spread <= limit,
        }
    }

    /// What should hold and does not.
    pub fn failure(&self) -> Option<String> {
        (!self.holds()).then(|| format!("{} ({}, {})", self.what, self.text, self.model))
    }
}

/// The logits of a text, token by token.
type Rows = Vec<Vec<f32>>;

fn read(oracle: &mut dyn Oracle, tokens: &[TokenId]) -> anyhow::Result<Rows> {
    oracle.truncate(0);
    let mut rows = Vec::new();
    for chunk in tokens.chunks(WIDTH) {
        let output = oracle.pass(&TokenTree::chain(chunk, 0), WidthClass::BATCH)?;
        let row = |i| output.logits.of(i).map(<[f32]>::to_vec);
        rows.extend((0..chunk.len()).filter_map(row));
        oracle.commit(&(0..chunk.len()).collect::<Vec<_>>());
    }
    Ok(rows)
}

/// All texts once, and [`AGAIN`] times more.
fn read_again(
    oracle: &mut dyn Oracle,
    texts: &[(&'static str, Vec<TokenId>)],
) -> anyhow::Result<(Vec<Rows>, Vec<Vec<Rows>>)> {
    let all = |oracle: &mut dyn Oracle| -> anyhow::Result<Vec<Rows>> {
        texts
            .iter()
            .map(|(_, tokens)| read(oracle, tokens))
            .collect()
    };
    let first = all(oracle)?;
    let again = (0..AGAIN).map(|_| all(oracle)).collect::<Result<_, _>>()?;
    Ok((first, again))
}

impl Bench {
    /// Compares all pairs of the picture above.
    pub(super) fn compare(&mut self, model: &Model) -> anyhow::Result<()> {
        println!("comparing: {}", model.gguf.name());
        let mut tokens = Tokenizer::open(&model.path)?.text(TEXT)?;
        tokens.truncate(TOKENS);
        let texts = [
            ("text", tokens),
            ("noise", noise(TOKENS, 0, model.n_vocab())),
        ];
        let least = WindowPlan::least(&model.shards);
        let (window, window_again) = read_again(&mut self.open(model, Some(least))?, &texts)?;
        let mut host = self.open(model, None)?;
        let cpu: Vec<_> =
            (texts.iter().map(|(_, tokens)| read(&mut host, tokens))).collect::<Result<_, _>>()?;
        drop(host);
        let name = model.gguf.name();
        let mut found = Vec::new();
        let mut compare = |what, limit: &dyn Fn(usize) -> Option<f64>, a: &[Rows], b: &[Rows]| {
            for (i, (text, _)) in texts.iter().enumerate() {
                found.push(Comparison {
                    model: name.clone(),
                    text,
                    what,
                    limit: limit(i),
                    ..difference(&a[i], &b[i])
                });
            }
        };
        let exact = |_: usize| Some(0.0);
        for again in &window_again {
            compare("window, read again", &exact, again, &window);
        }
        let (free, _) = self.device.memory();
        if model.whole().0 + model.whole().0 / 4 > free.0 {
            compare("ours: device, CPU", &|_| None, &window, &cpu);
            self.report.compared.extend(found);
            println!("the rest is not compared: not all weights fit the device");
            return Ok(());
        }
        let (whole, whole_again) = read_again(&mut self.open(model, Some(model.whole()))?, &texts)?;
        for again in &whole_again {
            compare("all weights there, read again", &exact, again, &whole);
        }
        compare("window, all weights there", &exact, &window, &whole);
        let theirs = |loaded: Result<_, llama::LlamaError>| -> anyhow::Result<Vec<Rows>> {
            let (ctx, threads) = (self.args.ctx, self.args.threads);
            let mut oracle = LlamaOracle::new(&loaded?, ctx, threads, WIDTH)?;
            let rows = texts.iter().map(|(_, tokens)| read(&mut oracle, tokens));
            rows.collect()
        };
        let their_cpu = theirs(llama::load(&model.path, Load::WeightsAsStored))?;
        let their_device = theirs(llama::load_on(&model.path, self.device))?;
        let rounding = |i: usize| difference(&their_device[i], &their_cpu[i]).of_spread;
        let most = |i: usize| {
            let most = ROUNDING * rounding(i) + SUMS;
            Some(if is_float(model) {
                most.min(FLOATS)
            } else {
                most
            })
        };
        compare("CPU: ours, llama.cpp", &|_| Some(SUMS), &cpu, &their_cpu);
        compare(
            "llama.cpp: device, CPU",
            &|_| None,
            &their_device,
            &their_cpu,
        );
        compare("device: ours, llama.cpp", &most, &whole, &their_device);
        compare("ours: device, CPU", &most, &whole, &cpu);
        self.report.compared.extend(found);
        Ok(())
    }
}

/// Whether no activation is rounded to an integer.
fn is_float(model: &Model) -> bool {
    let float = |ty: GgmlType| matches!(ty, GgmlType::F32 | GgmlType::F16);
    let mut layers = model.layout.layers.iter();
    float(model.layout.output.ty)
        && layers.all(|layer| layer.get(Slot::Query).is_some_and(|q| float(q.ty)))
}

fn difference(a: &Rows, b: &Rows) -> Comparison {
    let mut found = Comparison {
        model: String::new(),
        text: "",
        what: "",
        tokens: a.len(),
        same_bits: a.len() == b.len(),
        mean: 0.0,
        worst: 0.0,
        largest_logit: 0.0,
        of_spread: 0.0,
        same_first: 0,
        limit: None,
    };
    let tokens = a.len() as f64;
    for (a, b) in a.iter().zip(b) {
        found.same_bits &= same_bits(a, b);
        found.same_first += usize::from(argmax(a) == argmax(b));
        let n = b.len() as f64;
        let center = b.iter().map(|&y| f64::from(y)).sum::<f64>() / n;
        let (mut apart, mut spread) = (0.0, 0.0);
        for (&x, &y) in a.iter().zip(b) {
            let by = (x - y).abs();
            // What is no number is worse than any.
            found.worst = if by.is_nan() {
                f32::INFINITY
            } else {
                found.worst.max(by)
            };
            found.largest_logit = found.largest_logit.max(y.abs());
            found.mean += f64::from(by) / n / tokens;
            apart += f64::from(by).powi(2);
            spread += (f64::from(y) - center).powi(2);
        }
        found.of_spread += (apart / spread).sqrt() / tokens;
    }
    found
}

/// One line for each pair, those of repeated readings as one.
pub fn print(all: &[Comparison]) {
    let widest = all.iter().map(|c| c.what.len()).max().unwrap_or(0);
    let mut model = "";
    let mut shown: Vec<&Comparison> = Vec::new();
    for row in all {
        if row.model != model {
            model = &row.model;
            println!("\n{model}");
            println!(
                "  {:widest$}  text   bits   mean     worst    of spread  limit   same first",
                "logits"
            );
        }
        let same = |s: &&Comparison| {
            (&s.model, s.what, s.text) == (&row.model, row.what, row.text) && s.holds()
        };
        if row.holds() && shown.iter().any(same) {
            continue;
        }
        shown.push(row);
        let limit = match row.limit {
            None => "-".to_owned(),
            Some(0.0) => "bits".to_owned(),
            Some(limit) => format!("{limit:.4}"),
        };
        println!(
            "  {:widest$}  {:5}  {:5}  {:<7.4}  {:<7.3}  {:<9.5}  {limit:6}  {} of {}{}",
            row.what,
            row.text,
            if row.same_bits { "same" } else { "other" },
            row.mean,
            row.worst,
            row.of_spread,
            row.same_first,
            row.tokens,
            if row.holds() { "" } else { "  DOES NOT HOLD" }
        );
    }
    println!();
}
