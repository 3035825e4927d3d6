//! V3.2's format beyond the golden file: refusals, and the way back from text to message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use sferic_text::{Completion, FunctionCall, Message, Role, TextError, ToolCall, dsv32};

fn called(calls: &[(&str, &str)]) -> Message {
    let tool_calls = calls.iter().map(|(name, arguments)| ToolCall::new(*name, *arguments)).collect();
    Message { tool_calls, ..Message::assistant("") }
}

#[test]
fn refusals_name_the_message() {
    let developer = Message::new(Role::Developer, "task");
    let no_content = Message { content: None, ..Message::user("") };
    let bad_tools = Message { tools: vec![json!({"name": "f"})], ..Message::system("") };
    let cases: [(&[Message], bool, bool, usize); 11] = [
        // An answer to the last user message that neither thinks nor calls.
        (&[Message::user("a"), Message::assistant("b")], true, false, 1),
        (&[Message::assistant("b")], true, true, 0),
        (&[Message::new(Role::Developer, "")], false, true, 0),
        (&[no_content], false, false, 0),
        (&[Message::tool("x")], false, false, 0),
        (&[Message::user("a"), Message::tool("x")], false, false, 1),
        (&[Message::user("a"), called(&[("f", "{}")]), Message::tool("1"), Message::tool("2")], false, false, 3),
        (&[Message::user("a"), Message::assistant("b"), Message::tool("x")], false, false, 2),
        (&[Message::system("s"), bad_tools, Message::user("a")], false, false, 1),
        (&[Message::system("s"), developer.clone(), Message::assistant("b"), Message::user("c")], true, false, 1),
        (&[Message::user("a"), called(&[("f", "{}")]), Message::user("b"), Message::tool("1")], false, false, 3),
    ];
    for (case_idx, (messages, thinking, keep_thinking, expected_idx)) in cases.into_iter().enumerate() {
        let error = dsv32::render(messages, thinking, keep_thinking).unwrap_err();
        assert!(
            matches!(error, TextError::InvalidMessage { message_idx, .. } if message_idx == expected_idx),
            "case {case_idx}: {error}"
        );
    }
    for arguments in ["", "[]", "3", "{\"a\":", "{\"a\": nope}", "\"{}\""] {
        let error = dsv32::render(&[Message::user("a"), called(&[("f", arguments)])], false, false).unwrap_err();
        assert!(
            matches!(&error, TextError::ToolArguments { message_idx: 1, function, .. } if function == "f"),
            "{arguments}: {error}"
        );
    }
    // What is refused with old reasoning dropped is fine with it kept, and in chat mode.
    let early = [developer, Message::assistant("b"), Message::user("c")];
    assert!(dsv32::render(&early, true, true).is_ok() && dsv32::render(&early, false, false).is_ok());
}

#[test]
fn the_developer_role_carries_tools_and_format() {
    let message = Message { response_format: Some(json!({"type": "object"})), ..Message::new(Role::Developer, "find it") };
    let expected = "<｜begin▁of▁sentence｜><｜User｜>\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n{\"type\": \"object\"}\
        \n\n# The user's message is: find it<｜Assistant｜><think>";
    assert_eq!(dsv32::render(&[message], true, false).unwrap(), expected);
}

#[test]
fn arguments_keep_their_exact_values() {
    let arguments =
        "{\"big\": 123456789012345678901234567890, \"small\":1E-7, \"a\":\"1\", \"a\":[1,2], \"t\": \"x\\ny\\u4e2d\"}";
    let prompt = dsv32::render(&[Message::user("q"), called(&[("f", arguments), ("g", "{}")])], false, false).unwrap();
    let expected = "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n\
        <｜DSML｜parameter name=\"big\" string=\"false\">123456789012345678901234567890</｜DSML｜parameter>\n\
        <｜DSML｜parameter name=\"small\" string=\"false\">1e-07</｜DSML｜parameter>\n\
        <｜DSML｜parameter name=\"a\" string=\"false\">[1, 2]</｜DSML｜parameter>\n\
        <｜DSML｜parameter name=\"t\" string=\"true\">x\ny中</｜DSML｜parameter>\n\
        </｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n\n</｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>";
    assert!(prompt.ends_with(expected), "{prompt}");
}

/// What the model writes after the prompt is what [`dsv32::render`] writes for the message.
fn completion_of(message: &Message, thinking: bool) -> String {
    let user = Message::user("q");
    let prompt = dsv32::render(std::slice::from_ref(&user), thinking, false).unwrap();
    let whole = dsv32::render(&[user, message.clone()], thinking, false).unwrap();
    whole.strip_prefix(&prompt).unwrap().to_string()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6f64..1e6).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-zA-Z_é中]{1,6}", inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

fn tool_call() -> impl Strategy<Value = ToolCall> {
    let arguments = vec(("[a-zA-Z_0-9 .é-]{1,8}", json_value()), 0..4);
    ("[a-zA-Z_][a-zA-Z_0-9.-]{0,12}", arguments).prop_map(|(name, entries)| {
        let map: serde_json::Map<String, Value> = entries.into_iter().collect();
        ToolCall::new(name, Value::from(map).to_string())
    })
}

