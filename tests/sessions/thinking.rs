//! Answers that think, and answers that end by what their template writes: of models that say what
//! the tests have written.

use crate::gguf_builder;
use crate::scripted_model::{CONTROL, Model, NORMAL, Numbers, Scripted, USER_DEFINED, numbers};
use nmos::config::{Layer, Settings};
use nmos::model::Think;
use nmos::session::{
    Client, DraftRequest, EngineHandle, EngineOptions, Event, Intent, RequestEvent, TreeSize, Vram,
    spawn,
};
use nmos::telemetry::{AnswerEnd, AnswerStats};
use nmos::typing::{Edit, TypingEvent};
use nmos::units::Bytes;
use std::process::{Command, Output, Stdio};

/// Leaves thoughts out of earlier turns.
const STRIPS: &str = "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ 'A:' + m.content.split('</think>')[-1].lstrip('\\n') + eos_token }}{% else %}{{ 'U:' + m.content + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}";

const TAGS: [(&str, i32); 2] = [("<think>", USER_DEFINED), ("</think>", USER_DEFINED)];

/// `<think>hm.</think>`, a line end, `Yes!`.
const THINKS: [&str; 12] = [
    ":", "<think>", "h", "m", ".", "</think>", "<0x0A>", "Y", "e", "s", "!", "</s>",
];

/// Of that, what is an answer.
const ANSWER_TOKENS: u64 = 10;

fn thinker(template: &str) -> Model {
    Scripted {
        says: &THINKS,
        more: &TAGS,
        template: Some(template),
        ..Scripted::default()
    }
    .write()
}

fn options(model: &Model) -> EngineOptions {
    let settings = Settings::resolve(Layer::default(), Layer::default(), None).unwrap();
    let options = settings.engine_options(|_| Ok::<_, String>(model.path()));
    EngineOptions {
        draft: DraftRequest::None,
        scout: false,
        ram: Some(Bytes::mib(400)),
        vram: Vram::None,
        ctx_tokens: 512,
        threads: 2,
        max_tokens: 40,
        system: String::new(),
        anticipate: false,
        ..options.unwrap()
    }
}

/// What became of a prompt.
#[derive(Debug)]
struct Heard {
    thought: String,
    text: String,
    stats: AnswerStats,
}

struct Session {
    engine: EngineHandle,
    client: Client,
    notices: Vec<String>,
}

impl Session {
    fn new(options: EngineOptions) -> Self {
        let engine = spawn(options);
        let client = engine.connect();
        let mut notices = Vec::new();
        loop {
            match client.events().recv().unwrap() {
                Event::Ready => break,
                Event::Notice(notice) => notices.push(notice.to_string()),
                Event::Fatal(why) => panic!("{why}"),
                Event::Request(..) => {}
            }
        }
        Self {
            engine,
            client,
            notices,
        }
    }

    fn ask(&self, prompt: &str) -> Heard {
        let text = prompt.to_owned();
        for edit in [Edit::Insert { text, paste: true }, Edit::Enter] {
            let event = TypingEvent { t_us: 0, edit };
            self.client.send(Intent::Typing(event)).unwrap();
        }
        let (mut thought, mut text) = (String::new(), String::new());
        loop {
            match self.client.events().recv().unwrap() {
                Event::Request(_, RequestEvent::Thought { text, .. }) => thought += &text,
                Event::Request(_, RequestEvent::Text(piece)) => text += &piece,
                Event::Request(_, RequestEvent::Done(stats)) => {
                    assert_eq!(stats.text, text);
                    return Heard {
                        thought,
                        text,
                        stats: *stats,
                    };
                }
                Event::Request(_, RequestEvent::Failed(why)) => panic!("{why}"),
                Event::Fatal(why) => panic!("{why}"),
                _ => {}
            }
        }
    }

    fn end(self) {
        self.engine.shutdown();
    }
}

fn ask(options: EngineOptions) -> (Heard, Vec<String>) {
    let session = Session::new(options);
    let heard = session.ask("hi");
    let notices = session.notices.clone();
    session.end();
    (heard, notices)
}

