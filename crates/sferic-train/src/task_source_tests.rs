#![allow(clippy::unwrap_used)]

use sferic_text::Role;

use super::*;

#[test]
fn every_domain_renders_in_both_modes_and_no_test_problem_is_taught() {
    for thinking in [0.0, 1.0] {
        let config = TaskConfig { n: 150, seed: 3, ..TaskConfig::default() };
        config.check("tasks").unwrap();
        let chats = config.chats(&[], thinking).unwrap();
        assert_eq!(chats.len(), 150);
        assert!(chats.iter().any(|chat| !chat.tools.is_empty()));
        for chat in &chats {
            assert_eq!(chat.thinking, thinking > 0.5);
            let segments = crate::chat_format::ChatFormat::own().segments(chat).unwrap();
            assert!(segments.last().unwrap().is_models);
        }
    }
    let setting = Setting::default();
    let cells = TaskConfig::default().cells();
    let test: Vec<String> = Sampler::new(cells, Split::Test, 0, &setting)
        .take(2000)
        .map(|task| task.unwrap())
        .filter(|task| task.domain == Domain::Math)
        .map(|task| task.prompt().pop().unwrap().content.unwrap())
        .collect();
    let config = TaskConfig { n: 3000, domains: vec![Domain::Math], ..TaskConfig::default() };
    let taught = config.chats(&[], 0.25).unwrap();
    assert!(!test.is_empty());
    let asks = |chat: &Chat, question: &String| {
        chat.messages.iter().any(|message| message.role == Role::User && message.text() == question)
    };
    assert!(!taught.iter().any(|chat| test.iter().any(|question| asks(chat, question))));
}

#[test]
fn the_same_settings_make_the_same_conversations_with_the_share_of_thinking() {
    let config = TaskConfig { n: 1000, domains: vec![Domain::Math, Domain::Reasoning], ..TaskConfig::default() };
    let chats = config.chats(&[], 0.25).unwrap();
    assert_eq!(chats, config.chats(&[], 0.25).unwrap());
    assert_ne!(chats, TaskConfig { seed: 1, ..config.clone() }.chats(&[], 0.25).unwrap());
    let n_thinking = chats.iter().filter(|chat| chat.thinking).count();
    // Binomial(1000, 1/4): mean 250, standard deviation 14; five of them either way.
    assert!((180..=320).contains(&n_thinking), "{n_thinking}");
}

#[test]
fn a_share_of_the_direct_replies_shows_its_steps() {
    let config = TaskConfig { n: 1000, domains: vec![Domain::Math], worked: 0.5, ..TaskConfig::default() };
    let (chats, plain) = (config.chats(&[], 0.25).unwrap(), TaskConfig { worked: 0.0, ..config }.chats(&[], 0.25).unwrap());
    let differs: Vec<&Chat> = chats.iter().zip(&plain).filter(|(a, b)| a != b).map(|(chat, _)| chat).collect();
    // Three quarters of 1,000 do not think, three quarters of their prompts leave the form open, and half of those are worked: 281, deviation 14.
    assert!((210..=350).contains(&differs.len()), "{}", differs.len());
    assert!(differs.iter().all(|chat| !chat.thinking && chat.messages.last().unwrap().text().contains('\n')));
    let error = TaskConfig { worked: 1.5, ..TaskConfig::default() }.check("t").unwrap_err().to_string();
    assert!(error.contains("t.worked"), "{error}");
}

#[test]
fn documents_are_filled_with_the_given_text() {
    let config = TaskConfig { n: 40, domains: vec![Domain::Document], document_characters: 3000, ..TaskConfig::default() };
    let filler = "Zebras were never seen in this county, said the old farmer.\n\n".repeat(200);
    let text = serde_json::to_string(&config.chats(&[&filler], 0.25).unwrap()).unwrap();
    assert!(text.contains("Zebras were never seen"));
    let plain = serde_json::to_string(&config.chats(&[], 0.25).unwrap()).unwrap();
    assert!(!plain.contains("Zebras"));
}

#[test]
fn levels_alone_are_drawn_from() {
    let config = TaskConfig { generators: vec!["addition".into()], levels: vec![2], ..TaskConfig::default() };
    let levels: Vec<u8> = config.cells().iter().map(|cell| cell.level).collect();
    assert_eq!(levels, [2]);
}

#[test]
fn unknown_names_are_refused() {
    let with = |generators: &[&str], domains: Vec<Domain>| {
        let generators = generators.iter().map(|name| (*name).to_owned()).collect();
        TaskConfig { generators, domains, ..TaskConfig::default() }.check("t").unwrap_err().to_string()
    };
    assert!(with(&["additoin"], Vec::new()).contains("additoin"));
    assert!(with(&["addition"], vec![Domain::Agent]).contains("t.generators"));
    let error = TaskConfig { levels: vec![9], ..TaskConfig::default() }.check("t").unwrap_err().to_string();
    assert!(error.contains("levels"), "{error}");
    let error = TaskConfig { n: 0, ..TaskConfig::default() }.check("t").unwrap_err().to_string();
    assert!(error.contains("t.n"), "{error}");
}
