//! Our renderings of `tests/data/templates` against those of Python's jinja2.

use super::{Jinja, Message, TemplateError};
use crate::model::chat::marks::{AnswerToken, ControlNames, MarkedAnswer, mark, unmark};
use crate::units::TokenId;
use chrono::{NaiveDate, NaiveDateTime};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Deserialize)]
struct Conversation {
    ask: bool,
    messages: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum Reference {
    Text(String),
    Refused(String),
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/templates")
}

fn read<T: for<'a> Deserialize<'a>>(file: &str) -> T {
    let text = std::fs::read_to_string(folder().join(file)).expect(file);
    serde_json::from_str(&text).expect(file)
}

/// Names and sources.
fn templates() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut templates: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|ext| ext == "jinja"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    templates.sort();
    templates
}

/// What `scripts/chat-references` takes for the time.
fn now() -> NaiveDateTime {
    let day = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
    day.and_hms_opt(13, 5, 9).unwrap()
}

fn role(name: &str) -> &'static str {
    let roles = ["system", "user", "assistant"];
    roles.into_iter().find(|role| *role == name).expect(name)
}

/// Renders with each content as `prepared` makes it, given which answer it is.
fn render(
    source: &str,
    said: &Conversation,
    names: &Arc<ControlNames>,
    prepared: impl Fn(&Said, usize) -> String,
) -> Result<String, TemplateError> {
    let contents = said.messages.iter().enumerate();
    let contents: Vec<_> = contents
        .map(|(i, said)| (role(&said.role), prepared(said, i)))
        .collect();
    let messages: Vec<_> = contents
        .iter()
        .map(|(role, content)| Message::new(role, content))
        .collect();
    let ends = ("<s>".to_owned(), "</s>".to_owned());
    Jinja::new(source, ends, names, now())?.render(&messages, said.ask)
}

/// Compares all pairs of a template and a conversation.
fn compare(names: &Arc<ControlNames>, prepared: impl Fn(&Said, usize) -> String) {
    let conversations: BTreeMap<String, Conversation> = read("conversations.json");
    let templates = templates();
    assert!(templates.len() > 25 && conversations.len() > 12);
    let mut wrong = Vec::new();
    for (name, source) in &templates {
        let references: BTreeMap<String, Reference> = read(&format!("references/{name}.json"));
        assert_eq!(
            references.len(),
            conversations.len(),
            "make chat-references"
        );
        for (about, said) in &conversations {
            let ours = render(source, said, names, &prepared).map(|text| unmark(&text));
            let same = match (&references[about], &ours) {
                (Reference::Text(right), Ok(ours)) => ours == right,
                (Reference::Refused(_), Err(_)) => true,
                _ => false,
            };
            if !same {
                let right = &references[about];
                wrong.push(format!("{name}, {about}:\n  {right:?}\n  {ours:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn templates_are_rendered_as_python_does() {
    compare(&Arc::new(ControlNames::new(Vec::new())), |said, _| {
        said.content.clone()
    });
}

#[test]
fn marks_change_no_text() {
    let tokens = std::fs::read_to_string(folder().join("control-tokens.txt")).unwrap();
    let tokens = tokens.lines().chain(["<s>", "</s>"]).map(str::to_owned);
    let tokens: Vec<_> = tokens.zip((0..).map(TokenId)).collect();
    let names = Arc::new(ControlNames::new(tokens));
    compare(&names, |said, i| match said.role.as_str() {
        "assistant" => {
            // Names in an answer are tokens that the model said.
            let mut tokens = Vec::new();
            let mut push = |text: &str, control| {
                if !text.is_empty() {
                    let bytes = text.as_bytes().to_vec();
                    tokens.push(AnswerToken { bytes, control });
                }
            };
            let mut at = 0;
            for (place, _) in names.find(&said.content) {
                push(&said.content[at..place.start], false);
                push(&said.content[place.clone()], true);
                at = place.end;
            }
            push(&said.content[at..], false);
            MarkedAnswer::new(&names, i / 2, &tokens).text
        }
        _ => mark(&names, &said.content),
    });
}
