//! Answers of a given shape: sentences, lists, records, with conditions beside.

use crate::check::Check;
use crate::generator::Draft;
use crate::phrases::{Phrases, capitalised, fill};
use crate::random::Draws;
use crate::setting::Setting;
use crate::style::Rule;
use crate::words::{JOBS, NAMES, TOWNS};

use super::bank::{TOPICS, lists};

const ASK_SENTENCES: Phrases = Phrases::new(&[
    "tell me something about {topic} in {n}.",
    "write {n} about {topic}.",
    "what do you know about {topic}? Answer in {n}.",
    "describe {topic} in {n}.",
    "explain to a child what is special about {topic}. Use {n}.",
    "please say something true about {topic}, in {n}.",
    "I would like to read {n} about {topic}.",
]);
const ASK_BULLETS: Phrases = Phrases::new(&[
    "name {n} {kind} as a list with \"-\" before each.",
    "give me a bullet list of {n} {kind}.",
    "list {n} {kind}, each on its own line after \"- \".",
    "I need {n} {kind}. Write one on each line and begin each line with \"-\".",
    "write down {n} {kind} as bullet points.",
    "make a list of {n} {kind}, with a dash before each of them.",
]);
const ASK_NUMBERED: Phrases = Phrases::new(&[
    "name {n} {kind} as a numbered list.",
    "give me a numbered list of {n} {kind}.",
    "list {n} {kind} with the numbers 1 to {n}, one on each line.",
    "I need {n} {kind}. Number them, one on each line.",
    "write down {n} {kind}, numbered from 1.",
    "make a list of {n} {kind} and put a number before each line.",
]);
const ASK_RECORD: Phrases = Phrases::new(&[
    "{text} Write this as a JSON object with the keys {keys}.",
    "turn this into JSON with the keys {keys}: {text}",
    "{text} Give me a JSON object with {keys} and nothing else.",
    "read this: {text} Reply with JSON. The keys are {keys}.",
    "make a JSON record with the keys {keys} from this sentence: {text}",
    "{text} Put it into JSON, using the keys {keys}.",
]);
const NUMBERS: &[&str] = &["no", "one", "two", "three", "four", "five", "six"];

/// A condition beside the shape: its rule, how it is asked for, and what it does to the reference.
struct Extra {
    rule: Rule,
    ask: &'static [&'static str],
    apply: fn(&str) -> String,
}

fn extra(draws: &mut Draws, topic: &str) -> Extra {
    let same = |text: &str| text.to_owned();
    match draws.below(8) {
        0 => Extra {
            rule: Rule::NoCapitals,
            ask: &["Do not use capital letters.", "Write everything in small letters.", "Use only lower case."],
            apply: |text| text.to_lowercase(),
        },
        1 => Extra {
            rule: Rule::AllCapitals,
            ask: &["Use capital letters only.", "Write everything in capital letters.", "Use only upper case."],
            apply: |text| text.to_uppercase(),
        },
        2 => Extra {
            rule: Rule::NoComma,
            ask: &["Do not use a comma.", "Avoid commas.", "Your answer must not have a comma."],
            apply: same,
        },
        3 => Extra {
            rule: Rule::MaxWords(40),
            ask: &["Use at most 40 words.", "Stay below 41 words.", "Do not write more than 40 words."],
            apply: same,
        },
        4 => Extra {
            rule: Rule::Avoids("very".into()),
            ask: &["Do not use the word \"very\".", "Avoid the word \"very\".", "The word \"very\" must not occur."],
            apply: same,
        },
        5 => Extra {
            rule: Rule::BeginsWith("Well,".into()),
            ask: &["Begin with \"Well,\".", "Start your answer with \"Well,\".", "The first word should be \"Well,\"."],
            apply: |text| {
                let mut letters = text.chars();
                let first: String = letters.next().map(|first| first.to_lowercase().collect()).unwrap_or_default();
                format!("Well, {first}{}", letters.as_str())
            },
        },
        6 => Extra {
            rule: Rule::MaxWords(60),
            ask: &["Keep it short: 60 words at most.", "Use no more than 60 words.", "It must not be longer than 60 words."],
            apply: same,
        },
        _ => Extra {
            rule: Rule::Mentions(vec![topic.to_owned()]),
            ask: &[
                "Name the topic in your answer.",
                "Say in your answer what you talk about.",
                "Do not forget to name the thing itself.",
            ],
            apply: same,
        },
    }
}