/// Arguments as values: their spelling may change on the way.
fn as_values(calls: &[ToolCall]) -> Vec<(String, Value)> {
    calls.iter().map(|call| (call.function.name.clone(), serde_json::from_str(&call.function.arguments).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_rendered_message_parses_to_itself(content in any::<String>(), reasoning in any::<String>(), calls in vec(tool_call(), 0..3), thinking: bool) {
        let reasoning = Some(if reasoning.is_empty() { "hm".to_string() } else { reasoning }).filter(|_| thinking);
        let message = Message { reasoning_content: reasoning, tool_calls: calls, ..Message::assistant(content) };
        let completion = completion_of(&message, thinking);
        let parsed = dsv32::parse(&completion, thinking).unwrap();
        prop_assert_eq!(&parsed, &dsv32::parse_lenient(&completion, thinking));
        // Without the end-of-sentence token, which a tokenizer may swallow, the answer is the same.
        prop_assert_eq!(&parsed, &dsv32::parse(completion.strip_suffix(dsv32::EOS).unwrap(), thinking).unwrap());
        prop_assert_eq!(as_values(&parsed.tool_calls), as_values(&message.tool_calls));
        let again = parsed.into_message();
        prop_assert_eq!(completion_of(&again, thinking), completion);
        prop_assert_eq!(Message { tool_calls: vec![], ..again }, Message { tool_calls: vec![], ..message });
    }

    /// Cut, doubled and shuffled pieces of the format: an answer or an error, never a panic; and the lenient answer always.
    #[test]
    fn anything_can_be_parsed(pieces in vec(prop_oneof![
        Just("<think>"), Just("</think>"), Just("\n\n"), Just("<｜DSML｜function_calls>\n"), Just("</｜DSML｜function_calls>"),
        Just("<｜DSML｜invoke name=\"f\">\n"), Just("</｜DSML｜invoke>\n"), Just("<｜DSML｜parameter name=\"k\" string=\"true\">"),
        Just("<｜DSML｜parameter name=\"n\" string=\"false\">"), Just("12"), Just("</｜DSML｜parameter>\n"), Just("<｜end▁of▁sentence｜>"), Just("é text"), Just("<｜DS"),
    ], 0..12), n_cut in 0usize..8, thinking: bool) {
        let whole = pieces.concat();
        let text: String = whole.chars().take(whole.chars().count().saturating_sub(n_cut)).collect();
        let lenient = dsv32::parse_lenient(&text, thinking);
        if let Ok(strict) = dsv32::parse(&text, thinking) {
            prop_assert_eq!(strict, lenient);
        }
    }
}

#[test]
fn malformed_answers_are_errors_or_text() {
    let block = |inner: &str| format!("Look.\n\n<｜DSML｜function_calls>\n{inner}\n</｜DSML｜function_calls>");
    for text in [
        block("<｜DSML｜invoke name=\"f\">\n"),
        block("<｜DSML｜invoke name=\"f>\n</｜DSML｜invoke>"),
        block("<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\">1</｜DSML｜parameter>\n</｜DSML｜invoke>"),
        block(
            "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"maybe\">1</｜DSML｜parameter>\n</｜DSML｜invoke>",
        ),
        block(
            "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"false\">nope</｜DSML｜parameter>\n</｜DSML｜invoke>",
        ),
        block("<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x\n</｜DSML｜invoke>"),
        block(
            "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x</｜DSML｜parameter><｜DSML｜parameter name=\"a\" string=\"true\">y</｜DSML｜parameter></｜DSML｜invoke>",
        ),
        block("call f please"),
        "Look.\n\n<｜DSML｜function_calls>\n".to_string(),
    ] {
        let error = dsv32::parse(&text, false).unwrap_err();
        assert!(matches!(error, TextError::MalformedCompletion { byte_offset, .. } if byte_offset > 5), "{text}: {error}");
        let expected = Completion { content: text.clone(), ..Completion::default() };
        assert_eq!(dsv32::parse_lenient(&text, false), expected);
    }
    for (text, thinking) in
        [("no end", true), ("a</think>b</think>", true), ("a <think> b", false), ("x<｜end▁of▁sentence｜>y", false)]
    {
        assert!(matches!(dsv32::parse(text, thinking), Err(TextError::MalformedCompletion { .. })), "{text}");
    }
    assert_eq!(dsv32::parse_lenient("no end", true).reasoning.as_deref(), Some("no end"));
    assert_eq!(dsv32::parse_lenient("<think>why</think>so", false).reasoning.as_deref(), Some("why"));
    assert_eq!(dsv32::parse_lenient("x<｜end▁of▁sentence｜>y", false).content, "x");
}

#[test]
fn an_answer_is_taken_apart() {
    let text = "need it</think>Let me look.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"search\">\n\
        <｜DSML｜parameter name=\"q\" string=\"true\">a \"b\" <c></｜DSML｜parameter>\n<｜DSML｜parameter name=\"filters\" string=\"false\">[\"x\",\"y\"]</｜DSML｜parameter>\n\
        </｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>";
    let answer = dsv32::parse(text, true).unwrap();
    assert_eq!(answer.reasoning.as_deref(), Some("need it"));
    assert_eq!(answer.content, "Let me look.");
    let expected = FunctionCall { name: "search".into(), arguments: r#"{"q": "a \"b\" <c>", "filters": ["x", "y"]}"#.into() };
    assert_eq!(answer.tool_calls[0].function, expected);
}
