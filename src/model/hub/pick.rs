//! Which of a repository's files are the model that was asked for.
//!
//! ```text
//!   README.md  mmproj-F16.gguf            not models: left out
//!   Qwen3-8B-Q8_0.gguf                    a model: one file
//!   Q4_K_M/Big-Q4_K_M-00001-of-00002.gguf a model: all of its parts
//!             `-- its quantisation, by which it is asked for
//! ```
//!
//! The same choice is made among the files of a repository and among those of it that are in the
//! cache.

use std::path::{Path, PathBuf};

use crate::model::gguf::SplitName;
use crate::units::Bytes;

/// What is taken where nothing is asked for: the usual trade of size for quality.
pub const USUAL: &str = "Q4_K_M";
const USUAL_BITS: f64 = 4.9;

/// Bits that a weight takes, of the types that repositories offer: llama.cpp's own figures for an
/// 8B model (`tools/quantize/README.md`), rounded. Only the order of sizes rests on them.
const BITS: [(&str, f64); 36] = [
    ("IQ1_S", 2.0),
    ("TQ1_0", 1.9),
    ("IQ1_M", 2.1),
    ("TQ2_0", 2.3),
    ("IQ2_XXS", 2.4),
    ("IQ2_XS", 2.6),
    ("IQ2_S", 2.7),
    ("IQ2_M", 2.9),
    ("Q2_K_S", 3.0),
    ("Q2_K", 3.2),
    ("Q2_K_L", 3.3),
    ("Q2_K_XL", 3.3),
    ("IQ3_XXS", 3.3),
    ("IQ3_XS", 3.5),
    ("Q3_K_S", 3.6),
    ("IQ3_S", 3.7),
    ("IQ3_M", 3.8),
    ("Q3_K_M", 4.0),
    ("Q3_K_L", 4.3),
    ("Q3_K_XL", 4.3),
    ("MXFP4", 4.3),
    ("MXFP4_MOE", 4.3),
    ("NVFP4", 4.5),
    ("IQ4_XS", 4.5),
    ("Q4_0", 4.7),
    ("IQ4_NL", 4.7),
    ("Q4_K_S", 4.7),
    (USUAL, USUAL_BITS),
    ("Q4_K_XL", 5.0),
    ("Q4_1", 5.1),
    ("Q5_K_S", 5.6),
    ("Q5_0", 5.6),
    ("Q5_K_M", 5.7),
    ("Q6_K", 6.6),
    ("Q8_0", 8.5),
    ("BF16", 16.0),
];

/// Beginnings of names of files that go with a model and are none: projectors of pictures, draft
/// heads, importance matrices.
const NOT_MODELS: [&str; 4] = ["mmproj", "mtp-", "imatrix", "ggml-vocab"];

/// A model among files: one, or all parts of a split one in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name in one piece, with folders.
    pub file: String,
    pub parts: Vec<String>,
    /// The quantisation that its name tells; `None` where it tells none.
    pub quant: Option<String>,
    /// Bytes of all parts, where known.
    pub size: Option<u64>,
}

/// No model, or more than one, is what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    #[error("{repository} has no GGUF model; repositories that do are often named ...-GGUF")]
    NoModel { repository: String },
    #[error("{repository} has no {asked}; there are {there}")]
    NoSuch {
        repository: String,
        asked: String,
        there: String,
    },
    #[error("{repository} has several models for {asked}: {there}; name one as {repository}:NAME")]
    Several {
        repository: String,
        asked: String,
        there: String,
    },
}

impl Model {
    /// Its file's name without folders and ending.
    pub fn stem(&self) -> &str {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        name.strip_suffix(".gguf").unwrap_or(name)
    }

    /// How it is asked for among `all`: its quantisation where that is enough.
    pub fn label<'a>(&'a self, all: &[Model]) -> &'a str {
        let same = |other: &&Model| other.quant.is_some() && other.quant == self.quant;
        match &self.quant {
            Some(quant) if all.iter().filter(same).count() < 2 => quant,
            _ => self.stem(),
        }
    }

    fn bits(&self) -> Option<f64> {
        let plain = without_prefix(self.quant.as_deref()?);
        let known = BITS.iter().find(|(name, _)| *name == plain);
        known.map(|&(_, bits)| bits)
    }

    fn is(&self, asked: &str) -> bool {
        let asked = asked.strip_suffix(".gguf").unwrap_or(asked);
        let file = self.file.strip_suffix(".gguf").unwrap_or(&self.file);
        let names = [self.quant.as_deref().unwrap_or(""), self.stem(), file];
        names.iter().any(|name| name.eq_ignore_ascii_case(asked))
    }

    /// The same, but for the mark of those whose layers are quantised each by its weight.
    fn is_nearly(&self, asked: &str) -> bool {
        let quant = self.quant.as_deref();
        quant.is_some_and(|quant| without_prefix(quant).eq_ignore_ascii_case(without_prefix(asked)))
    }
}

fn without_prefix(quant: &str) -> &str {
    quant.strip_prefix("UD-").unwrap_or(quant)
}

