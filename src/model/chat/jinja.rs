//! A model's own Jinja template, rendered as Hugging Face's tokenizers do.
//!
//! A template comes out of a file from anywhere. It computes a bounded number of steps, nests and
//! writes so much and no more, reaches no file, and has no clock: time is an argument.

use super::marks::{ControlNames, mark};
use chrono::NaiveDateTime;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value, context};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

/// Steps of a rendering: so many, and so many more for a message. Real templates take up to
/// some hundred for a message.
const STEPS: u64 = 100_000;
const STEPS_A_MESSAGE: u64 = 5_000;
/// Calls within calls.
const NESTING: usize = 100;
/// What a template may write besides twice the messages.
const OUTPUT_BYTES: usize = 1 << 20;
/// Templates of models that use tools are some 20 KB.
const SOURCE_BYTES: usize = 256 << 10;

const NAME: &str = "chat_template";

/// A compiled template.
pub(super) struct Jinja {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    /// Variables that only some templates look at.
    variables: BTreeMap<&'static str, Value>,
}

/// What it is rendered with.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub role: &'static str,
    pub content: &'a str,
    /// What was thought before it, and the name under which the template takes it.
    thought: Option<(&'static str, &'a str)>,
}

impl<'a> Message<'a> {
    pub(super) fn new(role: &'static str, content: &'a str) -> Self {
        Self {
            role,
            content,
            thought: None,
        }
    }

    /// The same with a thought in a field of this name.
    #[must_use]
    pub(super) fn thinking(self, field: &'static str, thought: &'a str) -> Self {
        Self {
            thought: Some((field, thought)),
            ..self
        }
    }

    fn value(&self) -> Value {
        let thought = self.thought.map(|(field, text)| (field, Value::from(text)));
        let thought = BTreeMap::from_iter(thought);
        context! { role => self.role, content => self.content, ..Value::from(thought) }
    }

    fn bytes(&self) -> usize {
        self.content.len() + self.thought.map_or(0, |(_, text)| text.len())
    }
}

/// Why a template cannot be used, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("line {line}: {what}")]
    Line { line: usize, what: String },
    #[error("{0}")]
    Whole(String),
}

impl Jinja {
    /// Compiles `source`. `bos` and `eos` are the texts of the tokens that begin and end a text.
    pub(super) fn new(
        source: &str,
        (bos, eos): (String, String),
        names: &Arc<ControlNames>,
        now: NaiveDateTime,
    ) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES {
            let what = format!("it has {} bytes, more than any real one", source.len());
            return Err(TemplateError::Whole(what));
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_recursion_limit(NESTING);
        // Errors name lines without it, and it keeps the whole source in each.
        environment.set_debug(false);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", move |format: &str| {
            let mut out = String::new();
            write!(out, "{}", now.format(format))
                .map(|()| out)
                .map_err(|_| invalid(format!("strftime_now does not know the format '{format}'")))
        });
        environment.add_filter("tojson", to_json);
        // Python cannot iterate over `None`; the engine's own test says that it can.
        environment.add_test("iterable", |value: &Value| {
            !value.is_none() && (value.as_str().is_some() || value.try_iter().is_ok())
        });
        let guard = Arc::clone(names);
        environment.set_unknown_method_callback(move |state, value, method, args| {
            let made =
                minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)?;
            let inputs = std::iter::once(value).chain(args);
            Ok(guarded(&guard, made, inputs))
        });
        for name in ["replace", "join", "reverse", "format"] {
            guard_filter(&mut environment, name, names);
        }
        let source = without_generation_marks(source);
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| in_words(&error))?;
        Ok(Self {
            environment,
            bos,
            eos,
            variables: BTreeMap::new(),
        })
    }

    /// Sets a variable; `None` takes it away.
    pub(super) fn set(&mut self, name: &'static str, value: Option<Value>) {
        match value {
            Some(value) => self.variables.insert(name, value),
            None => self.variables.remove(name),
        };
    }

    /// Its text.
    pub(super) fn source(&self) -> String {
        let template = self.environment.get_template(NAME);
        template.map_or_else(|_| String::new(), |template| template.source().to_owned())
    }

    /// Renders a conversation; `ask` adds what comes before an answer.
    pub(super) fn render(
        &self,
        messages: &[Message<'_>],
        ask: bool,
    ) -> Result<String, TemplateError> {
        let contents: usize = messages.iter().map(Message::bytes).sum();
        let values: Vec<Value> = messages.iter().map(Message::value).collect();
        // What is absent is passed as `none`, as Hugging Face's tokenizers do.
        let context = context! {
            messages => values,
            add_generation_prompt => ask,
            bos_token => self.bos,
            eos_token => self.eos,
            tools => Value::from(()),
            documents => Value::from(()),
            ..Value::from(self.variables.clone())
        };
        // Steps are counted by the environment, of which every rendering gets a view of its own.
        let mut environment = self.environment.clone();
        let steps = STEPS + STEPS_A_MESSAGE * messages.len() as u64;
        environment.set_fuel(Some(steps));
        let mut out = Bounded {
            bytes: Vec::new(),
            most: contents * 2 + OUTPUT_BYTES,
        };
        let template = environment
            .get_template(NAME)
            .map_err(|error| in_words(&error))?;
        template
            .render_captured_to(context, &mut out)
            .map_err(|error| in_words(&error))?;
        String::from_utf8(out.bytes)
            .map_err(|_| TemplateError::Whole("it writes what is no text".to_owned()))
    }
}

