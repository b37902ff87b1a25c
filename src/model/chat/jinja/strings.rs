//! Methods of Python's strings, lists and dictionaries that the engine's own companion lacks, or
//! has otherwise.

use super::arguments::Arguments;
use super::invalid;
use super::source::SLICE;
use crate::model::chat::marks::real_characters;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

/// Calls a method, where it is one of these.
pub(super) fn call(value: &Value, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    match (value.kind(), method) {
        (_, SLICE) => Some(sliced(value, args)),
        (ValueKind::String, _) => of_string(value.as_str()?, method, args),
        (ValueKind::Seq | ValueKind::Map, "copy") => Some(Ok(value.clone())),
        (ValueKind::Seq, "index") => Some(index_of(value, args)),
        _ => None,
    }
}

fn index_of(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let sought = args.first();
    let place = list.try_iter()?.position(|item| Some(&item) == sought);
    place
        .map(Value::from)
        .ok_or_else(|| invalid("index: it is not in the list"))
}

/// `value[start:stop:step]`. Of a string, the characters that people see are counted.
fn sliced(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let mut args = Arguments::new("a slice", args);
    let (start, stop) = (args.integer("start")?, args.integer("stop")?);
    let step = args.integer("step")?.unwrap_or(1);
    args.end()?;
    if step == 0 {
        return Err(invalid("a slice's step is not zero"));
    }
    if let Some(text) = value.as_str() {
        let characters: Vec<_> = real_characters(text).collect();
        let places = places(characters.len(), start, stop, step);
        return Ok(Value::from(
            places.map(|at| characters[at]).collect::<String>(),
        ));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(invalid(format!("{} cannot be sliced", value.kind())));
    }
    let items: Vec<_> = value.try_iter()?.collect();
    let places = places(items.len(), start, stop, step);
    Ok(places.map(|at| items[at].clone()).collect())
}

/// The places that a slice of something of this length takes.
fn places(
    length: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> impl Iterator<Item = usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (least, most) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let place = |at: i64| {
        if at < 0 {
            at.saturating_add(length)
        } else {
            at
        }
        .clamp(least, most)
    };
    let start = start.map_or(if step > 0 { least } else { most }, place);
    let stop = stop.map_or(if step > 0 { most } else { least }, place);
    let places = std::iter::successors(Some(start), move |at| at.checked_add(step));
    let places = places.take_while(move |&at| if step > 0 { at < stop } else { at > stop });
    places.filter_map(|at| usize::try_from(at).ok())
}

fn of_string(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let args = Arguments::new(method, args);
    let made = match method {
        "strip" => trimmed(text, true, true, args),
        "lstrip" => trimmed(text, true, false, args),
        "rstrip" => trimmed(text, false, true, args),
        "split" => split(text, args, split_first, space_first),
        "rsplit" => split(text, args, split_last, space_last),
        "splitlines" => lines(text, args),
        "partition" => parted(text, args, false),
        "rpartition" => parted(text, args, true),
        "removeprefix" => removed(text, args, |text, part| text.strip_prefix(part)),
        "removesuffix" => removed(text, args, |text, part| text.strip_suffix(part)),
        "find" => found(text, args, false).map(|at| at.map_or(Value::from(-1), Value::from)),
        "rfind" => found(text, args, true).map(|at| at.map_or(Value::from(-1), Value::from)),
        "index" => found(text, args, false).and_then(there),
        "rindex" => found(text, args, true).and_then(there),
        "count" => counted(text, args),
        "startswith" => has_end(text, args, |text, part| text.starts_with(part)),
        "endswith" => has_end(text, args, |text, part| text.ends_with(part)),
        "title" => plain(args, || title(text)),
        "swapcase" => plain(args, || text.chars().flat_map(swapped).collect::<String>()),
        "casefold" => plain(args, || text.to_lowercase().replace('ß', "ss")),
        "islower" => plain(args, || {
            is_cased(text) && !text.chars().any(char::is_uppercase)
        }),
        "isupper" => plain(args, || {
            is_cased(text) && !text.chars().any(char::is_lowercase)
        }),
        "isspace" => plain(args, || all(text, is_space)),
        "isdigit" | "isdecimal" | "isnumeric" => plain(args, || all(text, char::is_numeric)),
        "isalpha" => plain(args, || all(text, char::is_alphabetic)),
        "isalnum" => plain(args, || all(text, char::is_alphanumeric)),
        "center" => padded(text, args, |pad, width| pad / 2 + (pad & width & 1)),
        "ljust" => padded(text, args, |_, _| 0),
        "rjust" => padded(text, args, |pad, _| pad),
        "zfill" => zero_filled(text, args),
        _ => return None,
    };
    Some(made)
}