/// The models among `files`, each with its bytes where known; those whose parts are incomplete
/// are left out.
pub fn models(files: &[(String, Option<u64>)]) -> Vec<Model> {
    let mut found: Vec<Model> = Vec::new();
    for (name, size) in files {
        let path = Path::new(name);
        let base = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let is_gguf = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        // What would leave the repository's folder in the cache, or a line, is no name of ours.
        let safe = name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
            && !name.contains(char::is_control);
        if !is_gguf || !safe || NOT_MODELS.iter().any(|not| base.starts_with(not)) {
            continue;
        }
        let (file, parts) = match SplitName::parse(path) {
            None => (path.to_owned(), vec![path.to_owned()]),
            // A split model is met once: at its first part.
            Some(part) if part.number == 1 => (part.undivided(), part.parts().collect()),
            Some(_) => continue,
        };
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let parts: Vec<String> = parts.into_iter().map(text).collect();
        let file = text(file);
        let sizes = parts
            .iter()
            .map(|part| files.iter().find(|(name, _)| name == part));
        let Some(sizes) = sizes.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let size = match parts.len() {
            1 => *size,
            _ => sizes.iter().map(|(_, size)| *size).sum(),
        };
        let quant = quant_of(&file);
        found.push(Model {
            file,
            parts,
            quant,
            size,
        });
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    // The same model whole and in parts.
    found.sort_by_key(|model| model.parts.len());
    let mut once: Vec<Model> = Vec::new();
    for model in found {
        if !once
            .iter()
            .any(|m| m.file.eq_ignore_ascii_case(&model.file))
        {
            once.push(model);
        }
    }
    once
}

/// The quantisation that a file's name tells, in upper case: `Q4_K_M`, `UD-Q4_K_XL`, `MXFP4`.
fn quant_of(file: &str) -> Option<String> {
    let name = file.rsplit('/').next()?;
    let stem = name.get(..name.len().checked_sub(".gguf".len())?)?;
    let words: Vec<&str> = stem.split(['-', '.']).collect();
    let at = words.iter().rposition(|word| is_quant(word))?;
    let quant = words[at].to_ascii_uppercase();
    let dynamic = at > 0 && words[at - 1].eq_ignore_ascii_case("UD");
    Some(if dynamic {
        format!("UD-{quant}")
    } else {
        quant
    })
}

fn is_quant(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let numbered = |after: &str| {
        let mut rest = after.chars();
        let digit = rest.next().is_some_and(|c| c.is_ascii_digit());
        digit && rest.next() == Some('_') && rest.next().is_some()
    };
    matches!(word.as_str(), "F16" | "BF16" | "F32" | "FP16" | "FP32")
        || word.starts_with("MXFP4")
        || word.starts_with("NVFP4")
        || ["IQ", "TQ", "Q"]
            .iter()
            .any(|kind| word.strip_prefix(kind).is_some_and(numbered))
}

/// The models of `all` that `asked` names: by quantisation or file, or else by quantisation but
/// for the mark of those whose layers differ in it.
pub fn matching<'a>(all: &'a [Model], asked: &str) -> Vec<&'a Model> {
    let by = |names: fn(&Model, &str) -> bool| all.iter().filter(move |m| names(m, asked));
    let found: Vec<_> = by(Model::is).collect();
    if found.is_empty() {
        by(Model::is_nearly).collect()
    } else {
        found
    }
}

/// The model of `all` that `asked` names. Where nothing is asked for: the usual quantisation, or
/// the nearest to it by size.
///
/// # Errors
/// None is, or several are. What there is to choose from is named.
pub fn pick<'a>(
    repository: &str,
    all: &'a [Model],
    asked: Option<&str>,
) -> Result<&'a Model, PickError> {
    let repository = repository.to_owned();
    let wanted = asked.unwrap_or(USUAL);
    let several = |found: &[&Model]| PickError::Several {
        repository: repository.clone(),
        asked: wanted.to_owned(),
        there: join(found.iter().map(|model| model.stem().to_owned())),
    };
    match matching(all, wanted)[..] {
        [] => {}
        [model] => return Ok(model),
        ref found => return Err(several(found)),
    }
    if all.is_empty() {
        return Err(PickError::NoModel { repository });
    }
    if let Some(asked) = asked {
        return Err(PickError::NoSuch {
            repository,
            asked: asked.to_owned(),
            there: join(all.iter().map(|model| described(model, all))),
        });
    }
    let distance = |model: &Model| {
        model
            .bits()
            .map_or(f64::INFINITY, |b| (b - USUAL_BITS).abs())
    };
    let least = all.iter().map(distance).fold(f64::INFINITY, f64::min);
    let nearest: Vec<_> = all
        .iter()
        .filter(|model| distance(model) == least)
        .collect();
    // Of models of one quantisation, none is the one that is meant.
    if nearest[1..].iter().any(|m| m.quant == nearest[0].quant) {
        return Err(several(&nearest));
    }
    Ok(nearest[0])
}

fn described(model: &Model, all: &[Model]) -> String {
    let label = model.label(all);
    match model.size {
        Some(size) => format!("{label} ({})", Bytes(size)),
        None => label.to_owned(),
    }
}

