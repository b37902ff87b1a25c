//! What a trace gave: its run, its baseline, and whether the two are sound.

use super::{Case, Run};
use crate::telemetry::AnswerStats;
use crate::vocabulary::Label;
use serde::Serialize;
use serde::ser::{Error, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// One trace's result.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: String,
    pub file: String,
    pub provenance: Option<String>,
    /// What the prompt asks for, by the trace's header.
    pub label: Option<String>,
    pub chars: usize,
    /// The text hashes to what the header says, in every run; `None` where none submitted.
    pub hash_ok: Option<bool>,
    /// Both runs answered with the same text; `None` without two answers.
    pub texts_agree: Option<bool>,
    /// Of the typed run, with what the baseline adds to it.
    pub stats: Option<AnswerStats>,
    pub cold: Option<AnswerStats>,
    pub errors: Vec<String>,
    pub notices: Vec<String>,
}

impl Row {
    /// Puts together what a trace's runs gave.
    pub fn new(case: &Case, typed: Run, cold: Option<Run>) -> Self {
        let header = case.trace.header();
        let mut row = Self {
            id: case.id(),
            file: case.path.display().to_string(),
            provenance: header.provenance.clone(),
            label: header.label.clone(),
            chars: header.final_chars,
            hash_ok: None,
            texts_agree: None,
            stats: None,
            cold: None,
            errors: Vec::new(),
            notices: Vec::new(),
        };
        row.stats = row.take("typed", typed, &header.final_sha256);
        if let Some(cold) = cold {
            row.cold = row.take("cold", cold, &header.final_sha256);
        }
        if let (Some(stats), Some(cold)) = (&mut row.stats, &row.cold) {
            let agree = stats.text == cold.text && stats.thinking == cold.thinking;
            row.texts_agree = Some(agree);
            if !agree && may_part(stats, cold) {
                row.notices.push(format!(
                    "{DIFFERS}, as it may on a GPU, where two tokens are nearly as likely"
                ));
            }
            stats.cold_ttft_ms = cold.ttft_ms;
            stats.hidden_fraction = hidden(stats.ttft_ms, cold.ttft_ms);
        }
        row
    }

    /// Adds what a run says besides its figures, and hands those back.
    fn take(&mut self, name: &str, run: Run, wanted_sha256: &str) -> Option<AnswerStats> {
        if let Some(found) = &run.prompt_sha256 {
            let right = found.eq_ignore_ascii_case(wanted_sha256);
            self.hash_ok = Some(self.hash_ok.unwrap_or(true) && right);
        }
        let named = |text| format!("{name}: {text}");
        self.errors.extend(run.error.map(named));
        self.notices.extend(run.notices.into_iter().map(named));
        run.stats
    }

    /// What is wrong with it, in words; nothing where it is sound.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.errors.clone();
        if self.hash_ok == Some(false) {
            faults.push("the text that was submitted is not the trace's".to_owned());
        }
        let explained = matches!((&self.stats, &self.cold), (Some(a), Some(b)) if may_part(a, b));
        if self.texts_agree == Some(false) && !explained {
            faults.push(DIFFERS.to_owned());
        }
        faults
    }

    /// Whether the scout was right; `None` where either label is missing.
    pub fn scout_right(&self) -> Option<bool> {
        let guessed: Label = self.stats.as_ref()?.scout_label?;
        let label = self.label.as_ref()?;
        Some(label.eq_ignore_ascii_case(guessed.name()))
    }
}

const DIFFERS: &str = "the answer differs from the cold one";

/// Whether rounding may have told two answers apart.
fn may_part(a: &AnswerStats, b: &AnswerStats) -> bool {
    a.rounded || b.rounded
}

/// `1 - ttft / cold`.
fn hidden(ttft_ms: Option<f64>, cold_ms: Option<f64>) -> Option<f64> {
    let cold_ms = cold_ms.filter(|&ms| ms > 0.0)?;
    Some(1.0 - ttft_ms? / cold_ms)
}

/// How often the scout was right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScoutScore {
    /// Rows where both the trace and the scout have a label.
    pub labelled: usize,
    pub right: usize,
}

impl ScoutScore {
    pub fn of(rows: &[Row]) -> Self {
        let judged: Vec<_> = rows.iter().filter_map(Row::scout_right).collect();
        Self {
            labelled: judged.len(),
            right: judged.iter().filter(|&&right| right).count(),
        }
    }
}

impl Serialize for Row {
    /// The trace's facts and, next to them, every figure by its name in the contract: null
    /// where the run has none.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("provenance", &self.provenance)?;
        map.serialize_entry("label", &self.label)?;
        map.serialize_entry("chars", &self.chars)?;
        map.serialize_entry("hash_ok", &self.hash_ok)?;
        map.serialize_entry("texts_agree", &self.texts_agree)?;
        for (name, value) in figures(self.stats.as_ref()).map_err(S::Error::custom)? {
            map.serialize_entry(&name, &value)?;
        }
        map.serialize_entry("cold", &self.cold)?;
        map.serialize_entry("errors", &self.errors)?;
        map.serialize_entry("notices", &self.notices)?;
        map.end()
    }
}

/// The figures by name; all null where there are none.
fn figures(stats: Option<&AnswerStats>) -> serde_json::Result<Map<String, Value>> {
    let value = match stats {
        Some(stats) => serde_json::to_value(stats)?,
        None => serde_json::to_value(AnswerStats::default())?,
    };
    let Value::Object(mut map) = value else {
        return Ok(Map::new());
    };
    if stats.is_none() {
        map.values_mut().for_each(|value| *value = Value::Null);
    }
    Ok(map)
}