#[test]
fn thoughts_come_apart_and_are_left_out_of_the_next_turn() {
    let model = thinker(STRIPS);
    let session = Session::new(options(&model));
    assert_eq!(session.notices, [""; 0]);
    let first = session.ask("hi");
    assert_eq!(
        (first.thought.as_str(), first.text.as_str()),
        ("hm.", "Yes!")
    );
    let stats = first.stats;
    assert_eq!((stats.thinking_tokens, stats.tokens), (3, ANSWER_TOKENS));
    assert_eq!(stats.thinking.as_deref(), Some("hm."));
    assert_eq!((stats.end, stats.think_cut), (AnswerEnd::EndOfText, None));
    assert!(stats.first_answer_ms >= stats.ttft_ms && stats.ttft_ms.is_some());
    let second = session.ask("hi");
    // The token that begins every prompt is there once; `Yes!` and its end are between.
    let whole = 2 * (stats.prompt_tokens - 1) + 1 + 5;
    assert_eq!(second.stats.prompt_tokens, whole);
    // What is in the cache of the first turn is read no more, up to its thought.
    assert_eq!(second.stats.prompt_tokens_ready, stats.prompt_tokens);
    assert_eq!((second.thought, second.text), (first.thought, first.text));
    session.end();
}

#[test]
fn a_thought_that_the_prompt_opens_is_one() {
    let opens = STRIPS.replace("A:{% endif %}", "A:<think>{% endif %}");
    let model = Scripted {
        says: &["<think>", "h", "m", "</think>", "Y", "</s>"],
        more: &TAGS,
        template: Some(&opens),
        ..Scripted::default()
    }
    .write();
    let session = Session::new(options(&model));
    let first = session.ask("hi");
    assert_eq!((first.thought.as_str(), first.text.as_str()), ("hm", "Y"));
    assert_eq!(first.stats.thinking_tokens, 2);
    let second = session.ask("hi");
    assert_eq!(second.text, "Y");
    // Without the opening either.
    let turn = first.stats.prompt_tokens - 1;
    assert_eq!(second.stats.prompt_tokens, 1 + (turn - 1) + 2 + turn);
    session.end();
}

#[test]
fn a_prompt_whose_answer_shows_nothing_is_no_turn() {
    let model = Scripted {
        says: &[":", "<think>", "</think>", "</s>"],
        more: &TAGS,
        template: Some(STRIPS),
        ..Scripted::default()
    }
    .write();
    let session = Session::new(options(&model));
    let first = session.ask("hi").stats;
    assert_eq!((first.text.as_str(), first.tokens), ("", 2));
    let second = session.ask("hi").stats;
    assert_eq!(second.prompt_tokens, first.prompt_tokens);
    session.end();
}

#[test]
fn the_form_that_serves_instead_has_ends_of_its_own() {
    let picky = "{# <|assistant|> <|user|> </s> #}{% if 'bad' in messages[-1].content %}{{ raise_exception('no') }}{% endif %}{% for m in messages %}{{ m.content }}:{% endfor %}";
    let model = Scripted {
        says: &["<0x0A>", "Y", "e", "<|user|>", "z"],
        more: &[("<|user|>", NORMAL)],
        template: Some(picky),
        ..Scripted::default()
    }
    .write();
    for anticipate in [false, true] {
        let session = Session::new(EngineOptions {
            anticipate,
            ..options(&model)
        });
        for _ in 0..2 {
            let heard = session.ask("bad");
            assert_eq!(
                (heard.text.as_str(), heard.stats.end),
                ("Ye", AnswerEnd::StopString)
            );
        }
        session.end();
    }
}

