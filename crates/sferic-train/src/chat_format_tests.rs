#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::json;
use sferic_text::ToolCall;

use super::*;
use crate::encoder::Encoder;
use crate::test_tokenizer::{CHATML_TEMPLATE, LLAMA_TEMPLATE, chatml, llama, write};
use crate::tokenizer::{save_tokenizer, train_tokenizer};

fn thought(thinking: &str, reply: &str) -> Message {
    Message { reasoning_content: Some(thinking.to_owned()), ..Message::assistant(reply) }
}

/// A conversation with tools, results, an earlier turn and reasoning.
fn with_tools(thinking: bool) -> Chat {
    let call = Message {
        tool_calls: vec![ToolCall::new("find", r#"{"name": "goat", "n": 2}"#)],
        ..thought("Look it up.", "One moment.")
    };
    let tool = json!({"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}});
    let messages = vec![
        Message::system("Be brief."),
        Message::user("Hi."),
        thought("A greeting.", "Hello!"),
        Message::user("Where is the goat?"),
        call,
        Message::tool("barn"),
        thought("It says barn.", "In the barn."),
    ];
    Chat { messages, tools: vec![tool], thinking }
}

/// What is the model's in doubled square brackets.
fn shown(chat: &Chat) -> String {
    shown_in(&ChatFormat::own(), chat)
}

fn shown_in(format: &ChatFormat, chat: &Chat) -> String {
    let mut text = String::new();
    let mut was_models = false;
    for Segment { part, is_models } in format.segments(chat).unwrap() {
        if is_models != was_models {
            text.push(if is_models { '⟦' } else { '⟧' });
        }
        match part {
            Part::Text(words) => text.push_str(&words),
            Part::Token(spelling) => text.push_str(&spelling),
            Part::Begin | Part::End => panic!("a part of plain text"),
        }
        was_models = is_models;
    }
    text + if was_models { "⟧" } else { "" }
}

#[test]
fn tokens_are_those_of_the_whole_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["Where is the goat? In the barn. <result> function_calls invoke parameter"; 9];
    save_tokenizer(&train_tokenizer(texts.into_iter(), 400).unwrap(), 512, folder.path()).unwrap();
    let path = folder.path().join("tokenizer.json");
    let (encoder, engines) = (Encoder::open(&path).unwrap(), sferic_text::Tokenizer::from_file(&path).unwrap());
    let chats = [with_tools(true), with_tools(false), Chat::exchange("Hi. ", " Hello!\n"), Chat::exchange("", "")];
    for chat in chats {
        let whole = PromptFormat::V32.render(&chat.messages, &chat.tools, chat.thinking, false).unwrap();
        let mut ids = Vec::new();
        encoder.encode(&encoder.chat_format().parts(&chat).unwrap(), &mut ids).unwrap();
        assert_eq!(ids, engines.encode(&whole, false).unwrap(), "{whole}");
    }
    let plain = Chat::exchange("a", "b");
    let whole = dsv32::render(&plain.messages, false, false).unwrap();
    assert_eq!(whole, "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜></think>b<｜end▁of▁sentence｜>");
    assert_eq!(shown(&plain).replace(['⟦', '⟧'], ""), whole);
}

#[test]
fn the_model_is_taught_what_it_writes_and_nothing_else() {
    assert_eq!(
        shown(&Chat::direct(vec![Message::user("a"), Message::assistant("b"), Message::user("c"), Message::assistant("d")])),
        "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜></think>⟦b<｜end▁of▁sentence｜>⟧\
         <｜User｜>c<｜Assistant｜></think>⟦d<｜end▁of▁sentence｜>⟧"
    );
    let unanswered = Chat::direct(vec![Message::user("a"), Message::user("b"), Message::assistant("c")]);
    assert!(shown(&unanswered).ends_with("</think><｜User｜>b<｜Assistant｜></think>⟦c<｜end▁of▁sentence｜>⟧"));
    let text = shown(&with_tools(true));
    let turns = text.split_once("<｜User｜>Hi.").unwrap();
    assert!(turns.0.contains("<think>...thinking about results</think>") && !turns.0.contains('⟦'), "{text}");
    assert_eq!(
        turns.1,
        "<｜Assistant｜></think>⟦Hello!<｜end▁of▁sentence｜>⟧<｜User｜>Where is the goat?<｜Assistant｜><think>\
         ⟦Look it up.</think>One moment.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"find\">\n\
         <｜DSML｜parameter name=\"name\" string=\"true\">goat</｜DSML｜parameter>\n\
         <｜DSML｜parameter name=\"n\" string=\"false\">2</｜DSML｜parameter>\n\
         </｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>⟧\n\n\
         <function_results>\n<result>barn</result>\n</function_results>\n\n<think>\
         ⟦It says barn.</think>In the barn.<｜end▁of▁sentence｜>⟧"
    );
}

#[test]
fn text_that_spells_a_control_token_stays_text() {
    let spelt = Chat {
        thinking: true,
        ..Chat::direct(vec![
            Message::user("What is <think>?<｜User｜>"),
            thought("A </think> marker.", "It is <｜end▁of▁sentence｜>."),
        ])
    };
    let parts = ChatFormat::own().parts(&spelt).unwrap();
    let tokens: Vec<&str> =
        parts.iter().filter_map(|part| if let Part::Token(token) = part { Some(&**token) } else { None }).collect();
    let expected = [dsv32::BOS, dsv32::USER, dsv32::ASSISTANT, dsv32::THINK_START, dsv32::THINK_END, dsv32::EOS];
    assert_eq!(tokens, expected);
    assert!(parts.contains(&Part::Text("It is <｜end▁of▁sentence｜>.".into())), "{parts:?}");
}

#[test]
fn conversations_that_cannot_be_shown_are_refused() {
    let mut late = with_tools(false);
    late.messages.swap(0, 2);
    let refused = |chat: &Chat| ChatFormat::own().segments(chat).unwrap_err();
    assert!(matches!(refused(&late), TrainError::Text(TextError::InvalidMessage { message_idx: 2, .. })));
    let thoughtless = Chat { thinking: true, ..Chat::exchange("a", "b") };
    assert!(matches!(refused(&thoughtless), TrainError::Text(TextError::InvalidMessage { message_idx: 1, .. })));
}

#[test]
fn lines_of_a_file_hold_everything() {
    let chat = with_tools(true);
    let line = serde_json::to_string(&chat).unwrap();
    assert_eq!(serde_json::from_str::<Chat>(&line).unwrap(), chat);
    assert!(serde_json::from_str::<Chat>(r#"{"messages": [], "tool": []}"#).unwrap_err().to_string().contains("tool"));
}

/// The format of a model with a tokenizer.json and a tokenizer_config.json.
fn format(tokenizer: &Value, config: &Value) -> ChatFormat {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), tokenizer, &[("tokenizer_config.json", config.clone())]);
    let encoder = Encoder::open(&folder.path().join("tokenizer.json")).unwrap();
    let format = encoder.chat_format().clone();
    // It is read when it is asked for.
    format.format().unwrap();
    format
}

fn chatml_format() -> ChatFormat {
    format(&chatml(), &json!({"bos_token": null, "eos_token": "<|im_end|>", "chat_template": CHATML_TEMPLATE}))
}

fn two_turns(thinking: bool) -> Chat {
    let messages = vec![Message::user("a"), thought("x", "b"), Message::user("c"), thought("y", "d")];
    Chat { thinking, ..Chat::direct(messages) }
}

#[test]
fn a_template_teaches_what_follows_its_own_prompt() {
    let llama =
        format(&llama(), &json!({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": LLAMA_TEMPLATE}));
    assert_eq!(
        shown_in(&llama, &Chat::direct(vec![Message::system("s"), Message::user("a"), Message::assistant("b")])),
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n\
         a<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦b<|eot_id|>⟧"
    );
    // The line end behind the end token is the next prompt's; the first turn is not written as it was asked for, without its thought.
    assert_eq!(
        shown_in(&chatml_format(), &two_turns(true)),
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n\
         <|im_start|>assistant\n⟦<think>\ny\n</think>\n\nd<|im_end|>⟧\n"
    );
    let mut direct = two_turns(false);
    direct.messages.iter_mut().for_each(|message| message.reasoning_content = None);
    assert_eq!(
        shown_in(&chatml_format(), &direct),
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n\
         <|im_start|>assistant\n<think>\n\n</think>\n\n⟦d<|im_end|>⟧\n"
    );
}

#[test]
fn a_template_gets_no_control_tokens_from_text() {
    let format = chatml_format();
    let spelt = Chat::exchange("a <|im_end|>\u{f0000}", "<|im_start|>user");
    let parts = format.parts(&spelt).unwrap();
    let tokens = parts.iter().filter(|part| matches!(part, Part::Token(_))).count();
    assert_eq!(tokens, "<|im_start|> <|im_end|> <|im_start|> <think> </think> <|im_end|>".split(' ').count());
    let text = shown_in(&format, &spelt);
    assert!(text.contains("a <|im_end|>\u{f0000}<|im_end|>") && text.contains("⟦<|im_start|>user<|im_end|>⟧"), "{text}");
}

#[test]
fn templates_that_teach_nothing_are_refused() {
    let refused = |config: Value, chat: &Chat| {
        let format = format(&chatml(), &config);
        assert!(format.parts(chat).is_ok() || !chat.tools.is_empty() || chat.thinking, "shown, though not learned");
        format.segments(chat).unwrap_err().to_string()
    };
    let chat = Chat::exchange("a", "b");
    let config = |template: &str| json!({"eos_token": "<|endoftext|>", "chat_template": template});
    let error = refused(config(CHATML_TEMPLATE), &chat);
    assert!(error.contains("message 1") && error.contains("eos_token_id"), "{error}");
    let other_prompt = CHATML_TEMPLATE.replace("'<|im_start|>assistant\n'", "'<|im_start|>bot\n'");
    let error = refused(config(&other_prompt), &chat);
    assert!(error.contains("message 1") && error.contains("prompt"), "{error}");
    let plain = "{% for m in messages %}{{ m.content + '<|endoftext|>' }}{% endfor %}";
    let thinking = Chat { thinking: true, ..Chat::direct(vec![Message::user("a"), thought("zz", "b")]) };
    let error = refused(config(plain), &thinking);
    assert!(error.contains("message 1") && error.contains("reasoning"), "{error}");
    let error = refused(config(plain), &Chat { messages: chat.messages.clone(), ..with_tools(false) });
    assert!(error.contains("1 tools"), "{error}");
    assert!(format(&chatml(), &config(plain)).segments(&Chat::direct(vec![Message::user("a")])).is_ok());
}

#[test]
fn the_format_of_deepseek_needs_its_tokens() {
    let format = format(&chatml(), &json!({"eos_token": "<|im_end|>"}));
    let error = format.segments(&Chat::exchange("a", "b")).unwrap_err();
    assert!(matches!(&error, TrainError::MissingToken { token, .. } if token.contains("begin▁of▁sentence")), "{error}");
}

#[test]
fn blanks_beside_a_token_that_takes_them_are_gone() {
    let mut json = chatml();
    json["added_tokens"][1]["rstrip"] = true.into();
    json["added_tokens"][2]["lstrip"] = true.into();
    let template = "{% for m in messages %}{{ '<|im_start|>  ' + m.content + '  <|im_end|>' }}{% endfor %}";
    let format = format(&json, &json!({"eos_token": "<|im_end|>", "chat_template": template}));
    let parts = format.parts(&Chat::exchange("a", "b")).unwrap();
    assert_eq!(parts[1], Part::Text("a".into()));
    assert_eq!(parts[4], Part::Text("b".into()));
}
