//! How models mark their thoughts: a table of the published formats, by which a model's is
//! recognised, and what its template does with thoughts of earlier turns.
//!
//! ```text
//!  <think>            open           the answer may begin with it, or the prompt end with it
//!  ...
//!  </think>           close
//!  <response>         header         some formats mark the answer's own text too
//!  ...
//!  </response>        stop
//! ```
//!
//! Sources are the chat templates and model cards that the models' makers publish, and OpenAI's
//! description of the harmony format.

use super::jinja::Message;
use super::marks::ControlNames;
use super::{Form, PROBES};
use crate::model::Tokenizer;

/// One format.
pub(super) struct Markers {
    /// What is in a template, or among a vocabulary's tokens, of models that think so.
    known_by: &'static [&'static str],
    /// What begins a thought; the first is what a template writes. Without space at the ends.
    pub opens: &'static [&'static str],
    pub close: &'static str,
    /// What may come before the answer's own text.
    pub headers: &'static [&'static str],
    /// What opens and headers end with, where parameters may come before that.
    pub after_parameters: Option<&'static str>,
    /// What ends an answer that has such a header, and no other; the first is what models write.
    pub stops: &'static [&'static str],
    /// What closes a thought where the template shows no closing.
    closing: &'static str,
}

/// Tags around thoughts, and nothing else.
const fn tags(
    open: &'static [&'static str; 1],
    close: &'static str,
    closing: &'static str,
) -> Markers {
    Markers {
        known_by: open,
        opens: open,
        close,
        headers: &[],
        after_parameters: None,
        stops: &[],
        closing,
    }
}

/// The most specific first: the first that is recognised holds.
static FORMATS: [Markers; 13] = [
    // gpt-oss: messages on channels. What it says before a call of a tool (commentary) is no
    // answer either.
    Markers {
        known_by: &["<|channel|>", "<|message|>"],
        opens: &[
            "<|channel|>analysis<|message|>",
            "<|start|>assistant<|channel|>analysis<|message|>",
            "<|channel|>commentary<|message|>",
            "<|start|>assistant<|channel|>commentary<|message|>",
        ],
        close: "<|end|>",
        headers: &[
            "<|channel|>final<|message|>",
            "<|start|>assistant<|channel|>final<|message|>",
        ],
        after_parameters: Some("<|message|>"),
        stops: &[],
        closing: "<|end|><|start|>assistant<|channel|>final<|message|>",
    },
    // Gemma 4.
    tags(&["<|channel>thought"], "<channel|>", "<channel|>"),
    // Magistral, Ministral.
    tags(&["[THINK]"], "[/THINK]", "[/THINK]"),
    // Seed-OSS.
    tags(&["<seed:think>"], "</seed:think>", "</seed:think>"),
    // Command-A, Command-R7B.
    Markers {
        headers: &["<|START_RESPONSE|>"],
        stops: &["<|END_RESPONSE|>"],
        ..tags(
            &["<|START_THINKING|>"],
            "<|END_THINKING|>",
            "<|END_THINKING|><|START_RESPONSE|>",
        )
    },
    // Apertus.
    tags(
        &["<|inner_prefix|>"],
        "<|inner_suffix|>",
        "<|inner_suffix|>",
    ),
    // EXAONE Deep.
    tags(&["<thought>"], "</thought>", "\n</thought>\n\n"),
    // Kimi-VL.
    tags(&["◁think▷"], "◁/think▷", "◁/think▷"),
    // Apriel.
    Markers {
        known_by: &["Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"],
        headers: &["[BEGIN FINAL RESPONSE]"],
        stops: &["[END FINAL RESPONSE]"],
        ..tags(
            &["Here are my reasoning steps:"],
            "[BEGIN FINAL RESPONSE]",
            "\n[BEGIN FINAL RESPONSE]\n",
        )
    },
    // Granite 3.2.
    Markers {
        known_by: &["Here is my thought process:", "Here is my response:"],
        ..tags(
            &["Here is my thought process:"],
            "Here is my response:",
            "\n\nHere is my response:\n\n",
        )
    },
    // Granite 3.3.
    Markers {
        known_by: &["<think>", "<response>"],
        headers: &["<response>"],
        stops: &["</response>"],
        ..tags(&["<think>"], "</think>", "</think>\n<response>")
    },
    // Hunyuan.
    Markers {
        known_by: &["<think>", "<answer>"],
        headers: &["<answer>"],
        stops: &["</answer>"],
        ..tags(&["<think>"], "</think>", "\n</think>\n<answer>\n")
    },
    // Qwen, DeepSeek, GLM, SmolLM, MiniMax, Nemotron, Kimi K2 and most others.
    COMMON,
];

const COMMON: Markers = Markers {
    // Some templates write the opening, others only look for the closing.
    known_by: &["</think>"],
    ..tags(&["<think>"], "</think>", "\n</think>\n\n")
};

/// Names under which templates take an earlier answer's thought apart from its text.
const FIELDS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// How an earlier answer goes into the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// With its thought, as it was said: the template takes out what it does not want.
    AsSaid,
    /// Its text, and the thought in a field of this name.
    Field(&'static str),
    /// Its text alone.
    TextOnly,
}