/// White space, as Python takes it.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `text` without what it begins or ends with of `chars`, or of white space.
pub(super) fn trim<'a>(text: &'a str, start: bool, end: bool, chars: Option<&str>) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if start {
        text.trim_start_matches(goes)
    } else {
        text
    };
    if end {
        text.trim_end_matches(goes)
    } else {
        text
    }
}

fn trimmed(text: &str, start: bool, end: bool, mut args: Arguments) -> Result<Value, Error> {
    let chars = args.text("chars")?;
    args.end()?;
    Ok(Value::from(trim(text, start, end, chars.as_deref())))
}

fn plain<T: Into<Value>>(args: Arguments, made: impl FnOnce() -> T) -> Result<Value, Error> {
    args.end()?;
    Ok(made().into())
}

fn all(text: &str, is: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is)
}

fn is_cased(text: &str) -> bool {
    text.chars().any(|c| c.is_lowercase() || c.is_uppercase())
}

/// Words begin after what is no letter.
fn title(text: &str) -> String {
    let (mut out, mut within) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        within = c.is_lowercase() || c.is_uppercase();
    }
    out
}

fn swapped(c: char) -> Vec<char> {
    if c.is_uppercase() {
        c.to_lowercase().collect()
    } else {
        c.to_uppercase().collect()
    }
}

type SplitBy = for<'a> fn(&'a str, &str, usize) -> Vec<&'a str>;
type SplitAtSpace = for<'a> fn(&'a str, usize) -> Vec<&'a str>;

fn split(
    text: &str,
    mut args: Arguments,
    by: SplitBy,
    at_space: SplitAtSpace,
) -> Result<Value, Error> {
    let separator = args.text("sep")?;
    let most = args.integer("maxsplit")?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    let most = most.unwrap_or(usize::MAX - 1);
    args.end()?;
    let parts = match separator.as_deref() {
        None => at_space(text, most),
        Some("") => return Err(invalid("split: the separator is empty")),
        Some(separator) => by(text, separator, most),
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn split_first<'a>(text: &'a str, separator: &str, most: usize) -> Vec<&'a str> {
    text.splitn(most + 1, separator).collect()
}

fn split_last<'a>(text: &'a str, separator: &str, most: usize) -> Vec<&'a str> {
    let mut parts: Vec<_> = text.rsplitn(most + 1, separator).collect();
    parts.reverse();
    parts
}

fn space_first(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = rest.find(is_space).filter(|_| parts.len() < most);
        let (part, later) = rest.split_at(end.unwrap_or(rest.len()));
        parts.push(part);
        rest = later.trim_start_matches(is_space);
    }
    parts
}

