//! Values as Python writes them: as text, and as JSON.

use super::arguments::Arguments;
use super::{NESTING, OUTPUT_BYTES, invalid};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use std::fmt::Write as _;

/// What `str(value)` is.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match value.kind() {
        ValueKind::Number => out = number(value),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => repr(value, 0, &mut out)?,
        _ => out = value.to_string(),
    }
    Ok(out)
}

/// What `repr(value)` is.
fn repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    bounded(depth, out)?;
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&item, depth + 1, out)?;
            }
            out.push(']');
        }
        // A namespace, say, is no dictionary but has no other form either.
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&key, depth + 1, out)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => write!(out, "{value}").unwrap_or_default(),
    }
    Ok(())
}

fn bounded(depth: usize, out: &str) -> Result<(), Error> {
    if depth > NESTING {
        return Err(invalid("values are nested too deep to be written"));
    }
    if out.len() > OUTPUT_BYTES * 16 {
        return Err(invalid("a value is too large to be written"));
    }
    Ok(())
}

/// A string as Python quotes it.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => out.extend(['\\', c]),
            // What is no letter, sign or space to print; marks of typed text are kept.
            c if c.is_control() && u32::from(c) < 0x100 => {
                write!(out, "\\x{:02x}", u32::from(c)).unwrap_or_default();
            }
            '\u{2028}'
            | '\u{2029}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{feff}' => {
                write!(out, "\\u{:04x}", u32::from(c)).unwrap_or_default();
            }
            c => out.push(c),
        }
    }
    out.push(mark);
}

/// A number as Python writes it: `1.0`, `1e+16`, `1e-07`.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(number) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    if !number.is_finite() {
        return match number {
            n if n.is_nan() => "nan",
            n if n > 0.0 => "inf",
            _ => "-inf",
        }
        .to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let short = format!("{number:e}");
        let (digits, power) = short.split_once('e').unwrap_or((&short, "0"));
        let (sign, power) = match power.strip_prefix('-') {
            Some(power) => ('-', power),
            None => ('+', power),
        };
        return format!("{digits}e{sign}{power:0>2}");
    }
    format!("{number:?}")
}

/// How JSON is laid out, by the parameters of Python's `json.dumps`.
struct Layout {
    ascii: bool,
    indent: Option<String>,
    comma: String,
    colon: String,
    sorted: bool,
}

/// `value | tojson(...)`, as Hugging Face's tokenizers define it.
pub(super) fn to_json(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let mut args = Arguments::new("tojson", args);
    let ascii = args.truth("ensure_ascii");
    let indent = match args.some("indent") {
        None => None,
        Some(text) if text.as_str().is_some() => Some(text.to_string()),
        Some(width) => Some(
            " ".repeat(
                Arguments::new("tojson", &[width])
                    .width("indent")?
                    .unwrap_or(0),
            ),
        ),
    };
    let mut layout = Layout {
        ascii,
        comma: if indent.is_some() { "," } else { ", " }.to_owned(),
        colon: ": ".to_owned(),
        indent,
        sorted: false,
    };
    if let Some(separators) = args.some("separators") {
        let both: Vec<_> = separators.try_iter()?.collect();
        let [comma, colon] = both.as_slice() else {
            return Err(invalid("tojson: 'separators' are two"));
        };
        (layout.comma, layout.colon) = (comma.to_string(), colon.to_string());
    }
    layout.sorted = args.truth("sort_keys");
    args.end()?;
    let mut out = String::new();
    layout.dump(value, 0, &mut out)?;
    Ok(Value::from(out))
}

impl Layout {
    fn dump(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        bounded(depth, out)?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&match number(value).as_str() {
                "nan" => "NaN".to_owned(),
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                number => number.to_owned(),
            }),
            ValueKind::String => self.quote(value.as_str().unwrap_or_default(), out),
            ValueKind::Map => {
                let mut entries: Vec<(String, Value)> = Vec::new();
                for key in value.try_iter()? {
                    entries.push((self.key(&key)?, value.get_item(&key)?));
                }
                if self.sorted {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.list(('{', '}'), entries, depth, out, |(key, value), out| {
                    self.quote(&key, out);
                    out.push_str(&self.colon);
                    self.dump(&value, depth + 1, out)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<_> = value.try_iter()?.collect();
                self.list(('[', ']'), items, depth, out, |item, out| {
                    self.dump(&item, depth + 1, out)
                })?;
            }
            kind => return Err(invalid(format!("tojson: JSON has no form for {kind}"))),
        }
        Ok(())
    }

    fn list<T>(
        &self,
        (open, close): (char, char),
        items: Vec<T>,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, out: &mut String| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(indent.as_str(), depth));
            }
        };
        let any = !items.is_empty();
        out.push(open);
        for (i, item) in items.into_iter().enumerate() {
            out.push_str(if i > 0 { &self.comma } else { "" });
            line(depth + 1, out);
            write(item, out)?;
        }
        if any {
            line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn key(&self, key: &Value) -> Result<String, Error> {
        match key.kind() {
            ValueKind::String => Ok(key.to_string()),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                let mut out = String::new();
                self.dump(key, 0, &mut out)?;
                Ok(out)
            }
            kind => Err(invalid(format!("tojson: a key cannot be {kind}"))),
        }
    }

    fn quote(&self, text: &str, out: &mut String) {
        if !self.ascii {
            out.push_str(&serde_json::Value::from(text).to_string());
            return;
        }
        for c in serde_json::Value::from(text).to_string().chars() {
            // Marks of typed text are none of it.
            if c.is_ascii() || crate::model::chat::marks::is_mark(c) {
                out.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
    }
}
