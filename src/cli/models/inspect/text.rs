//! The report in lines for people: a label, and what is to be said of it, in 80 columns.

use super::{OnThisMachine, Report};
use crate::model::ThinkOff;
use crate::model::inspect::{Context, ModelFacts, Prompts, TensorLine, Vocabulary, Weights};
use crate::tui::{clean_line, count, fit, wrap_line};
use crate::units::Bytes;
use std::io::{self, Write};

/// Columns of a line, and of a label with the space after it.
const WIDTH: usize = 80;
const LABEL: usize = 16;

/// Columns of a tensor's name, of its type, and of its dimensions.
const NAME: usize = 34;
const TYPE: usize = 8;
const DIMS: usize = 22;

/// Tokens a second beyond which a speed that follows from the memory's is none.
const FASTEST: f64 = 1000.0;

/// Prints all of `report`, whose file has `tensors` tensors.
pub(super) fn print(report: &Report, tensors: usize, out: &mut impl Write) -> io::Result<()> {
    let facts = &report.facts;
    writeln!(out, "{}", fit(&clean_line(&facts.name), WIDTH, "..."))?;
    writeln!(out, "  {}\n", clean_line(&report.path))?;
    if let Some(what) = &facts.not_a_model {
        field(out, "this is", what)?;
    }
    model(facts, out)?;
    context(&facts.context, out)?;
    if let Some(vocabulary) = &facts.vocabulary {
        self::vocabulary(vocabulary, out)?;
    }
    if let Some(prompts) = &facts.prompts {
        self::prompts(prompts, out)?;
    }
    here(&report.on_this_machine, facts, out)?;
    groups(&facts.weights, out)?;
    self::tensors(&facts.weights.tensors, tensors, out)
}

fn model(facts: &ModelFacts, out: &mut impl Write) -> io::Result<()> {
    let weights = &facts.weights;
    let layers = facts
        .layers
        .map_or(String::new(), |n| format!(", {n} layers"));
    field(
        out,
        "architecture",
        &format!("{}{layers}", facts.architecture),
    )?;
    let mut parameters = rounded(weights.parameters);
    if let Some(active) = weights.active_parameters {
        parameters += &format!(", of which a token uses {}", rounded(active));
    }
    if let Some(experts) = weights
        .experts
        .filter(|_| weights.active_parameters.is_some())
    {
        parameters += &format!(" ({} of {} experts a layer)", experts.used, experts.count);
    }
    field(out, "parameters", &parameters)?;
    let mut file = Bytes(facts.file_bytes).to_string();
    if facts.files > 1 {
        file += &format!(" in {} parts", facts.files);
    }
    if let Some(kind) = &facts.file_type {
        file += &format!(", {kind}");
    }
    field(
        out,
        "file",
        &format!("{file}, {:.2} bits a weight", weights.bits_per_weight),
    )?;
    let types = weights.types.iter();
    let types: Vec<_> = types
        .map(|of| format!("{} {} ({})", of.ty, Bytes(of.bytes), of.tensors))
        .collect();
    field(out, "types (tensors)", &types.join(", "))
}

fn context(context: &Context, out: &mut impl Write) -> io::Result<()> {
    let mut text = match context.tokens {
        Some(tokens) => format!("{} tokens", count(tokens)),
        None => "not said".to_owned(),
    };
    if let Some(scaling) = &context.rope_scaling {
        text += &format!(", positions scaled: {}", scaling.kind);
        if let Some(factor) = scaling.factor {
            text += &format!(" by {factor}");
        }
        if let Some(tokens) = scaling.original_tokens {
            text += &format!(" from {}", count(tokens));
        }
    }
    if let Some(tokens) = context.sliding_window_tokens {
        text += &format!("; a sliding window of {}", count(tokens));
    }
    field(out, "context", &text)
}

fn vocabulary(of: &Vocabulary, out: &mut impl Write) -> io::Result<()> {
    let kind = match of.tokenizer.as_str() {
        "llama" => "SentencePiece",
        "gpt2" => "byte pairs",
        "bert" => "WordPiece",
        "t5" => "unigrams",
        other => other,
    };
    let mut text = format!("{} tokens, {kind}", count(of.tokens));
    if let Some(split) = &of.split {
        text += &format!(", split as {split}");
    }
    if of.padding > 0 {
        text += &format!("; {} are padding", count(of.padding));
    }
    if let Some(rows) = of.embedding_rows.filter(|rows| *rows != of.tokens) {
        text += &format!("; the embedding has {} rows", count(rows));
    }
    field(out, "vocabulary", &text)?;
    let special = of.special.iter().map(|token| {
        let text = token.text.as_deref().unwrap_or("no such token");
        // As the key is spelt.
        let purpose = token.purpose.replace("seperator", "separator");
        let purpose = purpose.replace('_', " ");
        format!("{purpose} {} ({})", quoted(text), token.id)
    });
    let special: Vec<_> = special.collect();
    if !special.is_empty() {
        field(out, "special tokens", &special.join(", "))?;
    }
    match of.adds_begin {
        Some(true) => field(out, "", "prompts begin with the token for it (bos)"),
        _ => Ok(()),
    }
}