#[test]
fn channels_are_thoughts_and_answers() {
    let harmony = "{% for m in messages %}{% if m.role == 'assistant' %}{% if '<|channel|>' in m.content %}{{ raise_exception('channels are not content') }}{% endif %}{% if loop.last and m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}";
    let model = |says: &'static [&'static str]| {
        Scripted {
            says,
            more: &[
                ("<|channel|>", CONTROL),
                ("<|message|>", CONTROL),
                ("<|start|>", CONTROL),
                ("<|end|>", CONTROL),
                ("<|return|>", CONTROL),
                ("<|call|>", CONTROL),
                // llama.cpp makes what makes up headers ordinary tokens.
                ("assistant", USER_DEFINED),
                ("analysis", NORMAL),
                ("final", NORMAL),
            ],
            template: Some(harmony),
            // As OpenAI's generation settings have it, this is an end, and closes thoughts as well.
            entries: &|b, id| {
                b.raw(
                    "tokenizer.ggml.eog_token_ids",
                    9,
                    &numbers(&[id("<|end|>")]),
                )
            },
            ..Scripted::default()
        }
        .write()
    };
    let answers = model(&[
        "assistant",
        "<|channel|>",
        "final",
        "<|message|>",
        "Y",
        "e",
        "<|return|>",
    ]);
    let session = Session::new(options(&answers));
    assert_eq!(session.notices, [""; 0]);
    for _ in 0..2 {
        let heard = session.ask("hi");
        assert_eq!((heard.thought.as_str(), heard.text.as_str()), ("", "Ye"));
        assert_eq!(heard.stats.end, AnswerEnd::EndOfText);
    }
    session.end();
    // What closes the thought by force ends as the script's header does: it begins again there.
    let thinks = model(&[
        "assistant",
        "<|channel|>",
        "analysis",
        "<|message|>",
        "h",
        "m",
        "<|end|>",
    ]);
    let session = Session::new(EngineOptions {
        think_budget: Some(1),
        ..options(&thinks)
    });
    for _ in 0..2 {
        let heard = session.ask("hi");
        assert_eq!((heard.thought.as_str(), heard.text.as_str()), ("h", "hm"));
        assert_eq!(heard.stats.end, AnswerEnd::StopString);
        assert_eq!(heard.stats.think_cut, Some(1));
    }
    session.end();
}

#[test]
fn a_thought_is_closed_after_its_budget_and_the_answer_says_so() {
    let model = thinker(STRIPS);
    for (budget, thought, cut) in [(0, "", Some(0)), (1, "h", Some(1)), (9, "hm.", None)] {
        for tree in [TreeSize::Fixed(1), TreeSize::Fixed(16)] {
            let session = Session::new(EngineOptions {
                tree,
                think_budget: Some(budget),
                ..options(&model)
            });
            // The second answer is guessed from the first.
            for _ in 0..2 {
                let heard = session.ask("hi");
                assert_eq!(
                    (heard.thought.trim_end(), heard.text.as_str()),
                    (thought, "Yes!")
                );
                assert_eq!(heard.stats.think_cut, cut);
                assert_eq!(heard.stats.thinking_tokens, thought.len() as u64);
            }
            session.end();
        }
    }
}

#[test]
fn thinking_is_turned_off_by_the_templates_switch() {
    let switch = STRIPS.replace(
        "A:{% endif %}",
        "A:{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}",
    );
    let model = thinker(&switch);
    for (think, thought) in [(Think::Auto, "hm."), (Think::On, "hm."), (Think::Off, "")] {
        let (heard, notices) = ask(EngineOptions {
            think,
            ..options(&model)
        });
        assert_eq!(notices, [""; 0]);
        assert_eq!(
            (heard.thought.as_str(), heard.text.as_str()),
            (thought, "Yes!")
        );
    }
}

#[test]
fn without_a_switch_the_templates_own_empty_thought_does() {
    let writes = STRIPS.replace("'A:' + m.content", "'A:<think></think>' + m.content");
    let off = |template: &str| {
        ask(EngineOptions {
            think: Think::Off,
            ..options(&thinker(template))
        })
    };
    let (heard, notices) = off(&writes);
    assert_eq!((heard.thought.as_str(), heard.text.as_str()), ("", "Yes!"));
    assert_eq!(notices, [""; 0]);
    let (heard, notices) = off(STRIPS);
    assert_eq!(heard.thought, "hm.");
    assert!(
        notices.join("\n").contains("cannot turn thinking off"),
        "{notices:?}"
    );
    let plain = Scripted {
        template: Some("{% for m in messages %}{{ m.content }}:{% endfor %}"),
        ..Scripted::default()
    };
    for (think, think_budget, words) in [
        (Think::Off, None, ""),
        (Think::On, None, "nothing is known"),
        (Think::Auto, Some(5), "--think-budget changes nothing"),
    ] {
        let (heard, notices) = ask(EngineOptions {
            think,
            think_budget,
            ..options(&plain.write())
        });
        assert_eq!(heard.text, "Ok");
        assert!(notices.join("\n").contains(words), "{notices:?}");
        assert_eq!(notices.is_empty(), words.is_empty());
    }
}

#[test]
fn turning_thinking_on_says_where_nothing_does() {
    let opens = STRIPS.replace("A:{% endif %}", "A:<think>{% endif %}");
    for (template, words) in [(STRIPS, "no switch for thinking"), (&opens, "")] {
        let (_, notices) = ask(EngineOptions {
            think: Think::On,
            ..options(&thinker(template))
        });
        assert!(notices.join("\n").contains(words), "{notices:?}");
        assert_eq!(notices.is_empty(), words.is_empty());
    }
}