/// Draws conditions that go together with the others, and applies them to the reference.
fn with_extras(
    draws: &mut Draws,
    n: usize,
    topic: &str,
    mut rules: Vec<Rule>,
    mut question: String,
    reply: &str,
) -> (Vec<Rule>, String, String) {
    let mut reply = reply.to_owned();
    let (mut n_added, mut n_tried) = (0, 0);
    while n_added < n && n_tried < 40 {
        n_tried += 1;
        let extra = extra(draws, topic);
        let changed = (extra.apply)(&reply);
        let is_new = rules.iter().all(|rule| std::mem::discriminant(rule) != std::mem::discriminant(&extra.rule));
        if is_new && extra.rule.holds(&changed) && rules.iter().all(|rule| rule.holds(&changed)) {
            question = format!("{question} {}", draws.word(extra.ask));
            rules.push(extra.rule);
            reply = changed;
            n_added += 1;
        }
    }
    (rules, question, reply)
}

fn draft(key: String, question: String, thinking: String, reply: String, rules: Vec<Rule>) -> Draft {
    Draft::new(key, question, thinking, reply, Check::Style { rules })
}

fn plan_of(rules: &[Rule]) -> String {
    let parts: Vec<String> = rules
        .iter()
        .filter(|rule| !matches!(rule, Rule::Mentions(_) | Rule::MentionsSeveral(..) | Rule::MinWords(_)))
        .map(Rule::to_string)
        .collect();
    format!("I have to keep to this: {}.", parts.join(", "))
}

pub(super) fn sentences(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let topic = draws.pick(TOPICS);
    let n = 1 + draws.below(3);
    let said = draws.several(topic.sentences, n);
    let n_sentences = if n == 1 { "one sentence".to_owned() } else { format!("{} sentences", NUMBERS[n]) };
    let question = ASK_SENTENCES.fill(draws, &[("topic", &topic.name), ("n", &n_sentences)]);
    let name = topic.name.trim_start_matches("the ");
    let rules = vec![Rule::Sentences(n), Rule::MinWords(3 * n), Rule::Mentions(vec![singular(name).to_owned()])];
    let (rules, question, reply) = with_extras(draws, usize::from(level) - 1, singular(name), rules, question, &said.join(" "));
    draft(question_key(topic.name, n, &rules), question, plan_of(&rules), reply, rules)
}

/// The stem that both one and many have.
fn singular(name: &str) -> &str {
    name.strip_suffix("oes").map_or_else(
        || name.strip_suffix('s').filter(|stem| !stem.ends_with('s')).unwrap_or(name),
        |_| name.trim_end_matches("es"),
    )
}

fn question_key(topic: &str, n: usize, rules: &[Rule]) -> String {
    format!("{topic} {n} {}", rules.iter().map(Rule::to_string).collect::<Vec<_>>().join("; "))
}