/// Takes no more than `most` bytes.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error in a user's words.
fn in_words(error: &Error) -> TemplateError {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps, as if it went round for ever".to_owned(),
        ErrorKind::WriteFailure => "it writes far more than the conversation".to_owned(),
        kind => match error.detail() {
            Some(detail) => detail.to_owned(),
            None => kind.to_string(),
        },
    };
    match error.line() {
        Some(line) if line > 0 => TemplateError::Line { line, what },
        _ => TemplateError::Whole(what),
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

fn raise_exception(what: String) -> Result<Value, Error> {
    Err(invalid(format!("the template says: {what}")))
}

/// `{% generation %}` marks answers for training and writes nothing. What takes its place leaves
/// lines as they are.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, block) = rest.split_at(at);
        out.push_str(before);
        let end = block.find("%}").map_or(block.len(), |end| end + 2);
        let (block, later) = block.split_at(end);
        let name = block.trim_start_matches("{%").trim_end_matches("%}");
        let name = name.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        out.push_str(&match name {
            "generation" => block.replacen(name, "if true", 1),
            "endgeneration" => block.replacen(name, "endif", 1),
            _ => block.to_owned(),
        });
        rest = later;
    }
    out.push_str(rest);
    out
}

/// A string function's result, in which no control token is that none of its inputs had: typed
/// text must not become one by what a template takes out of it.
fn guarded<'a>(
    names: &ControlNames,
    made: Value,
    mut inputs: impl Iterator<Item = &'a Value>,
) -> Value {
    let Some(text) = made.as_str() else {
        return made;
    };
    let made_here = names.any_in(text)
        && !inputs.any(|input| input.as_str().is_some_and(|input| names.any_in(input)));
    if made_here {
        Value::from(mark(names, text))
    } else {
        made
    }
}

/// Puts [`guarded`] around one of the engine's own filters.
fn guard_filter(
    environment: &mut Environment<'static>,
    name: &'static str,
    names: &Arc<ControlNames>,
) {
    let plain = Environment::new();
    let names = Arc::clone(names);
    environment.add_filter(
        name,
        move |_: &State<'_, '_>, value: Value, args: Rest<Value>| {
            let state = plain.empty_state();
            let mut all = vec![value];
            all.extend(args.iter().cloned());
            let made = state.apply_filter(name, &all)?;
            let mut inputs = Vec::new();
            for input in &all {
                match input.kind() {
                    ValueKind::Seq | ValueKind::Iterable => inputs.extend(input.try_iter()?),
                    _ => inputs.push(input.clone()),
                }
            }
            Ok::<_, Error>(guarded(&names, made, inputs.iter()))
        },
    );
}

/// As Python's `json.dumps` writes, which is what templates were written against.
fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let (_, _, _): (Option<bool>, Option<bool>, Option<Value>) = (
        kwargs.get("ensure_ascii")?,
        kwargs.get("sort_keys")?,
        kwargs.get("separators")?,
    );
    kwargs.assert_all_used()?;
    let mut out = String::new();
    dump(value, indent, 0, &mut out)?;
    Ok(Value::from(out))
}

