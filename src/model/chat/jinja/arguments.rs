//! Arguments as Python passes them: each by its place or by its name.

use super::invalid;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, Value};

/// What a function was called with, taken one parameter after another.
pub(super) struct Arguments<'a> {
    function: &'a str,
    places: std::slice::Iter<'a, Value>,
    names: Option<Kwargs>,
}

impl<'a> Arguments<'a> {
    pub fn new(function: &'a str, args: &'a [Value]) -> Self {
        let (places, names) = match args.split_last() {
            Some((last, before)) if last.is_kwargs() => {
                (before, Kwargs::try_from(last.clone()).ok())
            }
            _ => (args, None),
        };
        Self {
            function,
            places: places.iter(),
            names,
        }
    }

    /// The next parameter, where it was given. `None` in Python's sense is given.
    pub fn next(&mut self, name: &str) -> Option<Value> {
        let place = self.places.next().cloned();
        place.or_else(|| self.names.as_ref()?.get(name).ok())
    }

    /// The same, where `None` is as good as not given.
    pub fn some(&mut self, name: &str) -> Option<Value> {
        self.next(name).filter(|value| !value.is_none())
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.some(name) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.wrong(name, "a string", &value)),
        }
    }

    /// A text that must be given.
    pub fn needed_text(&mut self, name: &str) -> Result<String, Error> {
        let missing = || invalid(format!("{}: '{name}' is missing", self.function));
        let missing = missing();
        self.text(name)?.ok_or(missing)
    }

    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.some(name) else {
            return Ok(None);
        };
        let number = match value.kind() {
            ValueKind::Bool => Some(i64::from(value.is_true())),
            _ => value.as_i64().filter(|_| value.is_integer()),
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, "an integer", &value)),
        }
    }

    /// How wide a text is to become. More than any real template wants is refused.
    pub fn width(&mut self, name: &str) -> Result<Option<usize>, Error> {
        const MOST: i64 = 10_000;
        match self.integer(name)? {
            Some(width) if width > MOST => {
                Err(invalid(format!("{}: {width} is too wide", self.function)))
            }
            width => Ok(width.map(|width| usize::try_from(width).unwrap_or(0))),
        }
    }

    pub fn truth(&mut self, name: &str) -> bool {
        self.next(name).is_some_and(|value| value.is_true())
    }

    /// Refuses what is left over.
    pub fn end(mut self) -> Result<(), Error> {
        if self.places.next().is_some() {
            let what = format!("{}: too many arguments", self.function);
            return Err(invalid(what));
        }
        self.names.map_or(Ok(()), |names| names.assert_all_used())
    }

    fn wrong(&self, name: &str, wanted: &str, got: &Value) -> Error {
        let (function, kind) = (self.function, got.kind());
        invalid(format!("{function}: '{name}' is {wanted}, not {kind}"))
    }
}
