//! Filters, tests and functions that the engine lacks, or has otherwise than Jinja in Python.

use super::arguments::Arguments;
use super::strings::{is_space, trim};
use super::{invalid, strings, written};
use crate::model::chat::marks::unmark;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, FormatStyle, State, Value, format_filter};

/// Adds those that make no strings.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("items", items);
    environment.add_filter("dictsort", dict_sort);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("sum", sum);
    environment.add_filter("wordcount", |text: &str| {
        text.split(is_space).filter(|word| !word.is_empty()).count()
    });
    environment.add_test("iterable", |value: &Value| {
        // The engine's own says that `None` is.
        !value.is_none() && (value.as_str().is_some() || value.try_iter().is_ok())
    });
    environment.add_test("sequence", |value: &Value| match value.kind() {
        ValueKind::Iterable => false,
        ValueKind::None => false,
        _ => value.is_undefined() || value.as_str().is_some() || value.len().is_some(),
    });
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("cycler", |items: Rest<Value>| {
        minijinja_contrib::globals::cycler(items.0)
    });
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
}

/// A filter, as a function of its value and arguments.
pub(super) type Filter = fn(&[Value]) -> Result<Value, Error>;

/// Those that put texts one after another.
pub(super) const JOINING_FILTERS: [(&str, Filter); 3] = [
    ("join", join),
    (super::source::PERCENT, percent),
    ("format", |args| {
        let (value, args) = first(args)?;
        formatted(FormatStyle::Printf, &written::text(value)?, args)
    }),
];

/// Others that make texts.
pub(super) const TEXT_FILTERS: [(&str, Filter); 8] = [
    ("tojson", |args| {
        let (value, args) = first(args)?;
        written::to_json(value, args)
    }),
    ("string", |args| {
        let (value, _) = first(args)?;
        match value.as_str() {
            Some(_) => Ok(value.clone()),
            None => written::text(value).map(Value::from),
        }
    }),
    ("trim", trimmed),
    ("replace", replace),
    ("indent", indent),
    ("title", title),
    ("center", |args| {
        let (value, args) = first(args)?;
        let args: &[Value] = if args.is_empty() {
            &[Value::from(80)]
        } else {
            args
        };
        let text = Value::from(written::text(value)?);
        strings::call(&text, "center", args).unwrap_or(Ok(text))
    }),
    ("striptags", |args| {
        let (value, _) = first(args)?;
        Ok(Value::from(minijinja_contrib::filters::striptags(
            written::text(value)?,
        )))
    }),
];

/// The engine's own that make strings.
pub(super) const OWN_TEXT_FILTERS: [&str; 6] =
    ["upper", "lower", "capitalize", "reverse", "escape", "e"];

fn first(args: &[Value]) -> Result<(&Value, &[Value]), Error> {
    args.split_first()
        .ok_or_else(|| invalid("a filter wants a value"))
}

/// `format % args`, `format | format(args)` or `format.format(args)`.
pub(super) fn formatted(style: FormatStyle, format: &str, args: &[Value]) -> Result<Value, Error> {
    // The engine would write as wide as a template says.
    let mut digits = format.split(|c: char| !c.is_ascii_digit());
    if digits.any(|digits| digits.len() > 4) {
        return Err(invalid("format: a field is too wide"));
    }
    let as_python = |value: &Value| match (style, value.kind()) {
        (FormatStyle::Printf, ValueKind::Seq | ValueKind::Map) if !value.is_kwargs() => {
            written::text(value).map(Value::from)
        }
        // The format may name what is in it.
        _ => Ok(value.clone()),
    };
    let args: Vec<_> = args.iter().map(as_python).collect::<Result<_, _>>()?;
    format_filter(style, format, &args).map(Value::from)
}

