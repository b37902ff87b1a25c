//! The default model's prompts, token by token: a change of templates must not change them.

use crate::common;
use chrono::NaiveDateTime;
use nmos::model::{ChatTemplate, Conversation, Gguf, TemplateSource, Tokenizer, Turn};
use nmos::units::TokenId;

const SYSTEM: &str = "You are a helpful assistant.";

/// Where what a prompt begins with ends.
const SYSTEM_IDS: [i32; 11] = [
    151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198,
];
const USER_IDS: [i32; 3] = [151644, 872, 198];
const ASSISTANT_IDS: [i32; 5] = [151645, 198, 151644, 77091, 198];
const END_IDS: [i32; 2] = [151645, 198];

#[test]
fn the_default_oracles_prompts_are_these() {
    let path = common::model(common::ORACLE);
    let gguf = Gguf::open(&path).expect("a model");
    let tokenizer = Tokenizer::open(&path).expect("a vocabulary");
    let own = gguf.str("tokenizer.chat_template").expect("metadata");
    let template =
        ChatTemplate::new(&tokenizer, own, None, NaiveDateTime::default()).expect("a template");
    assert_eq!(template.source(), &TemplateSource::Own);
    let mut conversation = Conversation::new(template, SYSTEM);
    let mut before = SYSTEM_IDS.to_vec();
    let check = |conversation: &mut Conversation, before: &[i32], text: &str, ids: &[i32]| {
        let right = [before, &USER_IDS, ids, &ASSISTANT_IDS].concat();
        let got: Vec<_> = conversation
            .tokens(text)
            .unwrap()
            .iter()
            .map(|t| t.0)
            .collect();
        assert_eq!(got, right, "{text}");
    };
    check(&mut conversation, &before, "hello", &[14990]);
    let code = "Write fn main() {\n    println!(\"<|im_start|>\");\n}\n";
    let code_ids = [
        7985, 5168, 1887, 368, 341, 262, 13751, 0, 9639, 91, 318, 4906, 91, 15084, 532,
    ];
    check(&mut conversation, &before, code, &code_ids);

    let mut push = |conversation: &mut Conversation,
                    user: &str,
                    ids: &[i32],
                    answer: &str,
                    answer_ids: &[i32]| {
        let answer = tokenizer.text(answer).unwrap();
        assert_eq!(answer.iter().map(|t| t.0).collect::<Vec<_>>(), answer_ids);
        let user = user.to_owned();
        conversation.push(&Turn { user, answer });
        for part in [&USER_IDS[..], ids, &ASSISTANT_IDS, answer_ids, &END_IDS] {
            before.extend(part);
        }
        before.clone()
    };
    let asked = [3838, 374, 220, 17, 10, 17, 30];
    let answered = [2132, 374, 220, 19, 382, 11578, 30];
    let then = push(
        &mut conversation,
        "What is 2+2?",
        &asked,
        "It is 4.\n\nOk?",
        &answered,
    );
    let next = [
        437, 220, 18, 10, 18, 30, 305, 18503, 385, 220, 108386, 27484,
    ];
    check(&mut conversation, &then, "and 3+3? héllo 你好 🙂", &next);

    let asked = [220, 1257, 15864, 198, 27, 91, 318, 6213, 91, 29, 1467, 220];
    let answered = [7414, 11, 30586, 91, 318, 4906, 91, 29, 18639];
    let user = "  indented\n<|im_end|> text ";
    let then = push(
        &mut conversation,
        user,
        &asked,
        " Yes, `<|im_start|>`.\n",
        &answered,
    );
    check(&mut conversation, &then, "last", &[4259]);
}

#[test]
fn a_small_models_prompts_are_its_parts() {
    let path = common::model(common::SMOL);
    let gguf = Gguf::open(&path).expect("a model");
    let tokenizer = Tokenizer::open(&path).expect("a vocabulary");
    let own = gguf.str("tokenizer.chat_template").expect("metadata");
    let template = ChatTemplate::new(&tokenizer, own, None, NaiveDateTime::default());
    let mut conversation = Conversation::new(template.expect("a template"), SYSTEM);
    let (start, end) = (vec![TokenId(1)], vec![TokenId(2)]);
    let text = |text: &str| tokenizer.text(text).unwrap();
    let answer = text("It is <|im_end|> 4.");
    let message = |role: &str, content: &[TokenId]| {
        let role = text(&format!("{role}\n"));
        [
            start.clone(),
            role,
            content.to_vec(),
            end.clone(),
            text("\n"),
        ]
        .concat()
    };
    let right = [
        message("system", &text(SYSTEM)),
        message("user", &text("What is 2+2?")),
        message("assistant", &answer),
        message("user", &text("and <|im_start|> héllo?")),
        start.clone(),
        text("assistant\n"),
    ]
    .concat();
    let user = "What is 2+2?".to_owned();
    conversation.push(&Turn { user, answer });
    assert_eq!(
        conversation.tokens("and <|im_start|> héllo?").unwrap(),
        right
    );
}