fn space_last(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let space = rest.char_indices().rev().find(|&(_, c)| is_space(c));
        let start = space.filter(|_| parts.len() < most);
        let (earlier, part) = rest.split_at(start.map_or(0, |(at, c)| at + c.len_utf8()));
        parts.push(part);
        rest = earlier.trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

fn lines(text: &str, mut args: Arguments) -> Result<Value, Error> {
    let keep = args.truth("keepends");
    args.end()?;
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let end = match rest[at..].chars().next() {
            Some('\r') if rest[at..].starts_with("\r\n") => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        lines.push(Value::from(&rest[..if keep { at + end } else { at }]));
        rest = &rest[at + end..];
    }
    Ok(Value::from(lines))
}

fn parted(text: &str, mut args: Arguments, last: bool) -> Result<Value, Error> {
    let separator = args.needed_text("sep")?;
    args.end()?;
    if separator.is_empty() {
        return Err(invalid("partition: the separator is empty"));
    }
    let parts = if last {
        text.rsplit_once(&separator)
    } else {
        text.split_once(&separator)
    };
    let parts = match parts {
        Some((before, after)) => [before, &separator, after],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn removed(
    text: &str,
    mut args: Arguments,
    without: impl for<'a> Fn(&'a str, &str) -> Option<&'a str>,
) -> Result<Value, Error> {
    let part = args.needed_text("part")?;
    args.end()?;
    Ok(Value::from(without(text, &part).unwrap_or(text)))
}

/// What of `text` the next two arguments leave, and how many characters are before it. `None`
/// where they leave no place, not even an empty one.
fn window<'a>(text: &'a str, args: &mut Arguments) -> Result<Option<(&'a str, usize)>, Error> {
    let length = text.chars().count();
    let place = |at: i64| {
        let from_end = i64::try_from(length).unwrap_or(i64::MAX).saturating_add(at);
        usize::try_from(if at < 0 { from_end.max(0) } else { at }).unwrap_or(usize::MAX)
    };
    let start = args.integer("start")?.map_or(0, place);
    let end = args.integer("end")?.map_or(length, place).min(length);
    if start > end {
        return Ok(None);
    }
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
    Ok(Some((&text[byte(start)..byte(end)], start)))
}

fn found(text: &str, mut args: Arguments, last: bool) -> Result<Option<usize>, Error> {
    let part = args.needed_text("sub")?;
    let window = window(text, &mut args)?;
    args.end()?;
    Ok(window.and_then(|(text, before)| {
        let at = if last {
            text.rfind(&part)
        } else {
            text.find(&part)
        };
        at.map(|at| before + text[..at].chars().count())
    }))
}

fn there(at: Option<usize>) -> Result<Value, Error> {
    at.map(Value::from)
        .ok_or_else(|| invalid("index: it is not in the string"))
}

fn counted(text: &str, mut args: Arguments) -> Result<Value, Error> {
    let part = args.needed_text("sub")?;
    let window = window(text, &mut args)?;
    args.end()?;
    Ok(Value::from(
        window.map_or(0, |(text, _)| text.matches(&part).count()),
    ))
}

fn has_end(
    text: &str,
    mut args: Arguments,
    has: impl Fn(&str, &str) -> bool,
) -> Result<Value, Error> {
    let parts = args.next("part").unwrap_or_default();
    let window = window(text, &mut args)?;
    args.end()?;
    let Some((text, _)) = window else {
        return Ok(Value::from(false));
    };
    if let Some(part) = parts.as_str() {
        return Ok(Value::from(has(text, part)));
    }
    if parts.kind() != ValueKind::Seq {
        let what = format!(
            "startswith, endswith: a string is wanted, not {}",
            parts.kind()
        );
        return Err(invalid(what));
    }
    let mut parts = parts.try_iter()?;
    Ok(Value::from(parts.any(|part| {
        part.as_str().is_some_and(|part| has(text, part))
    })))
}

fn padded(
    text: &str,
    mut args: Arguments,
    left: impl Fn(usize, usize) -> usize,
) -> Result<Value, Error> {
    let width = args.width("width")?.unwrap_or(0);
    let fill = args.text("fillchar")?.unwrap_or_else(|| " ".to_owned());
    args.end()?;
    let pad = width.saturating_sub(text.chars().count());
    let left = left(pad, width);
    let (before, after) = (fill.repeat(left), fill.repeat(pad - left));
    Ok(Value::from(format!("{before}{text}{after}")))
}

fn zero_filled(text: &str, mut args: Arguments) -> Result<Value, Error> {
    let width = args.width("width")?.unwrap_or(0);
    args.end()?;
    let pad = "0".repeat(width.saturating_sub(text.chars().count()));
    let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
    Ok(Value::from(format!("{sign}{pad}{digits}")))
}