/// `format % args`, as it is rewritten.
fn percent(args: &[Value]) -> Result<Value, Error> {
    let (value, args) = first(args)?;
    match (value.as_str(), args) {
        // The values of a dictionary, by name.
        (Some(format), [names]) if names.kind() == ValueKind::Map && format.contains("%(") => {
            let mut values = Vec::new();
            for key in names.try_iter()? {
                let value = names.get_item(&key)?;
                values.push((key.to_string(), value));
            }
            let names = Kwargs::from_iter(values);
            formatted(FormatStyle::Printf, format, &[names.into()])
        }
        (Some(format), _) => formatted(FormatStyle::Printf, format, args),
        // Only what stands after a string is rewritten.
        (None, _) => Err(invalid("'%' is for a string here")),
    }
}

/// Of the real text, where it is one.
fn length(value: &Value) -> Result<usize, Error> {
    match value.as_str() {
        Some(text) => Ok(unmark(text).chars().count()),
        None if value.is_undefined() => Ok(0),
        None => value
            .len()
            .ok_or_else(|| invalid(format!("{} has no length", value.kind()))),
    }
}

fn items(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    minijinja::filters::items(value)
}

fn trimmed(args: &[Value]) -> Result<Value, Error> {
    let (value, args) = first(args)?;
    let mut args = Arguments::new("trim", args);
    let chars = args.text("chars")?;
    args.end()?;
    let text = written::text(value)?;
    Ok(Value::from(trim(&text, true, true, chars.as_deref())))
}

fn replace(args: &[Value]) -> Result<Value, Error> {
    let (value, args) = first(args)?;
    let mut args = Arguments::new("replace", args);
    let text_of = |value: Option<Value>| written::text(&value.unwrap_or_default());
    let (old, new) = (text_of(args.next("old"))?, text_of(args.next("new"))?);
    let count = args.integer("count")?;
    args.end()?;
    let text = written::text(value)?;
    Ok(Value::from(
        match count.and_then(|count| usize::try_from(count).ok()) {
            Some(count) => text.replacen(&old, &new, count),
            None => text.replace(&old, &new),
        },
    ))
}

fn join(args: &[Value]) -> Result<Value, Error> {
    let (value, args) = first(args)?;
    let mut args = Arguments::new("join", args);
    let between = args.text("d")?.unwrap_or_default();
    let attribute = args.some("attribute");
    args.end()?;
    let mut out = String::new();
    for (i, item) in each(value)?.into_iter().enumerate() {
        out.push_str(if i > 0 { &between } else { "" });
        let item = at_path(item, attribute.as_ref())?;
        out.push_str(&written::text(&item)?);
    }
    Ok(Value::from(out))
}

/// The items of a list, the characters of a string, the keys of a dictionary.
fn each(value: &Value) -> Result<Vec<Value>, Error> {
    match value.as_str() {
        Some(text) => Ok(text.chars().map(Value::from).collect()),
        None => Ok(value.try_iter()?.collect()),
    }
}

/// What `attribute` names in `item`, as `a.b` or by number.
fn at_path(item: Value, attribute: Option<&Value>) -> Result<Value, Error> {
    let Some(attribute) = attribute else {
        return Ok(item);
    };
    match attribute.as_str() {
        None => item.get_item(attribute),
        Some(path) => path
            .split('.')
            .try_fold(item, |item, name| item.get_attr(name)),
    }
}

fn indent(args: &[Value]) -> Result<Value, Error> {
    let (value, args) = first(args)?;
    let mut args = Arguments::new("indent", args);
    let by = match args.some("width") {
        Some(text) if text.as_str().is_some() => text.to_string(),
        Some(width) => {
            let width = Arguments::new("indent", &[width]).width("width")?;
            " ".repeat(width.unwrap_or(0))
        }
        None => " ".repeat(4),
    };
    let (first_too, blank_too) = (args.truth("first"), args.truth("blank"));
    args.end()?;
    let text = written::text(value)?;
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        out.push_str(if i > 0 { "\n" } else { "" });
        let wanted = if i == 0 {
            first_too
        } else {
            blank_too || !line.is_empty()
        };
        out.push_str(if wanted { &by } else { "" });
        out.push_str(line);
        if out.len() > super::OUTPUT_BYTES * 16 {
            return Err(invalid("indent: it writes too much"));
        }
    }
    Ok(Value::from(out))
}

