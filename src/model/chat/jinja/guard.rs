//! Keeps typed text typed through what a template does to strings.
//!
//! ```text
//!  replace('X', '')   <|im_Xstart|>              -> <·|im_start|>               broken
//!  strip()            <|im_start|>user <·|x|>_   -> <|im_start|>user <·|x|>     kept
//! ```
//!
//! Where a control token's name is in a function's result, the result is made once more, with each
//! name that its inputs have as one character, a *seal*. A name in that was put together by the
//! function and is broken; a seal was the template's own, or an answer's, and is a name again.
//! Where the two results differ in more than that, the function looked into names, and all are
//! broken.
//!
//! What only puts texts one after another (`+`, `~`, `join`, `format`) needs no guard: a part of a
//! name at an end of typed text is broken already, and a template that writes both ends of a name
//! around a role means it.

use crate::model::chat::marks::{ControlNames, mark_again, unmark};
use crate::model::chat::seals::Seals;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

/// Applies `function` to `inputs`; no control token is in the result that is in none of them.
pub(super) fn apply(
    names: &ControlNames,
    inputs: &[Value],
    function: impl Fn(&[Value]) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let made = function(inputs)?;
    let texts = texts(&made);
    if texts.is_empty() {
        return Ok(made);
    }
    if !texts.iter().any(|text| names.any_in(text)) {
        // Only the ends that the function gave to it could be parts of names.
        return Ok(changed(&made, |text| {
            let is_new = !inputs.iter().any(|input| input.as_str() == Some(text));
            is_new.then(|| mark_again(names, text))
        }));
    }
    let mut seals = Seals::default();
    for text in inputs.iter().flat_map(self::texts) {
        seals.add(names, &text);
    }
    let sealed: Vec<_> = inputs
        .iter()
        .map(|input| changed(input, |text| Some(seals.seal(text))))
        .collect();
    let again = function(&sealed)
        .map(|made| changed(&made, |text| Some(seals.open(&mark_again(names, text)))));
    match again {
        Ok(again) if real(&again).eq(&real(&made)) => Ok(again),
        _ => Ok(changed(&made, |text| Some(mark_again(names, text)))),
    }
}

/// The strings that a value is, or is a list of.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value.kind() {
        ValueKind::String => text(value).into_iter().collect(),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().into_iter().flatten();
            items.filter_map(|item| text(&item)).collect()
        }
        _ => Vec::new(),
    }
}

/// The value with `change` in the place of its strings, where there is one.
fn changed(value: &Value, change: impl Fn(&str) -> Option<String>) -> Value {
    let one = |value: &Value| value.as_str().and_then(&change).map(Value::from);
    match value.kind() {
        ValueKind::String => one(value).unwrap_or_else(|| value.clone()),
        ValueKind::Seq | ValueKind::Iterable => match value.try_iter() {
            Ok(items) => items.map(|item| one(&item).unwrap_or(item)).collect(),
            Err(_) => value.clone(),
        },
        _ => value.clone(),
    }
}

/// What people see of a value's strings.
fn real(value: &Value) -> Vec<String> {
    texts(value).iter().map(|text| unmark(text)).collect()
}
