//! What is known of one trace after its run, and its baseline's.

use super::{Chosen, Run};
use crate::telemetry::AnswerStats;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// Which of a pair of runs came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    TypedFirst,
    ColdFirst,
    /// There was no baseline.
    TypedOnly,
}

/// One trace's line of the report.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: String,
    /// The file's name.
    pub file: String,
    pub provenance: Option<String>,
    /// What the prompt asks for, where the trace says so.
    pub label: Option<String>,
    /// Length of the submitted text, in Unicode scalar values.
    pub chars: usize,
    /// From the first event to Enter, as it was replayed.
    pub typing_ms: f64,
    /// SHA-256 that the submitted text must have.
    pub final_sha256: String,
    pub order: Order,
    pub typed: Run,
    pub cold: Option<Run>,
}

impl Row {
    /// The row of `chosen`, replayed `speed` times as fast as it was typed.
    pub fn new(chosen: &Chosen, speed: f64, order: Order, typed: Run, cold: Option<Run>) -> Self {
        let header = chosen.trace.header();
        let last_us = chosen.trace.events().last().map_or(0, |e| e.t_us);
        let mut row = Self {
            id: chosen.id(),
            file: chosen
                .path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            provenance: header.provenance.clone(),
            label: header.label.clone(),
            chars: header.final_chars,
            typing_ms: last_us as f64 / speed / 1e3,
            final_sha256: header.final_sha256.to_ascii_lowercase(),
            order,
            typed,
            cold,
        };
        row.compare();
        row
    }

    /// Fills in what the two runs say together.
    fn compare(&mut self) {
        let Some(stats) = &mut self.typed.stats else {
            return;
        };
        let cold = self.cold.as_ref().and_then(|cold| cold.stats.as_ref());
        stats.cold_ttft_ms = cold.and_then(|cold| cold.ttft_ms);
        stats.hidden_fraction = match (stats.ttft_ms, stats.cold_ttft_ms) {
            (Some(ttft), Some(cold)) if cold > 0.0 => Some(1.0 - ttft / cold),
            _ => None,
        };
    }

    /// The figures of the typed run.
    pub fn stats(&self) -> Option<&AnswerStats> {
        self.typed.stats.as_ref()
    }

    /// Whether every text that the session submitted is the one that was typed; `None` where a
    /// run submitted none.
    pub fn hash_ok(&self) -> Option<bool> {
        let mut all = true;
        for run in self.runs() {
            all &= *run.prompt_sha256.as_ref()? == self.final_sha256;
        }
        Some(all)
    }

    /// Whether run and baseline gave the same text; `None` without both.
    pub fn texts_agree(&self) -> Option<bool> {
        let cold = self.cold.as_ref()?.stats.as_ref()?;
        Some(self.stats()?.text == cold.text)
    }

    /// Whether the scout was right; `None` where it had no say or nobody knows.
    pub fn scout_right(&self) -> Option<bool> {
        Some(self.stats()?.scout_label?.name() == self.label.as_deref()?)
    }

    /// What is wrong with the row, in words; its figures count only where nothing is.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (run, name) in self.runs().zip(["typed", "cold"]) {
            faults.extend(run.errors.iter().map(|error| format!("{name}: {error}")));
            if run.stats.is_none() && run.errors.is_empty() {
                faults.push(format!("{name}: no answer"));
            }
            match &run.prompt_sha256 {
                Some(found) if *found != self.final_sha256 => faults.push(format!(
                    "{name}: the submitted text hashes to {}, the trace says {}",
                    short(found),
                    short(&self.final_sha256)
                )),
                _ => {}
            }
        }
        if self.texts_agree() == Some(false) {
            faults.push("the answers of run and baseline differ".into());
        }
        faults
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        std::iter::once(&self.typed).chain(&self.cold)
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// The figures under the contract's names; each is null where the answer failed.
fn figures(run: &Run) -> serde_json::Result<Map<String, Value>> {
    let known = run.stats.is_some();
    let stats = run.stats.clone().unwrap_or_default();
    let mut map = match serde_json::to_value(stats)? {
        Value::Object(map) => map,
        // A struct is always an object.
        _ => Map::new(),
    };
    if !known {
        map.values_mut().for_each(|value| *value = Value::Null);
    }
    map.insert("ttft_outside_ms".into(), run.ttft_outside_ms.into());
    map.insert("prompt_sha256".into(), run.prompt_sha256.clone().into());
    Ok(map)
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("trace", &self.id)?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("provenance", &self.provenance)?;
        map.serialize_entry("label", &self.label)?;
        map.serialize_entry("chars", &self.chars)?;
        map.serialize_entry("typing_ms", &self.typing_ms)?;
        map.serialize_entry("order", &self.order)?;
        map.serialize_entry("final_sha256", &self.final_sha256)?;
        map.serialize_entry("hash_ok", &self.hash_ok())?;
        map.serialize_entry("texts_agree", &self.texts_agree())?;
        map.serialize_entry("scout_right", &self.scout_right())?;
        map.serialize_entry("faults", &self.faults())?;
        for (name, value) in figures(&self.typed).map_err(S::Error::custom)? {
            map.serialize_entry(&name, &value)?;
        }
        let cold = self.cold.as_ref().map(figures).transpose();
        map.serialize_entry("cold", &cold.map_err(S::Error::custom)?)?;
        map.end()
    }
}