impl Markers {
    #[cfg(test)]
    pub(super) fn common() -> &'static Self {
        &FORMATS[FORMATS.len() - 1]
    }

    #[cfg(test)]
    pub(super) fn of_channels() -> &'static Self {
        &FORMATS[0]
    }

    /// Those in which what closes a thought begins the answer.
    #[cfg(test)]
    pub(super) fn of_final_responses() -> &'static Self {
        let found = FORMATS.iter().find(|m| m.close.starts_with("[BEGIN"));
        found.unwrap_or_else(|| unreachable!("Apriel's"))
    }

    /// Those of an answer in a tag of its own.
    #[cfg(test)]
    pub(super) fn with_answer_tags() -> &'static Self {
        &FORMATS[FORMATS.len() - 2]
    }

    /// The format that the template's text, or else the vocabulary, is for.
    pub(super) fn recognise(
        source: Option<&str>,
        tokenizer: &Tokenizer,
        names: &ControlNames,
    ) -> Option<&'static Self> {
        let written = |text: &str| source.is_some_and(|source| source.contains(text));
        let is_token = |text: &str| names.has(text) || is_one_token(tokenizer, text);
        let all = |markers: &Self, has: &dyn Fn(&str) -> bool| {
            markers.known_by.iter().all(|text| has(text))
        };
        FORMATS
            .iter()
            .find(|markers| all(markers, &written))
            .or_else(|| FORMATS.iter().find(|markers| all(markers, &is_token)))
    }

    /// What opens a thought, as templates write it.
    pub(super) fn open(&self) -> &'static str {
        self.opens[0]
    }

    /// What ends an answer that has a header, as models write it; empty where nothing does.
    pub(super) fn stop(&self) -> &'static str {
        self.stops.first().copied().unwrap_or_default()
    }

    /// How many marks of an answer's own text there are.
    fn answer_marks(&self, text: &str) -> usize {
        let marks = self.headers.iter().chain(self.stops);
        marks.map(|mark| text.matches(mark).count()).sum()
    }

    /// Whether a header is right before the probe's answer.
    fn has_header(&self, text: &str) -> bool {
        let before = text.split(PROBES.answer).next().unwrap_or_default();
        self.headers
            .iter()
            .any(|header| before.trim_end().ends_with(header))
    }

    /// Tries what the form does with the thought of an earlier answer.
    pub(super) fn past(&self, form: &Form) -> Past {
        let said = format!(
            "{}\n{}\n{}{}{}",
            self.open(),
            PROBES.thought,
            self.written_closing(),
            PROBES.answer,
            self.stop(),
        );
        let earlier = |answer| {
            let messages = [
                Message::new("user", PROBES.user),
                answer,
                Message::new("user", PROBES.later_user),
            ];
            let text = form.render(&messages, true).ok();
            text.filter(|text| text.contains(PROBES.answer))
        };
        let thinks = |text: &String| text.contains(PROBES.thought);
        let plain = earlier(Message::new("assistant", PROBES.answer)).unwrap_or_default();
        let as_said = earlier(Message::new("assistant", &said));
        if let Some(text) = as_said.as_ref().filter(|text| !thinks(text)) {
            // It may take out the thought alone, and leave what is around the answer.
            return match self.answer_marks(text) > self.answer_marks(&plain) {
                true => Past::TextOnly,
                false => Past::AsSaid,
            };
        }
        // A field that the template reads is in the last answer, if in none before it.
        let reads = |field: &&'static str| {
            let answer = Message::new("assistant", PROBES.answer).thinking(field, PROBES.thought);
            let last = form.render(&[Message::new("user", PROBES.user), answer], false);
            let last = last.ok().filter(|text| text.contains(PROBES.answer));
            earlier(answer)
                .is_some_and(|text| thinks(&text) || last.is_some_and(|last| thinks(&last)))
        };
        match (FIELDS.into_iter().find(reads), as_said) {
            (Some(field), _) => Past::Field(field),
            // The thought would be within what the form writes around the answer.
            (None, Some(_)) if self.has_header(&plain) => Past::TextOnly,
            (None, Some(_)) => Past::AsSaid,
            (None, None) => Past::TextOnly,
        }
    }

    /// What the form writes between the thought and the text of the last answer; else what models
    /// of this format do.
    pub(super) fn closing(&self, form: &Form) -> String {
        let shown = FIELDS.iter().find_map(|field| {
            let answer = Message::new("assistant", PROBES.answer).thinking(field, PROBES.thought);
            let messages = [Message::new("user", PROBES.user), answer];
            let text = form.render(&messages, false).ok()?;
            let (_, after) = text.split_once(PROBES.thought)?;
            let (closing, _) = after.split_once(PROBES.answer)?;
            closing.contains(self.close).then(|| closing.to_owned())
        });
        shown.unwrap_or_else(|| self.closing.to_owned())
    }

    /// The same without asking a form.
    pub(super) fn written_closing(&self) -> &'static str {
        self.closing
    }

    /// The thought without a word that the form writes before an answer that has none, if it does,
    /// up to that answer.
    pub(super) fn empty_block(&self, form: &Form) -> Option<String> {
        let messages = [
            Message::new("user", PROBES.user),
            Message::new("assistant", PROBES.answer),
        ];
        let text = form.render(&messages, false).ok()?;
        let (_, after) = text.split_once(PROBES.user)?;
        let (before, _) = after.split_once(PROBES.answer)?;
        let block = &before[before.rfind(self.open())?..];
        let inside = block[self.open().len()..].split_once(self.close)?.0;
        inside.trim().is_empty().then(|| block.to_owned())
    }
}

/// Whether the vocabulary has a token of its own for this text.
fn is_one_token(tokenizer: &Tokenizer, text: &str) -> bool {
    let tokens = tokenizer.text_within(text).unwrap_or_default();
    tokens.len() == 1 && tokenizer.bytes(tokens[0]) == text.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_closing_closes_and_no_marker_has_space_at_its_ends() {
        for markers in &FORMATS {
            let open = markers.open();
            assert!(markers.closing.contains(markers.close), "{open}");
            for text in markers.opens.iter().chain(markers.headers) {
                assert_eq!(text.trim(), *text);
            }
            assert_eq!(markers.close.trim(), markers.close);
        }
    }
}
