//! A small model of any architecture: `architectures.toml` has its metadata, llama.cpp says which
//! tensors it wants for that, and these get random values.

use crate::gguf_builder::Builder;
use crate::tiny_model::{END, Random, Tiny, VOCAB, floats};
use nmos::ggml::llama::LlamaError;
use nmos::ggml::wanted::{self, Wanted};
use std::collections::HashSet;
use std::path::Path;
use toml::{Table, Value};

/// The table of `architectures.toml`.
pub struct Architectures(Table);

impl Architectures {
    pub fn read() -> Self {
        Self(include_str!("architectures.toml").parse().unwrap())
    }

    /// Their names, in alphabetical order.
    pub fn names(&self) -> Vec<&str> {
        self.table("architectures")
            .keys()
            .map(String::as_str)
            .collect()
    }

    /// Those that there is no likeness of, and why.
    pub fn untried(&self) -> Vec<(&str, &str)> {
        let untried = self.table("untried").iter();
        untried
            .map(|(name, why)| (name.as_str(), why.as_str().unwrap()))
            .collect()
    }

    fn table(&self, name: &str) -> &Table {
        self.0[name].as_table().unwrap()
    }

    /// The keys of an architecture, as they are in a file.
    fn keys(&self, arch: &str) -> Vec<(String, Value)> {
        let own = self.table("architectures")[arch].as_table().unwrap();
        let mut keys = self.table("base").clone();
        for set in own
            .get("is")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let set = self.table("sets")[set.as_str().unwrap()]
                .as_table()
                .unwrap();
            keys.extend(set.clone());
        }
        keys.extend(
            own.iter()
                .filter(|(key, _)| !["is", "without"].contains(&key.as_str()))
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        let named = |key: String| match key.starts_with("xielu.") {
            true => key,
            false => format!("{arch}.{key}"),
        };
        keys.into_iter()
            .map(|(key, value)| (named(key), value))
            .collect()
    }

    /// Writes a model of an architecture.
    ///
    /// # Errors
    /// llama.cpp's, where it makes no model of this metadata.
    pub fn write(&self, arch: &str, path: &Path) -> Result<(), LlamaError> {
        let b = Builder::default().text("general.architecture", arch);
        let b = self
            .keys(arch)
            .iter()
            .fold(b, |b, (key, value)| set(b, key, value));
        // It goes on with what it is given.
        let b = Tiny::vocabulary(b).text("tokenizer.chat_template", "");
        let mut wanted = wanted::tensors(&b.build())?;
        // Some are wanted for every layer, by one name.
        let mut names = HashSet::new();
        wanted.retain(|tensor| names.insert(tensor.name.clone()));
        let own = self.table("architectures")[arch].as_table().unwrap();
        let without = own.get("without").and_then(Value::as_array);
        let parts = without
            .into_iter()
            .flatten()
            .map(|part| part.as_str().unwrap());
        for part in parts {
            wanted.retain(|tensor| !tensor.name.contains(part));
        }
        let mut random = Random::default();
        let b = wanted.iter().fold(b, |b, tensor| {
            b.tensor_of(
                &tensor.name,
                0,
                &tensor.dims,
                values(tensor, &wanted, &mut random),
            )
        });
        std::fs::write(path, b.build()).unwrap();
        Ok(())
    }
}

/// Integers are unsigned unless one is negative, as in the files that people have.
fn set(b: Builder, key: &str, value: &Value) -> Builder {
    let (ty, bytes) = scalar(value);
    match value {
        Value::Array(values) => {
            let ty = scalar(&values[0]).0;
            let mut body = ty.to_le_bytes().to_vec();
            body.extend((values.len() as u64).to_le_bytes());
            body.extend(values.iter().flat_map(|value| scalar(value).1));
            b.raw(key, 9, &body)
        }
        _ => b.raw(key, ty, &bytes),
    }
}

/// A value's type, as GGUF numbers it, and its bytes.
fn scalar(value: &Value) -> (u32, Vec<u8>) {
    match value {
        Value::Integer(n) if *n < 0 => (5, i32::try_from(*n).unwrap().to_le_bytes().into()),
        Value::Integer(n) => (4, u32::try_from(*n).unwrap().to_le_bytes().into()),
        Value::Float(x) => (6, (*x as f32).to_le_bytes().into()),
        Value::Boolean(is) => (7, vec![u8::from(*is)]),
        Value::Array(_) => (9, Vec::new()),
        other => panic!("{other} in architectures.toml"),
    }
}

/// Random values of a size that keeps a model's results apart from each other and finite.
fn values(tensor: &Wanted, all: &[Wanted], random: &mut Random) -> Vec<u8> {
    let Wanted { name, dims } = tensor;
    let n = dims.iter().product::<u64>() as usize;
    let row = dims[0] as usize;
    let spread = match name.as_str() {
        "output.weight" => 4.0,
        // A state would grow from token to token, and rounding errors with it.
        name if name.contains("time_mix") => 0.3,
        _ => 2.0,
    } / (row as f32).sqrt();
    let mut values: Vec<f32> = (0..n)
        .map(|_| match random.next() {
            // What a state keeps of itself from token to token.
            x if name.contains("ssm_a") => -x.abs() - 0.1,
            // Attention that sees one token alone would make much of a rounding error.
            x if ["q_norm", "k_norm"].iter().any(|norm| name.contains(norm)) => x / 4.0 + 0.5,
            x if name.ends_with("norm.weight") => x + 1.5,
            x if dims.len() == 1 => x / 2.0,
            x => x * spread,
        })
        .collect();
    let head = match all.iter().any(|tensor| tensor.name == "output.weight") {
        true => "output.weight",
        false => "token_embd.weight",
    };
    if name == head && n == row * VOCAB {
        // Nothing but its length ends an answer.
        values[END * row..(END + 1) * row].fill(0.0);
    }
    floats(values)
}
