#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;
use crate::tokenizer::Special;

fn load(source: &SourceConfig, root: &Path, seen: &mut Seen) -> Result<(Vec<String>, FilterCounts), TrainError> {
    super::load(source, root, &ChatFormat::own(), seen)
}

fn render<'a>(document: &'a str, source: &SourceConfig) -> Result<Option<Vec<Part<'a>>>, TrainError> {
    super::render(document, source, &ChatFormat::own())
}

fn source(format: Format) -> SourceConfig {
    SourceConfig {
        name: "toy".to_owned(),
        path: "toy.txt".to_owned(),
        format,
        split: Split::Documents,
        section: None,
        weight: 1.0,
        max_bytes: None,
        reflow: false,
        prompts: Vec::new(),
        chat_share: 0.0,
        filter: None,
        thinking: 0.0,
        thoughts: Vec::new(),
        tasks: None,
        small_talk: None,
    }
}

/// Writes parts as one string, specials as `[Bos]`.
fn shown(parts: &[Part<'_>]) -> String {
    let show = |part: &Part<'_>| match part {
        Part::Text(text) => text.to_string(),
        Part::Begin => "[Bos]".to_owned(),
        Part::End => "[Eos]".to_owned(),
        Part::Token(spelling) => {
            format!("[{:?}]", Special::ALL.into_iter().find(|special| special.text() == &**spelling).unwrap())
        }
    };
    parts.iter().map(show).collect()
}

#[test]
fn xz_and_plain_files_read_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let text = "One document.\n\nIts end.\n\n\nAnother: größer.\n".repeat(50);
    std::fs::write(folder.path().join("toy.txt"), &text).unwrap();
    let file = File::create(folder.path().join("toy.txt.xz")).unwrap();
    let mut writer = lzma_rust2::XzWriter::new(file, lzma_rust2::XzOptions::with_preset(6)).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap();
    let plain = source(Format::Text);
    let packed = SourceConfig { path: "toy.txt.xz".to_owned(), ..plain.clone() };
    assert_eq!(read_text(&plain, folder.path()).unwrap(), text);
    assert_eq!(read_text(&packed, folder.path()).unwrap(), text);
    let damaged = std::fs::read(folder.path().join("toy.txt.xz")).unwrap();
    std::fs::write(folder.path().join("toy.txt.xz"), &damaged[..damaged.len() / 2]).unwrap();
    let error = read_text(&packed, folder.path()).unwrap_err().to_string();
    assert!(error.contains("toy.txt.xz"), "{error}");
}

#[test]
fn a_byte_limit_ends_at_a_paragraph() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("toy.txt"), "first\n\nsecond\n\nthird is cut").unwrap();
    let limited = SourceConfig { max_bytes: Some(18), ..source(Format::Text) };
    assert_eq!(read_text(&limited, folder.path()).unwrap(), "first\n\nsecond");
}

#[test]
fn invalid_utf8_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("toy.txt"), b"good \xff bad").unwrap();
    let error = read_text(&source(Format::Text), folder.path()).unwrap_err().to_string();
    assert!(error.contains("offset 5") && error.contains("toy.txt"), "{error}");
}

#[test]
fn documents_are_separated_by_two_blank_lines() {
    let text = "a\n\nb\n\n\nc\n\n\n\n";
    assert_eq!(split_documents(text, &source(Format::Text)), ["a\n\nb", "c"]);
    let paragraphs = SourceConfig { split: Split::Paragraphs, ..source(Format::Text) };
    assert_eq!(split_documents(text, &paragraphs), ["a", "b", "c"]);
}

#[test]
fn dialogues_become_turns_with_an_end_after_each_answer() {
    let text = "Assistant: Welcome.\nUser: Hi.\nAssistant: Hello!\nWhat next?\nUser: A\nUser: B\nAssistant: Done.\nUser: Bye";
    let parts = render(text, &source(Format::Dialogue)).unwrap().unwrap();
    assert_eq!(
        shown(&parts),
        "[Bos][User]Hi.[Assistant][EndThink]Hello!\nWhat next?[Eos][User]A\nB[Assistant][EndThink]Done.[Eos]"
    );
    assert_eq!(render("User: Hi.", &source(Format::Dialogue)).unwrap(), None);
    assert_eq!(render("Assistant: Hi.\nUser: Ho.", &source(Format::Dialogue)).unwrap(), None);
}