fn join(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<Model> {
        let files: Vec<_> = names.iter().map(|n| ((*n).to_owned(), Some(10))).collect();
        models(&files)
    }

    fn picked(names: &[&str], asked: Option<&str>) -> Result<String, PickError> {
        let all = of(names);
        pick("o/r", &all, asked).map(|model| model.file.clone())
    }

    #[test]
    fn quantisations_are_read_from_names_as_repositories_write_them() {
        for (name, quant) in [
            ("Qwen3-8B-Q4_K_M.gguf", Some("Q4_K_M")),
            ("qwen2.5-7b-instruct-q4_k_m.gguf", Some("Q4_K_M")),
            ("SmolLM2-135M-Instruct.Q4_1.gguf", Some("Q4_1")),
            ("gpt-oss-20b-mxfp4.gguf", Some("MXFP4")),
            ("Q4/Big-UD-Q4_K_XL.gguf", Some("UD-Q4_K_XL")),
            ("m-IQ2_XXS.gguf", Some("IQ2_XXS")),
            ("m-BF16.gguf", Some("BF16")),
            ("m-f16.gguf", Some("F16")),
            ("m-TQ1_0.gguf", Some("TQ1_0")),
            ("qwen-8b.gguf", None),
            ("Q4/model.gguf", None),
            (".gguf", None),
            ("Qwen.gguf", None),
        ] {
            assert_eq!(quant_of(name).as_deref(), quant, "{name}");
        }
    }

    #[test]
    fn models_are_whole_or_in_all_their_parts_and_nothing_else() {
        let all = of(&[
            "README.md",
            "mmproj-F16.gguf",
            "mtp-m.gguf",
            "imatrix.gguf",
            "../m-Q8_0.gguf",
            "m-Q4_K_M.gguf",
            "Q8_0/m-Q8_0-00002-of-00002.gguf",
            "Q8_0/m-Q8_0-00001-of-00002.gguf",
            "m-Q6_K-00001-of-00003.gguf",
        ]);
        let files: Vec<_> = all.iter().map(|m| m.file.as_str()).collect();
        assert_eq!(files, ["m-Q4_K_M.gguf", "Q8_0/m-Q8_0.gguf"]);
        assert_eq!(all[1].parts.len(), 2);
        assert_eq!((all[0].size, all[1].size), (Some(10), Some(20)));
        // The same model whole and in parts is taken whole.
        let both = of(&[
            "g-mxfp4-00001-of-00002.gguf",
            "g-mxfp4-00002-of-00002.gguf",
            "g-MXFP4.gguf",
        ]);
        assert_eq!(both.len(), 1);
        assert_eq!(both[0].file, "g-MXFP4.gguf");
    }

    #[test]
    fn what_is_asked_for_is_taken_by_quantisation_or_name() {
        let names = ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-UD-Q5_K_XL.gguf"];
        assert_eq!(picked(&names, Some("q8_0")).unwrap(), "m-Q8_0.gguf");
        assert_eq!(
            picked(&names, Some("Q5_K_XL")).unwrap(),
            "m-UD-Q5_K_XL.gguf"
        );
        assert_eq!(picked(&names, Some("m-Q8_0.gguf")).unwrap(), "m-Q8_0.gguf");
        assert_eq!(picked(&names, Some("m-Q8_0")).unwrap(), "m-Q8_0.gguf");
        let error = picked(&names, Some("Q2_K")).unwrap_err().to_string();
        assert_eq!(
            error,
            "o/r has no Q2_K; there are Q4_K_M (10 B), Q8_0 (10 B), UD-Q5_K_XL (10 B)"
        );
    }

    #[test]
    fn without_a_wish_the_usual_quantisation_is_taken_or_the_nearest_in_size() {
        let usual = ["m-Q8_0.gguf", "m-UD-Q4_K_M.gguf", "m-Q2_K.gguf"];
        assert_eq!(picked(&usual, None).unwrap(), "m-UD-Q4_K_M.gguf");
        assert_eq!(
            picked(&["m-Q8_0.gguf", "m-Q5_K_S.gguf", "m-Q2_K.gguf"], None).unwrap(),
            "m-Q5_K_S.gguf"
        );
        assert_eq!(picked(&["m.gguf"], None).unwrap(), "m.gguf");
        assert!(matches!(
            picked(&["README.md"], None),
            Err(PickError::NoModel { .. })
        ));
    }

    #[test]
    fn several_models_of_one_quantisation_are_told_apart_by_name() {
        let names = ["a-4b-Q4_K_M.gguf", "a-12b-Q4_K_M.gguf"];
        let error = picked(&names, None).unwrap_err();
        assert!(matches!(error, PickError::Several { .. }), "{error}");
        assert_eq!(picked(&names, Some("a-4b-Q4_K_M")).unwrap(), names[0]);
        let all = of(&names);
        assert_eq!(all[0].label(&all), "a-12b-Q4_K_M");
        let unnamed = picked(&["a.gguf", "b.gguf"], None).unwrap_err();
        assert!(matches!(unnamed, PickError::Several { .. }), "{unnamed}");
    }
}