fn prompts(of: &Prompts, out: &mut impl Write) -> io::Result<()> {
    let mut text = of.template.clone();
    if !of.other_templates.is_empty() {
        let others = of.other_templates.join(", ");
        text += &format!("; the file has others that are not used: {others}");
    }
    field(out, "chat template", &text)?;
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let takes = format!(
        "system text: {}, tools: {}",
        yes_no(of.system),
        yes_no(of.tools)
    );
    field(out, "", &takes)?;
    match &of.thinking {
        Some(marks) => {
            let off = match marks.think_off {
                ThinkOff::Silences => "turned off by --think off",
                ThinkOff::Shortens => "kept short by --think off",
                ThinkOff::Nothing => "cannot be turned off",
            };
            let (opens, closes) = (quoted(marks.opens), quoted(marks.closes));
            let text = format!("between {opens} and {closes}; {off}");
            field(out, "thoughts", &text)?;
        }
        None => field(out, "thoughts", "none are known of")?,
    }
    let tokens = of.ends.iter();
    let tokens = tokens.map(|token| format!("{} ({})", quoted(&token.text), token.id));
    let stops = of.stops.iter().map(|stop| quoted(stop));
    let ends: Vec<_> = tokens.chain(stops).collect();
    match ends.is_empty() {
        true => field(
            out,
            "answers end at",
            "their length alone: nothing else ends them",
        ),
        false => field(out, "answers end at", &ends.join(", ")),
    }
}

fn here(of: &OnThisMachine, facts: &ModelFacts, out: &mut impl Write) -> io::Result<()> {
    if let Some(why) = &of.refused {
        // What a file is has been said.
        return match facts.not_a_model {
            Some(_) => Ok(()),
            None => field(out, "on this machine", &format!("does not run: {why}")),
        };
    }
    let mut text = of.form.unwrap_or_default().to_owned();
    if let Some(ram) = of.ram_bytes {
        text += &format!(" in {ram} of memory");
    }
    if let Some(bytes) = of.predicted_bytes_a_pass.filter(|bytes| bytes.0 > 0) {
        text += &format!(", a pass reads {bytes}");
    }
    // Of a model that small, what is computed says little.
    if let Some(speed) = of.predicted_tokens_per_s.filter(|s| *s < FASTEST) {
        text += &format!(", at most about {} tokens/s", significant(speed));
    }
    if of.predicted_bytes_a_pass.is_some() {
        text += " (predicted, without a draft)";
    }
    field(out, "on this machine", &text)?;
    match &of.llama_cpp_since {
        Some(why) => field(out, "", &format!("by llama.cpp's graph, since {why}")),
        None => field(out, "", "by NMOS's own graph"),
    }
}

fn groups(weights: &Weights, out: &mut impl Write) -> io::Result<()> {
    if weights.groups.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<16} {:>10} {:>7} {:>14} {:>8}",
        "part", "size", "share", "parameters", "tensors"
    )?;
    for of in &weights.groups {
        let share = of.bytes as f64 * 100.0 / (weights.bytes as f64).max(1.0);
        writeln!(
            out,
            "{:<16} {:>10} {share:>6.1}% {:>14} {:>8}",
            of.group.name(),
            Bytes(of.bytes).to_string(),
            rounded(of.parameters),
            of.tensors
        )?;
    }
    Ok(())
}

fn tensors(shown: &[TensorLine], all: usize, out: &mut impl Write) -> io::Result<()> {
    if shown.is_empty() {
        return Ok(());
    }
    let title = match shown.len() {
        n if n < all => format!("the largest of {all} tensors"),
        n => format!("{n} tensors"),
    };
    writeln!(
        out,
        "\n{title:<NAME$} {:<TYPE$} {:>DIMS$} {:>12}",
        "type", "dimensions", "size"
    )?;
    for tensor in shown {
        let dims: Vec<_> = tensor.dims.iter().map(u64::to_string).collect();
        writeln!(
            out,
            "{:<NAME$} {:<TYPE$} {:>DIMS$} {:>12}",
            fit(&clean_line(&tensor.name), NAME, "..."),
            tensor.ty,
            dims.join(" x "),
            Bytes(tensor.bytes).to_string()
        )?;
    }
    Ok(())
}

/// A label and a text, which goes on below itself where it is long.
fn field(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    let text = clean_line(text);
    for (row, range) in wrap_line(&text, WIDTH - LABEL).into_iter().enumerate() {
        let label = if row == 0 { label } else { "" };
        writeln!(out, "{label:<LABEL$}{}", text[range].trim_end())?;
    }
    Ok(())
}

/// A token's text in quotes, with what a line cannot show escaped.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// A large number as people say it: 1.54 billion.
fn rounded(n: u64) -> String {
    match n as f64 {
        n if n >= 1e12 => format!("{:.2} trillion", n / 1e12),
        n if n >= 1e9 => format!("{:.2} billion", n / 1e9),
        n if n >= 1e6 => format!("{:.1} million", n / 1e6),
        _ => count(n),
    }
}

/// Two digits that mean something.
fn significant(speed: f64) -> String {
    match speed {
        s if s >= 9.95 => format!("{s:.0}"),
        s if s >= 0.995 => format!("{s:.1}"),
        s => format!("{s:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below_itself_in_80_columns() {
        let mut out = Vec::new();
        field(&mut out, "label", &"word\x1b ".repeat(40)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() > 2, "{text}");
        assert!(lines[0].starts_with("label           word word"), "{text}");
        for line in &lines {
            assert!(line.len() <= 80 && !line.contains('\x1b'), "{line:?}");
        }
        assert!(lines[1].starts_with("                word"), "{text}");
    }

    #[test]
    fn figures_are_rounded_as_people_say_them() {
        assert_eq!(rounded(1_543_714_304), "1.54 billion");
        assert_eq!(rounded(134_515_008), "134.5 million");
        assert_eq!(rounded(12_345), "12,345");
        assert_eq!(significant(12.34), "12");
        assert_eq!(significant(0.0312), "0.03");
    }
}