#[test]
fn questions_lose_their_calculator_marks() {
    let line = r#"{"question": "How many? ", "answer": "48/2 = <<48/2=24>>24 clips.\n#### 24"}"#;
    let parts = render(line, &source(Format::Questions)).unwrap().unwrap();
    assert_eq!(shown(&parts), "[Bos][User]How many?[Assistant][EndThink]48/2 = 24 clips.\nThe answer is 24.[Eos]");
    let error = render(r#"{"question": "x"}"#, &source(Format::Questions)).unwrap_err().to_string();
    assert!(error.contains("answer") && error.contains("toy"), "{error}");
}

#[test]
fn titled_documents_answer_a_prompt_or_stay_text() {
    let mut titled = source(Format::Titled);
    titled.reflow = true;
    let story = "# The Goat\n\nA goat\ncame by.\n\nIt left.";
    assert_eq!(shown(&render(story, &titled).unwrap().unwrap()), "[Bos]The Goat\n\nA goat came by.\n\nIt left.[Eos]");
    titled.chat_share = 1.0;
    titled.prompts = vec!["Tell me about {title}.".to_owned()];
    assert_eq!(
        shown(&render(story, &titled).unwrap().unwrap()),
        "[Bos][User]Tell me about The Goat.[Assistant][EndThink]A goat came by.\n\nIt left.[Eos]"
    );
    assert_eq!(shown(&render("no title here", &titled).unwrap().unwrap()), "[Bos]no title here[Eos]");
}

#[test]
fn the_chat_share_is_kept_on_average() {
    let mut titled = source(Format::Titled);
    titled.chat_share = 0.25;
    titled.prompts = vec!["{title}?".to_owned()];
    let is_chat = |n: usize| {
        let text = format!("Title {n}\nBody");
        shown(&render(&text, &titled).unwrap().unwrap()).contains("[User]")
    };
    let n_chats = (0..4000).filter(|&n| is_chat(n)).count();
    // Binomial(4000, 1/4): mean 1000, standard deviation 27; five of them either way.
    assert!((863..=1137).contains(&n_chats), "{n_chats}");
}

#[test]
fn lines_and_sections_are_documents() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("toy.txt"),
        "A text.\n\n\ngoat: an animal; \"a goat: two horns\"\nhay, dry grass: what it eats\n",
    )
    .unwrap();
    let mut glosses = SourceConfig { split: Split::Lines, section: Some(1), ..source(Format::Titled) };
    let (documents, counts) = load(&glosses, folder.path(), &mut Seen::default()).unwrap();
    assert_eq!(documents, ["goat: an animal; \"a goat: two horns\"", "hay, dry grass: what it eats"]);
    assert_eq!(counts, FilterCounts::default());
    assert_eq!(shown(&render(&documents[0], &glosses).unwrap().unwrap()), "[Bos]goat: an animal; \"a goat: two horns\"[Eos]");
    glosses.chat_share = 1.0;
    glosses.prompts = vec!["What is {title}?".to_owned()];
    assert_eq!(
        shown(&render(&documents[1], &glosses).unwrap().unwrap()),
        "[Bos][User]What is hay?[Assistant][EndThink]what it eats[Eos]"
    );
    glosses.section = Some(2);
    let error = load(&glosses, folder.path(), &mut Seen::default()).unwrap_err().to_string();
    assert!(error.contains("section") && error.contains("2 parts"), "{error}");
}

#[test]
fn filters_see_all_sources() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("toy.txt"),
        "A goat went to the market to buy hay.\n\n\n\u{feff}Nothing happened after that, or so they say.",
    )
    .unwrap();
    let filtered = SourceConfig { filter: Some(Filter::default()), ..source(Format::Text) };
    let mut seen = Seen::default();
    let (first, _) = load(&filtered, folder.path(), &mut seen).unwrap();
    assert!(first.len() == 2 && first[1].starts_with("Nothing"), "{first:?}");
    let (again, counts) = load(&filtered, folder.path(), &mut seen).unwrap();
    assert!(again.is_empty());
    assert_eq!(counts.n_repeated_documents, 2);
}

#[test]
fn chats_are_lines_and_tasks_are_made() {
    let chats = source(Format::Chats);
    let line = r#"{"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "reasoning_content": "Polite.", "content": "Hello!"}], "thinking": true}"#;
    let parts = render(line, &chats).unwrap().unwrap();
    assert_eq!(shown(&parts), "[Bos][User]Hi.[Assistant][Think]Polite.[EndThink]Hello![Eos]");
    for bad in [r#"{"message": []}"#, r#"{"messages": [{"role": "tool", "content": "x"}]}"#] {
        let error = render(bad, &chats).unwrap_err().to_string();
        assert!(error.contains("toy.txt"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("toy.txt"), format!("{line}\n\n{line}\n{{}}\n")).unwrap();
    let error = load(&chats, folder.path(), &mut Seen::default()).unwrap_err().to_string();
    assert!(error.contains("line 4") && error.contains("toy.txt"), "{error}");
    let tasks = TaskConfig { n: 5, ..TaskConfig::default() };
    let made = SourceConfig { path: String::new(), tasks: Some(tasks), ..source(Format::Tasks) };
    let (documents, _) = load(&made, Path::new("."), &mut Seen::default()).unwrap();
    assert_eq!(documents.len(), 5);
    assert!(documents.iter().all(|document| render(document, &made).unwrap().is_some()));
    let talk = SourceConfig { path: String::new(), thinking: 1.0, ..source(Format::SmallTalk) };
    let (documents, _) = load(&talk, Path::new("."), &mut Seen::default()).unwrap();
    assert!(chat(&documents[0], &talk).unwrap().unwrap().thinking);
}

#[test]
fn thinking_answers_have_their_steps_or_a_thought() {
    let line = r#"{"question": "How many?", "answer": "48/2 = 24 clips.\n#### 24"}"#;
    let questions = SourceConfig { thinking: 1.0, ..source(Format::Questions) };
    let parts = render(line, &questions).unwrap().unwrap();
    assert_eq!(shown(&parts), "[Bos][User]How many?[Assistant][Think]48/2 = 24 clips.[EndThink]The answer is 24.[Eos]");
    let titled = SourceConfig {
        chat_share: 1.0,
        thinking: 1.0,
        prompts: vec!["{title}?".to_owned()],
        thoughts: vec!["They ask about {title}.".to_owned()],
        ..source(Format::Titled)
    };
    let parts = render("Goats\nGoats eat.", &titled).unwrap().unwrap();
    assert_eq!(shown(&parts), "[Bos][User]Goats?[Assistant][Think]They ask about Goats.[EndThink]Goats eat.[Eos]");
}