pub(super) fn items(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (kind, all) = draws.pick(&lists()).clone();
    let n = 2 + draws.below(4);
    let items = draws.several(&all, n);
    let numbered = draws.chance(0.4);
    let phrases = if numbered { ASK_NUMBERED } else { ASK_BULLETS };
    let n_text = if draws.chance(0.5) { NUMBERS[n].to_owned() } else { n.to_string() };
    let mut question = phrases.fill(draws, &[("n", &n_text), ("kind", &kind)]);
    let lines: Vec<String> = items
        .iter()
        .enumerate()
        .map(|(idx, item)| if numbered { format!("{}. {item}", idx + 1) } else { format!("- {item}") })
        .collect();
    let mut reply = lines.join("\n");
    let known: Vec<String> = all.iter().map(|item| (*item).to_owned()).collect();
    let mut rules = vec![if numbered { Rule::Numbered(n) } else { Rule::Bullets(n) }, Rule::MentionsSeveral(n, known)];
    if level >= 2 {
        let upper = draws.chance(0.5);
        let (rule, asks): (Rule, &[&str]) = if upper {
            (Rule::AllCapitals, &["Use capital letters only.", "Write in capital letters.", "Everything in upper case, please."])
        } else {
            (Rule::NoCapitals, &["Use small letters only.", "Do not use capital letters.", "Everything in lower case, please."])
        };
        question = format!("{question} {}", draws.word(asks));
        reply = if upper { reply.to_uppercase() } else { reply.to_lowercase() };
        rules.push(rule);
    }
    if level >= 3 {
        // Something that the reference does not have.
        let avoided = all.iter().copied().filter(|item| !items.contains(item)).collect::<Vec<_>>();
        let word = draws.word(&avoided);
        question = format!(
            "{question} {}",
            fill(draws.word(&["Do not name \"{x}\".", "Leave out \"{x}\".", "\"{x}\" must not be in it."]), &[("x", &word)])
        );
        rules.push(Rule::Avoids(word.to_owned()));
    }
    let key = format!("{kind} {n} {numbered} {}", rules.iter().skip(2).map(Rule::to_string).collect::<Vec<_>>().join("; "));
    draft(key, question, plan_of(&rules), reply, rules)
}

pub(super) fn record(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (name, job, town, age) = (draws.word(NAMES), draws.word(JOBS), draws.word(TOWNS), draws.between(18, 79));
    let work = crate::phrases::with_article(job);
    let (text, fields): (String, Vec<(&str, String)>) = match (level, draws.below(3)) {
        (1, 0) => (format!("{name} lives in {town}."), vec![("name", name.into()), ("town", town.into())]),
        (1, 1) => (format!("{name} is {age} years old."), vec![("name", name.into()), ("age", age.to_string())]),
        (1, _) => (format!("{name} is {work}."), vec![("name", name.into()), ("job", job.into())]),
        (_, 0) => (
            format!("{name} is {work} in {town} and {age} years old."),
            vec![("name", name.into()), ("job", job.into()), ("town", town.into()), ("age", age.to_string())],
        ),
        (_, 1) => (
            format!("{name}, {age} years old, lives in {town}."),
            vec![("name", name.into()), ("age", age.to_string()), ("town", town.into())],
        ),
        (_, _) => (
            format!("In {town} there is {work} called {name}."),
            vec![("name", name.into()), ("job", job.into()), ("town", town.into())],
        ),
    };
    let keys: Vec<&str> = fields.iter().map(|(key, _)| *key).collect();
    let quoted: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    let question = ASK_RECORD.fill(draws, &[("text", &text), ("keys", &crate::phrases::joined(&quoted, "and"))]);
    let written: Vec<String> = fields
        .iter()
        .map(|(key, value)| if *key == "age" { format!("\"{key}\": {value}") } else { format!("\"{key}\": \"{value}\"") })
        .collect();
    let values: Vec<String> = fields.iter().map(|(_, value)| value.clone()).collect();
    let rules =
        vec![Rule::JsonKeys(keys.iter().map(|key| (*key).to_owned()).collect()), Rule::MentionsSeveral(values.len(), values)];
    let thinking = fields.iter().map(|(key, value)| format!("{} is {value}.", capitalised(key))).collect::<Vec<_>>().join(" ");
    draft(text, question, thinking, format!("{{{}}}", written.join(", ")), rules)
}
