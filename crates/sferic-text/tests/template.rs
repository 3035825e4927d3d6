//! Chat templates: Python's behaviour, Hugging Face's conventions, errors with a line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::shared;
use serde_json::{Value, json};
use sferic_text::{
    ChatTemplate, Message, PromptFormat, RenderOptions, Role, TemplateInput, TextError, TokenizerConfig, ToolCall,
};

fn render(source: &str, messages: &[Message]) -> Result<String, TextError> {
    let special_tokens = [("bos_token".to_string(), "<s>".to_string()), ("eos_token".to_string(), "</s>".to_string())];
    let template = ChatTemplate::new(source, &special_tokens)?;
    template.render(&TemplateInput { messages, add_generation_prompt: true, now_unix_secs: Some(0), ..TemplateInput::default() })
}

fn one(source: &str) -> String {
    render(source, &[Message::user("A</think>B")]).unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[test]
fn templates_behave_as_in_python() {
    for (source, expected) in [
        // Block trimming: the newline after a block and the blanks before it vanish; one newline at the end too.
        ("  {% if true %}\nx\n  {% endif %}\ny\n", "x\ny"),
        ("{{ bos_token }}{{ messages[0].content.split('</think>')[-1] }}{{ eos_token }}", "<s>B</s>"),
        ("{{ messages[0]['content'].strip('A').upper() }}", "</THINK>B"),
        ("{{ messages[-1].role }}{{ messages[::-1] | length }}", "user1"),
        (
            "{{ none }} {{ true }} {{ 1.0 }} {{ 3 }} {{ [1, 'a', none] }} {{ {'k': 1e-5} }}{{ undefined_name }}",
            "None True 1.0 3 [1, 'a', None] {'k': 1e-05}",
        ),
        ("{{ tools is none }} {{ tools is defined }} {{ x is defined }}", "True True False"),
        (
            "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
        ("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f('y') }}", "[y]"),
        ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"),
        ("{% generation %}{{ 'g' }}{% endgeneration %}", "g"),
        ("{{ strftime_now('%d %b %Y') }}", "01 Jan 1970"),
        ("{{ 'yes' if messages[0].content is string and messages[0] is mapping and add_generation_prompt }}", "yes"),
        ("{{ messages[0].get('name', 'none') }}{{ 'tool_calls' in messages[0] }}", "noneFalse"),
    ] {
        assert_eq!(one(source), expected, "{source}");
    }
}

/// Each right column is what CPython's `json.dumps(…, ensure_ascii=False)` writes with those arguments.
#[test]
fn tojson_is_json_dumps() {
    for (source, expected) in [
        ("{{ {'a': [1, 2.0, 'é<b>&\"'], 'b': none} | tojson }}", r#"{"a": [1, 2.0, "é<b>&\""], "b": null}"#),
        ("{{ {'a': [1], 'b': {}} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"),
        (
            "{{ {'b': 1, 'a': 'é'} | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}",
            r#"{"a":"\u00e9","b":1}"#,
        ),
        ("{{ [] | tojson }}{{ true | tojson }}{{ 1e-7 | tojson }}{{ 'x\n' | tojson }}", r#"[]true1e-07"x\n""#),
    ] {
        assert_eq!(one(source), expected, "{source}");
    }
    assert!(render("{{ nothing | tojson }}", &[]).is_err());
    assert!(render("{{ 1 | tojson(colour='red') }}", &[]).is_err());
}

#[test]
fn tools_come_from_the_request_or_from_a_message() {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}});
    let template = ChatTemplate::new("{% for t in tools %}{{ t.function | tojson }}{% endfor %}", &[]).unwrap();
    let expected = r#"{"name": "f", "parameters": {"z": 1, "a": 2}}"#;
    let tools = [tool.clone()];
    assert_eq!(template.render(&TemplateInput { tools: &tools, ..TemplateInput::default() }).unwrap(), expected);
    let messages = [Message { tools: vec![tool], ..Message::system("") }];
    assert_eq!(template.render(&TemplateInput { messages: &messages, ..TemplateInput::default() }).unwrap(), expected);
}

/// Templates disagree on whether arguments are an object or text: both kinds work.
#[test]
fn arguments_suit_both_kinds_of_template() {
    let call = Message { tool_calls: vec![ToolCall::new("f", r#"{"x": 1}"#)], content: None, ..Message::assistant("") };
    let messages = [Message::user("go"), call];
    let objects = "{% for m in messages if m.tool_calls %}{% for k, v in m.tool_calls[0].function.arguments.items() %}{{ k }}={{ v }}{% endfor %}{% endfor %}";
    assert_eq!(render(objects, &messages).unwrap(), "x=1");
    let text = "{% for m in messages if m.tool_calls %}{{ '<' + m.tool_calls[0].function.arguments + '>' }}{{ m.content is none }}{% endfor %}";
    assert_eq!(render(text, &messages).unwrap(), r#"<{"x": 1}>True"#);
}

#[test]
fn deepseek_v3_template_writes_tool_calls() {
    let Some(path) = shared("tokenizer/tokenizer_config.json") else { return };
    let template = ChatTemplate::from_config(&TokenizerConfig::from_file(&path).unwrap()).unwrap().unwrap();
    let call = Message { tool_calls: vec![ToolCall::new("f", r#"{"x": 1}"#)], content: None, ..Message::assistant("") };
    let messages = [Message::user("go"), call, Message::tool("7")];
    let prompt =
        template.render(&TemplateInput { messages: &messages, add_generation_prompt: true, ..TemplateInput::default() }).unwrap();
    let expected = "<｜begin▁of▁sentence｜><｜User｜>go<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n\
        ```json\n{\"x\": 1}\n```<｜tool▁call▁end｜><｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>7<｜tool▁output▁end｜><｜tool▁outputs▁end｜>";
    assert_eq!(prompt, expected);
}

#[test]
fn errors_name_template_and_line() {
    let error = render("{{ 1 }}\n{% if %}\n", &[]).unwrap_err();
    assert!(matches!(error, TextError::TemplateSyntax { line: 2, .. }), "{error:?}");
    let error = render("a\n{% frobnicate %}", &[]).unwrap_err();
    assert!(error.to_string().contains("frobnicate") && error.to_string().contains("line 2"), "{error}");
    let error = render("{{ 1 }}\n\n{{ messages[5].content.strip() }}", &[]).unwrap_err();
    assert!(matches!(error, TextError::TemplateRender { line: 3, .. }), "{error:?}");
    let error = render("{{ 1 }}\n{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
    assert!(
        matches!(&error, TextError::TemplateRefused { line: 2, reason, .. } if reason == "roles must alternate"),
        "{error:?}"
    );
    // Through a macro the words must survive.
    let error = render("{% macro f() %}{{ raise_exception('no') }}{% endmacro %}{{ f() }}", &[]).unwrap_err();
    assert!(matches!(error, TextError::TemplateRefused { .. }), "{error:?}");
}

#[test]
fn hostile_templates_end() {
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_string(),
        "{% include 'default' %}".to_string(),
        "{% for i in range(1000000000) %}{% endfor %}".to_string(),
        "{{ ".to_string(),
        "{% for".to_string(),
        format!("{}1{}", "{{ ", "(".repeat(10_000)),
    ] {
        assert!(render(&source, &[]).is_err(), "{}", &source[..source.len().min(40)]);
    }
}

#[test]
fn named_templates_are_chosen_by_use() {
    let config = json!({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "rag.html", "template": "{{ '<' }}"}]});
    let config = TokenizerConfig::from_json(&config.to_string()).unwrap();
    let template = ChatTemplate::from_config(&config).unwrap().unwrap();
    let tools = [json!({})];
    assert_eq!(template.render(&TemplateInput::default()).unwrap(), "D");
    assert_eq!(template.render(&TemplateInput { tools: &tools, ..TemplateInput::default() }).unwrap(), "T");
    assert_eq!(template.render(&TemplateInput { template_name: Some("rag.html"), ..TemplateInput::default() }).unwrap(), "<");
    let error = template.render(&TemplateInput { template_name: Some("x"), ..TemplateInput::default() }).unwrap_err();
    assert!(error.to_string().contains("default, tool_use, rag.html"), "{error}");
    assert!(ChatTemplate::from_config(&TokenizerConfig::default()).unwrap().is_none());
}

#[test]
fn the_format_follows_the_folder() {
    let choose = |model_type, config: Option<Value>, jinja| {
        PromptFormat::choose(model_type, config.map(|config| config.to_string()).as_deref(), jinja)
    };
    assert!(matches!(choose("deepseek_v32", None, None), Ok(PromptFormat::V32)));
    assert!(matches!(choose("deepseek_v32", Some(json!({"bos_token": "b"})), None), Ok(PromptFormat::V32)));
    assert!(matches!(choose("deepseek_v3", None, None), Ok(PromptFormat::Plain)));
    let config = Some(json!({"bos_token": "<b>", "chat_template": "{{ bos_token }}config"}));
    let prompt = |format: Result<PromptFormat, TextError>| format.unwrap().render(&[], &[], true, false).unwrap();
    assert_eq!(prompt(choose("deepseek_v32", config.clone(), None)), "<b>config");
    assert_eq!(
        prompt(choose("youtu", config, Some("{{ bos_token }}file{{ enable_thinking }}{{ clear_thinking }}"))),
        "<b>fileTrueTrue"
    );
    assert!(choose("youtu", None, Some("{% if %}")).is_err());

    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(PromptFormat::from_folder_files("deepseek_v32", folder.path()), Ok(PromptFormat::V32)));
    std::fs::write(folder.path().join("chat_template.jinja"), b"\xff").unwrap();
    assert!(matches!(PromptFormat::from_folder_files("deepseek_v32", folder.path()), Err(TextError::InvalidUtf8 { .. })));
    std::fs::write(folder.path().join("chat_template.jinja"), "{{ messages[0].content }}!").unwrap();
    let format = PromptFormat::from_folder_files("deepseek_v32", folder.path()).unwrap();
    assert_eq!(format.render(&[Message::user("x")], &[], false, false).unwrap(), "x!");
}

#[test]
fn a_whole_conversation_does_not_let_the_model_speak() {
    let source = "{{ messages[0].content }} {{ strftime_now('%Y') }}{% if add_generation_prompt %} go{% endif %}";
    let messages = [Message::user("x")];
    let whole = RenderOptions { is_whole: true, now_unix_secs: Some(0), ..RenderOptions::default() };
    let format = PromptFormat::choose("deepseek_v32", None, Some(source)).unwrap();
    assert_eq!(format.render_with(&messages, &[], whole).unwrap(), "x 1970");
    assert_eq!(format.render_with(&messages, &[], RenderOptions { is_whole: false, ..whole }).unwrap(), "x 1970 go");
    assert_eq!(PromptFormat::Plain.render_with(&messages, &[], whole).unwrap(), "User: x\n");
}

#[test]
fn plain_format_has_lines_and_no_tools() {
    let messages = [Message::system("S"), Message::user("a"), Message::assistant("b"), Message::user("c")];
    let prompt = PromptFormat::Plain.render(&messages, &[], true, true).unwrap();
    assert_eq!(prompt, "S\nUser: a\nAssistant: b\nUser: c\nAssistant:");
    assert!(PromptFormat::Plain.add_special_tokens() && !PromptFormat::V32.add_special_tokens());
    assert_eq!(PromptFormat::Plain.parse(" hi\n", false).content, "hi");
    assert!(matches!(
        PromptFormat::Plain.render(&messages, &[json!({})], false, false),
        Err(TextError::ToolsUnsupported { n_tools: 1 })
    ));
    let tool = [Message::new(Role::Tool, "x")];
    assert!(matches!(
        PromptFormat::Plain.render(&tool, &[], false, false),
        Err(TextError::InvalidMessage { message_idx: 0, .. })
    ));
}

#[test]
fn reasoning_of_jinja_models_is_split_off() {
    let format = PromptFormat::choose("glm_moe_dsa", None, Some("x")).unwrap();
    for (completion, reasoning, content) in [
        ("why\n</think>\n\nyes", Some("why"), "yes"),
        ("<think>why</think>yes", Some("why"), "yes"),
        ("<think>unfinished", Some("unfinished"), ""),
        ("</think>yes", None, "yes"),
        ("yes", None, "yes"),
        ("", None, ""),
    ] {
        let answer = format.parse(completion, true);
        assert_eq!((answer.reasoning.as_deref(), answer.content.as_str()), (reasoning, content), "{completion:?}");
    }
}