/// Words begin after a space, a hyphen or an opening bracket.
fn title(args: &[Value]) -> Result<Value, Error> {
    let (value, _) = first(args)?;
    let (mut out, mut begins) = (String::new(), true);
    for c in written::text(value)?.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        begins = c == '-' || is_space(c) || "({[<".contains(c);
    }
    Ok(Value::from(out))
}

fn dict_sort(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let mut args = Arguments::new("dictsort", &args);
    let with_case = args.truth("case_sensitive");
    let by = args.text("by")?.unwrap_or_else(|| "key".to_owned());
    let reverse = args.truth("reverse");
    args.end()?;
    let place = usize::from(by == "value");
    let mut pairs = Vec::new();
    for key in value.try_iter()? {
        let value = value.get_item(&key)?;
        pairs.push([key, value]);
    }
    let folded = |value: &Value| match value.as_str().filter(|_| !with_case) {
        Some(text) => Value::from(text.to_lowercase()),
        None => value.clone(),
    };
    pairs.sort_by_cached_key(|pair| folded(&pair[place]));
    if reverse {
        pairs.reverse();
    }
    Ok(pairs
        .into_iter()
        .map(|pair| Value::from(pair.to_vec()))
        .collect())
}

fn int(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let mut args = Arguments::new("int", &args);
    let default = args.next("default").unwrap_or_else(|| Value::from(0));
    let base = args.integer("base")?.unwrap_or(10);
    args.end()?;
    let Some(text) = value.as_str() else {
        return Ok(match value.kind() {
            ValueKind::Number if value.is_integer() => value.clone(),
            ValueKind::Bool => Value::from(i64::from(value.is_true())),
            ValueKind::Number => f64::try_from(value.clone())
                .map_or(default, |number| Value::from(number.trunc() as i64)),
            _ => default,
        });
    };
    let text = text.trim().to_ascii_lowercase();
    let digits = match base {
        16 => text.trim_start_matches("0x"),
        8 => text.trim_start_matches("0o"),
        2 => text.trim_start_matches("0b"),
        _ => &text,
    };
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=36).contains(base));
    let whole = base.and_then(|base| i64::from_str_radix(digits, base).ok());
    let whole = whole.or_else(|| Some(float_of(&text)?.trunc() as i64));
    Ok(whole.map_or(default, Value::from))
}

fn float(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let mut args = Arguments::new("float", &args);
    let default = args.next("default").unwrap_or_else(|| Value::from(0.0));
    args.end()?;
    let number = match value.as_str() {
        Some(text) => float_of(text.trim()),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map_or(default, Value::from))
}

fn float_of(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn round(value: Value, args: Rest<Value>) -> Result<Value, Error> {
    let mut args = Arguments::new("round", &args);
    let places = args.integer("precision")?.unwrap_or(0).clamp(-300, 300);
    let method = args.text("method")?.unwrap_or_else(|| "common".to_owned());
    args.end()?;
    if value.is_integer() && places >= 0 && method == "common" {
        return Ok(value);
    }
    let number = f64::try_from(value)?;
    let scale = 10f64.powi(places as i32);
    let scaled = number * scale;
    let rounded = match method.as_str() {
        "common" => scaled.round_ties_even(),
        "ceil" => scaled.ceil(),
        "floor" => scaled.floor(),
        _ => return Err(invalid("round: 'method' is common, ceil or floor")),
    };
    Ok(Value::from(rounded / scale))
}

fn sum(state: &State, value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let mut args = Arguments::new("sum", &args);
    let attribute = args.some("attribute");
    let start = args.next("start").unwrap_or_else(|| Value::from(0));
    args.end()?;
    let mut items = vec![start];
    for item in value.try_iter()? {
        items.push(at_path(item, attribute.as_ref())?);
    }
    minijinja::filters::sum(state, Value::from(items))
}