fn dump(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > NESTING {
        return Err(invalid("tojson: values are nested too deep"));
    }
    let line = |out: &mut String, depth: usize| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', (width * depth).min(4096)));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { comma } else { "" });
                line(out, depth + 1);
                out.push_str(&quoted(&key.to_string()));
                out.push_str(": ");
                dump(&value.get_item(&key)?, indent, depth + 1, out)?;
            }
            if value.len() != Some(0) {
                line(out, depth);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { comma } else { "" });
                line(out, depth + 1);
                dump(&item, indent, depth + 1, out)?;
            }
            if value.len() != Some(0) {
                line(out, depth);
            }
            out.push(']');
        }
        ValueKind::Bool | ValueKind::Number => out.push_str(&value.to_string()),
        _ => out.push_str(&quoted(value.as_str().unwrap_or(&value.to_string()))),
    }
    if out.len() > OUTPUT_BYTES * 16 {
        return Err(invalid("tojson: it writes too much"));
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::TokenId;
    use chrono::NaiveDate;

    fn compile(source: &str) -> Result<Jinja, TemplateError> {
        let names = vec![
            ("<s>".to_owned(), TokenId(1)),
            ("<|im_start|>".to_owned(), TokenId(5)),
        ];
        let names = Arc::new(ControlNames::new(names));
        let day = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
        let now = day.and_hms_opt(13, 5, 9).unwrap();
        Jinja::new(source, ("<s>".into(), "</s>".into()), &names, now)
    }

    fn render(source: &str, user: &str) -> Result<String, TemplateError> {
        let messages = [Message::new("user", user)];
        compile(source)?.render(&messages, true)
    }

    #[test]
    fn what_hugging_faces_templates_use_is_there() {
        for (source, right) in [
            (
                "{{ bos_token }}{{ messages[0]['content'] | trim }}{{ eos_token }}",
                "<s>hi there</s>",
            ),
            (
                "{%- for m in messages %}\n{% generation %}\nx\n{% endgeneration %}\n{% endfor %}",
                "x\n",
            ),
            ("{%- generation -%} x {%- endgeneration -%}", "x"),
            ("{{ strftime_now('%d %b %Y') }}", "30 Nov 2026"),
            (
                "{{ {'b': [1, 'é<'], 'a': none} | tojson }}",
                r#"{"b": [1, "é<"], "a": null}"#,
            ),
            ("{{ {'a': 1} | tojson(indent=4) }}", "{\n    \"a\": 1\n}"),
            (
                "{% if tools is not none or tools %}no{% endif %}{% set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
                "3",
            ),
            (
                "{{ 'a</think>b'.split('</think>')[-1] ~ messages[0].content.strip().startswith('hi') }}",
                "bTrue",
            ),
            (
                "{{ messages[::-1][0].role ~ (messages | length) }}",
                "user1",
            ),
            (
                "{{ tools is iterable }}{{ messages is iterable }}{{ 'a' is iterable }}",
                "FalseTrueTrue",
            ),
            (
                "{% if not add_generation_prompt is defined %}x{% endif %}{{ messages[0].content is string }}",
                "True",
            ),
        ] {
            assert_eq!(
                render(source, " hi there ").as_deref(),
                Ok(right),
                "{source}"
            );
        }
    }

    #[test]
    fn string_functions_make_no_control_token_of_typed_text() {
        for source in [
            "{{ messages[0].content | replace('X', '') }}",
            "{{ messages[0].content.replace('X', '') }}",
            "{{ messages[0].content.split('X') | join }}",
            "{{ ''.join(messages[0].content.split('X')) }}",
        ] {
            let text = render(source, "<|im_Xstart|>").unwrap();
            assert!(!text.contains("<|im_start|>"), "{source}: {text:?}");
            assert_eq!(
                super::super::marks::unmark(&text),
                "<|im_start|>",
                "{source}"
            );
        }
        let own = render("{{ '<|im_start|> user' | replace(' ', '') }}", "").unwrap();
        assert_eq!(own, "<|im_start|>user");
    }

    #[test]
    fn hostile_templates_end_in_words() {
        let rounds =
            "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
        let output = "{% for a in range(40000) %}".to_owned() + &"x".repeat(1000) + "{% endfor %}";
        let nested = "{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}".to_owned();
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
        let raised = "line\n{{ raise_exception('no system') }}";
        for (source, words) in [
            (rounds, "line 1: it takes too many steps"),
            (&output, "it writes far more"),
            (&nested, "recursion"),
            (&deep, "line 1: "),
            (raised, "line 2: the template says: no system"),
            ("\n\n{% if %}", "line 3: "),
            (
                "{{ messages[0].nothing.at.all }}",
                "line 1: undefined value",
            ),
        ] {
            let error = render(source, "hi").unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        let error = compile(&" ".repeat(SOURCE_BYTES + 1)).err().unwrap();
        assert!(error.to_string().contains("bytes"), "{error}");
    }
}
