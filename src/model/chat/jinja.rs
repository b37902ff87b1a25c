//! A model's own Jinja template, rendered as Hugging Face's tokenizers do.
//!
//! ```text
//!  source      what the engine's syntax lacks, rewritten
//!  strings     Python's methods      filters   Jinja's filters and tests, where the engine differs
//!  written     str(), JSON           clock     strftime
//!  guard       around each of them: typed text stays typed
//! ```
//!
//! Where a template is wrong for Python (`1 + 'a'`), the engine may be milder.
//!
//! A template comes out of a file from anywhere. It computes a bounded number of steps, nests and
//! writes so much and no more, reaches no file, and has no clock: time is an argument.

mod arguments;
mod clock;
mod filters;
mod guard;
#[cfg(test)]
mod references;
mod source;
mod strings;
mod written;

use super::marks::ControlNames;
use chrono::NaiveDateTime;
use minijinja::value::{Rest, ValueKind};
use minijinja::{
    Environment, Error, ErrorKind, FormatStyle, State, UndefinedBehavior, Value, context,
    escape_formatter,
};
use std::collections::BTreeMap;
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

/// Methods that put texts one after another, which needs no guard: see [`guard`].
const JOINING_METHODS: [&str; 2] = ["join", "format"];

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
            clock::strftime(now, format)
        });
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Number | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                let text = written::text(value)?;
                escape_formatter(out, state, &Value::from(text))
            }
            _ => escape_formatter(out, state, value),
        });
        filters::add_to(&mut environment);
        for name in filters::OWN_TEXT_FILTERS {
            let plain = Environment::new();
            add_guarded(&mut environment, name, names, move |args| {
                plain.empty_state().apply_filter(name, args)
            });
        }
        for (name, filter) in filters::TEXT_FILTERS {
            add_guarded(&mut environment, name, names, filter);
        }
        for (name, filter) in filters::JOINING_FILTERS {
            environment.add_filter(name, move |args: Rest<Value>| filter(&args));
        }
        let guard = Arc::clone(names);
        environment.set_unknown_method_callback(move |state, value, method, args| {
            let mut inputs = vec![value.clone()];
            inputs.extend_from_slice(args);
            if JOINING_METHODS.contains(&method) {
                return call_method(state, &inputs, method);
            }
            guard::apply(&guard, &inputs, |inputs| call_method(state, inputs, method))
        });
        environment
            .add_template_owned(NAME, source::adapted(source))
            .map_err(|error| in_words(&error))?;
        Ok(Self {
            environment,
            bos,
            eos,
            variables: BTreeMap::new(),
        })
    }

    /// Whether it looks at a variable of this name that it does not make itself.
    pub(super) fn reads(&self, variable: &str) -> bool {
        let template = self.environment.get_template(NAME);
        template.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
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

/// Adds a filter that makes strings, guarded.
fn add_guarded(
    environment: &mut Environment<'static>,
    name: &'static str,
    names: &Arc<ControlNames>,
    filter: impl Fn(&[Value]) -> Result<Value, Error> + Send + Sync + 'static,
) {
    let names = Arc::clone(names);
    environment.add_filter(name, move |args: Rest<Value>| {
        guard::apply(&names, &args, &filter)
    });
}

/// A method of the first of `inputs`, the others being its arguments.
fn call_method(state: &State, inputs: &[Value], method: &str) -> Result<Value, Error> {
    let Some((value, args)) = inputs.split_first() else {
        return Err(ErrorKind::UnknownMethod.into());
    };
    match (strings::call(value, method, args), value.as_str()) {
        (Some(made), _) => made,
        (None, Some(format)) if method == "format" => {
            filters::formatted(FormatStyle::StrFormat, format, args)
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::chat::marks::{mark, unmark};
    use crate::units::TokenId;
    use chrono::NaiveDate;
    use proptest::prelude::*;

    fn names() -> Arc<ControlNames> {
        let names = vec![
            ("<s>".to_owned(), TokenId(1)),
            ("<|im_start|>".to_owned(), TokenId(5)),
        ];
        Arc::new(ControlNames::new(names))
    }

    fn compile(source: &str) -> Result<Jinja, TemplateError> {
        let day = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
        let now = day.and_hms_opt(13, 5, 9).unwrap();
        Jinja::new(source, ("<s>".into(), "</s>".into()), &names(), now)
    }

    fn render(source: &str, user: &str) -> Result<String, TemplateError> {
        let content = mark(&names(), user);
        let messages = [Message::new("user", &content)];
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

    /// Each was compared with Python's jinja2.
    #[test]
    fn what_python_has_otherwise_than_the_engine() {
        for (source, right) in [
            (
                "{{ [1, 'it\\'s', none, 1e16, {'a': true}] }}",
                "[1, \"it's\", None, 1e+16, {'a': True}]",
            ),
            ("{{ 1e-7 ~ '' if 0 else 1e-7 }}", "1e-07"),
            (
                "{{ {'b': [1, none, true], 'a': 1.0} | tojson(sort_keys=true, separators=(',', ':')) }}",
                r#"{"a":1.0,"b":[1,null,true]}"#,
            ),
            (
                "{{ 'é🙂' | tojson(ensure_ascii=true) }}",
                r#""\u00e9\ud83d\ude42""#,
            ),
            ("{{ {'a': {}} | tojson(indent='-') }}", "{\n-\"a\": {}\n}"),
            (
                "{{ 'a b  c '.split(none, 1) }}{{ ' a b'.rsplit(maxsplit=1) }}",
                "['a', 'b  c '][' a', 'b']",
            ),
            (
                "{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a,b,c'.split(',', maxsplit=1) }}",
                "['a,b', 'c']['a', 'b,c']",
            ),
            (
                "{{ 'a\r\nb\x0bc'.splitlines() }}{{ 'a\n'.splitlines(keepends=true) }}",
                "['a', 'b', 'c']['a\\n']",
            ),
            (
                "{{ 'a-b-c'.partition('-') | join('|') }} {{ 'a-b-c'.rpartition('-') | join('|') }}",
                "a|-|b-c a-b|-|c",
            ),
            (
                "{{ 'pre-x'.removeprefix('pre-') }}{{ 'x.y'.removesuffix('.y') }}",
                "xx",
            ),
            (
                "{{ 'abcabc'.find('c', 3) }}{{ 'abcabc'.rfind('a', 0, 3) }}{{ 'abc'.find('x') }}{{ 'aaaa'.count('aa') }}{{ 'abc'.count('') }}",
                "50-124",
            ),
            (
                "{{ 'abc'.startswith('b', 1) }}{{ 'abc'.endswith(('x', 'c')) }}{{ ''.isdigit() }}{{ 'a1'.islower() }}",
                "TrueTrueFalseTrue",
            ),
            (
                "{{ \"it's 3rd\".title() }} {{ \"it's (b-c) d_e\" | title }} {{ 'aB'.swapcase() }}",
                "It'S 3Rd It's (B-C) D_e Ab",
            ),
            (
                "{{ 'ab'.center(5, '*') }}{{ '-7'.zfill(4) }}{{ 'a'.rjust(2) }}{{ 'a'.ljust(2) }}|",
                "**ab*-007 aa |",
            ),
            (
                "{{ 'abcde'[3:0:-2] ~ 'abcde'[-2:] ~ [1, 2, 3][2:0:-1] }}",
                "dbde[3, 2]",
            ),
            (
                "{{ '%s of %d' % ('a', 2) }}{{ '%(x)s' % {'x': 1} }}{{ ' %s' % [1] }}{{ 7 % 4 }}",
                "a of 21 [1]3",
            ),
            (
                "{{ 'a\nb\n' | indent(2) }}|{{ 'a\n\nb' | indent('> ', true, blank=true) }}",
                "a\n  b\n|> a\n> \n> b",
            ),
            (
                "{{ [{'a': 1}, {'a': 2}] | sum(attribute='a', start=1) }}{{ [{'a': 1}] | join(',', attribute='a') }}",
                "41",
            ),
            (
                "{{ {'b': 1, 'A': 2} | dictsort(reverse=true) | map('first') | join }}{{ x | items | list }}{{ x | length }}",
                "bA[]0",
            ),
            (
                "{{ '3.7' | int }}{{ 'x' | int(5) }}{{ 'ff' | int(base=16) }}{{ 'x' | float(0.5) }}{{ 2.5 | round }}{{ 2.1 | round(method='ceil') }}",
                "352550.52.03.0",
            ),
            (
                "{{ 'a' is sequence }}{{ {} is sequence }}{{ none is sequence }}{{ true is number }}",
                "TrueTrueFalseTrue",
            ),
            (
                "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
                "21",
            ),
            (
                "{% set c = cycler('a', 'b') %}{{ c.next() ~ c.next() ~ c.next() }}{% set j = joiner() %}{{ j() }}{{ j() }}",
                "aba, ",
            ),
            (
                "{{ 'aXbX' | replace('X', '-', 1) }}{{ [1, 2].index(2) }}{{ 'abc'[::-1] }}",
                "a-bX1cba",
            ),
        ] {
            let text = render(source, "").map(|text| unmark(&text));
            assert_eq!(text.as_deref(), Ok(right), "{source}");
        }
    }

    /// Of the template's own making.
    #[test]
    fn string_functions_keep_the_templates_control_tokens() {
        for (source, right) in [
            (
                "{{ '<|im_start|> user' | replace(' ', '') }}",
                "<|im_start|>user",
            ),
            ("{{ '<|%s|>' | format('im_start') }}", "<|im_start|>"),
            (
                "{{ ('<|im_start|>' ~ messages[0].content ~ ' \n').strip() }}",
                "<|im_start|><|im_start|> x",
            ),
            (
                "{{ ['<|im_start|>', 'A '] | join('<s>') | lower | trim }}",
                "<|im_start|><s>a",
            ),
            (
                "{{ '{}{}'.format('<|im_start|>', messages[0].content) }}",
                "<|im_start|><|im_start|> x",
            ),
            (
                "{{ 'a<|im_start|>b'.split('<|im_start|>') | join('<|im_start|>') }}",
                "a<|im_start|>b",
            ),
        ] {
            let text = render(source, "<|im_start|> x").unwrap();
            assert_eq!(unmark(&text), right, "{source}");
            let typed = source.contains("content");
            let tokens = text.matches("<|im_start|>").count();
            let all = right.matches("<|im_start|>").count();
            assert_eq!(tokens, all - usize::from(typed), "{source}: {text:?}");
        }
    }

    #[test]
    fn length_tests_act_on_the_real_text() {
        let source = "{% set c = messages[0].content %}{{ c | length }} {{ c[:4] }} {{ c[-3:] | length }} {{ c[:-1] | length }}";
        let text = render(source, "<s>\u{10f000}<|im_start|><").unwrap();
        assert_eq!(unmark(&text), "17 <s>\u{10f000} 3 16");
    }

    proptest! {
        #[test]
        fn string_functions_make_no_control_token_of_typed_text(
            content in "(X|<\\|im_|<|start\\|>|\\|>|<s|>| |\n|<\\|IM_START\\|>|<s>|ſ|\u{10f000}|>\\|trats_mi\\|<|>s<|<\\||im_|sta|rt){0,8}",
        ) {
            for function in [
                "c", "c | trim", "c.strip('X ')", "c | upper", "c | lower", "c.title()", "c | title",
                "c | capitalize", "c.swapcase()", "c.casefold()", "c | replace('X', '')",
                "c.replace('X', '').replace(' ', '')", "c | replace('ſ', 's')", "c.split('X') | join",
                "''.join(c.split())", "c | list | join", "c | reverse", "c[::-1]", "c[::2]", "c[1:] ~ c[:-1]",
                "c[:3].strip() ~ c[3:].strip()", "c | tojson", "[c, c] | tojson(indent=1)", "c | indent(0)",
                "'%s%s' % (c, c)", "'{}{}'.format(c, c)", "'%s%s' | format(c[:2], c[2:])", "c | escape",
                "c | striptags", "c.center(40)", "c | string", "c.splitlines() | join",
                "c.partition('X') | join", "[c, c] | map('replace', 'X', '') | join",
                "c.removeprefix('<')", "c | default('') | first", "[c] | string", "c.rsplit('X', 1) | last",
            ] {
                let source = format!("{{% set c = messages[0].content %}}<|im_start|>{{{{ {function} }}}}");
                let text = render(&source, &content).unwrap();
                let names = names();
                prop_assert_eq!(names.find(&text).count(), 1, "{}: {:?}", function, text);
            }
        }
    }

    #[test]
    fn hostile_templates_end_in_words() {
        let rounds =
            "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
        let output = "{% for a in range(40000) %}".to_owned() + &"x".repeat(1000) + "{% endfor %}";
        let nested = "{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}".to_owned();
        let slices = format!("{{{{ a{}1{} }}}}", "[:".repeat(50_000), "]".repeat(50_000));
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
        let raised = "line\n{{ raise_exception('no system') }}";
        for (source, words) in [
            (rounds, "line 1: it takes too many steps"),
            (&output, "it writes far more"),
            (&nested, "recursion"),
            (&deep, "line 1: "),
            (&slices, "line 1: "),
            (raised, "line 2: the template says: no system"),
            ("{{ '%99999999999s' | format('a') }}", "a field is too wide"),
            ("{{ 'a'.ljust(99999999999) }}", "too wide"),
            ("{{ 'a' | indent(99999999999) }}", "too wide"),
            ("{{ 'ab'.split('') }}", "the separator is empty"),
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