#[test]
fn what_a_template_writes_after_an_answer_ends_it() {
    let by_text =
        "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}### assistant:";
    let model = Scripted {
        says: &[":", "Y", "e", "s", "!\n\n###", "▁us", "er:x", "z"],
        more: &[("!\n\n###", NORMAL), ("▁us", NORMAL), ("er:x", NORMAL)],
        template: Some(by_text),
        ..Scripted::default()
    }
    .write();
    let session = Session::new(options(&model));
    assert_eq!(session.notices, [""; 0]);
    for _ in 0..2 {
        let heard = session.ask("hi");
        assert_eq!(heard.text, "Yes!\n");
        assert_eq!(heard.stats.end, AnswerEnd::StopString);
        // What was left of the token in which the stop began is two tokens now.
        assert_eq!(heard.stats.tokens, 5);
    }
    session.end();
}

#[test]
fn tokens_that_only_a_list_of_the_file_names_end_an_answer() {
    let entries = [
        |b: gguf_builder::Builder, id: &Numbers<'_>| {
            b.raw(
                "tokenizer.ggml.eog_token_ids",
                9,
                &numbers(&[id("s"), 999_999]),
            )
        },
        |b: gguf_builder::Builder, id: &Numbers<'_>| b.u32("tokenizer.ggml.eog_token_id", id("s")),
    ];
    for entries in entries {
        let model = Scripted {
            says: &[":", "Y", "e", "s", "!", "</s>"],
            template: Some("{% for m in messages %}{{ m.content }}:{% endfor %}"),
            entries: &entries,
            ..Scripted::default()
        }
        .write();
        let (heard, _) = ask(options(&model));
        assert_eq!(
            (heard.text.as_str(), heard.stats.end),
            ("Ye", AnswerEnd::EndOfText)
        );
    }
}

#[test]
fn a_model_without_an_end_says_so_and_answers_to_the_limit() {
    let model = Scripted {
        // The token that llama.cpp takes for an end where a file names none is text here.
        says: &[":", "Y", "[no end]", "e", "s", "a", "b", "c", "d"],
        has_end: false,
        template: Some(""),
        ..Scripted::default()
    }
    .write();
    let session = Session::new(EngineOptions {
        max_tokens: 5,
        ..options(&model)
    });
    let notices = session.notices.join("\n");
    assert!(notices.contains("answers end by length"), "{notices}");
    let heard = session.ask("hi:");
    assert_eq!(heard.text, "Y[no end]esa");
    assert_eq!(heard.stats.end, AnswerEnd::Length);
    session.end();
}

fn run(model: &Model, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_nmos"))
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .args([
            "run", "--draft", "none", "--scout", "none", "--vram", "0", "--ram", "400MiB",
        ])
        .args([
            "--ctx",
            "512",
            "--threads",
            "2",
            "--system",
            "",
            "-n",
            "40",
            "--oracle",
        ])
        .arg(model.path())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn run_prints_the_answer_alone_unless_thoughts_are_asked_for() {
    let model = thinker(STRIPS);
    let out = |arguments: &[&str]| {
        let output = run(&model, arguments);
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{err}");
        (String::from_utf8(output.stdout).unwrap(), err)
    };
    assert_eq!(out(&["hi"]), ("Yes!\n".into(), String::new()));
    let (shown, _) = out(&["--show-thinking", "hi"]);
    assert_eq!(shown, "<think>\nhm.\n</think>\n\nYes!\n");
    let (text, err) = out(&["--think-budget", "1", "hi"]);
    assert_eq!(text, "Yes!\n");
    assert!(
        err.contains("thinking was cut after 1 token (--think-budget)"),
        "{err}"
    );
    let (json, _) = out(&["--think-budget", "1", "--json", "hi"]);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&object["text"], &object["thinking"]),
        (&"Yes!".into(), &"h".into())
    );
    assert_eq!(
        (&object["think_cut"], &object["thinking_tokens"]),
        (&1.into(), &1.into())
    );
    assert_eq!(object["end"], "end_of_text");
    assert!(object["first_answer_ms"].as_f64() >= object["ttft_ms"].as_f64());
}
