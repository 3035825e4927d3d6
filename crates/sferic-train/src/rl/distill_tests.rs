#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use sferic_text::Conversation;

use super::super::rollout::Request;
use super::super::toy::{Scripted, config, engine_options, reference_turns, toy_speaker};
use super::*;

fn distill_config(lines: &str) -> DistillConfig {
    toml::from_str(&format!("n_conversations = 100\n{lines}")).unwrap()
}

fn collector<'a>(speaker: &Speaker, config: &'a DistillConfig) -> Collector<'a> {
    let grpo = super::super::toy::config("[[tasks]]\ngenerators = [\"addition\", \"sequence\"]\nlevels = [1, 2]");
    let mix = Mix::new(&grpo, 4).unwrap().with_thinking(config.thinking);
    Collector { mix, setting: setting(&grpo, speaker.tokenizer()).unwrap(), speaker: speaker.clone(), config, seed: 4 }
}

/// What a perfect specialist replies, by prompt.
fn references(collector: &Collector<'_>, format: &sferic_text::PromptFormat, n: u64) -> HashMap<Vec<u32>, String> {
    let asked = (0..n).map(|task_idx| collector.mix.task(task_idx, &collector.setting).unwrap());
    asked
        .map(|asked| {
            let prompt = collector.speaker.prompt(&asked.task, asked.mode).unwrap();
            (prompt, reference_turns(&asked, format).remove(0))
        })
        .collect()
}

/// Wrong at first and right when asked again; a collection that broke off goes on with the same result.
#[test]
fn only_right_replies_are_kept_and_a_broken_collection_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_, engine, speaker) = toy_speaker(folder.path());
    let config = distill_config("tries = 2");
    let collector = collector(&speaker, &config);
    let references = references(&collector, engine.prompt_format().unwrap(), 256);
    let run = |output: &str, most: usize| {
        let mut asked: HashMap<Vec<u32>, usize> = HashMap::new();
        let script = |n: usize, request: &Request| {
            let n_asked = asked.entry(request.prompt.clone()).or_default();
            *n_asked += 1;
            // Two of three are wrong the first time.
            let is_right = *n_asked > 1 || request.prompt.len().is_multiple_of(3);
            let text = if is_right {
                references[&request.prompt].clone()
            } else {
                "I do not know.<｜end▁of▁sentence｜>".to_owned()
            };
            (n < most).then_some((text, true))
        };
        let mut roller = Scripted { speaker: speaker.clone(), n_rolled: 0, script };
        let found = collector.collect("sums", &folder.path().join(output), &mut roller, &mut |_| {});
        (found, roller.n_rolled)
    };
    let (whole, n_rolled) = run("whole", usize::MAX);
    let whole = whole.unwrap();
    assert_eq!((whole.n_conversations, whole.n_prompts), (100, 128));
    assert!(n_rolled > 128, "some were asked again");
    assert!(run("broken", n_rolled - 5).0.is_err());
    let (again, n_again) = run("broken", usize::MAX);
    let again = again.unwrap();
    assert!(n_again < n_rolled, "the first part was kept");
    let read = |collected: &Collected| std::fs::read_to_string(&collected.path).unwrap();
    assert_eq!(read(&again), read(&whole));
    let text = read(&whole);
    let (mut n_thinking, mut lines) = (0, text.lines().collect::<Vec<_>>());
    for line in &lines {
        let conversation = Conversation::from_json(line).unwrap();
        let value: Value = serde_json::from_str(line).unwrap();
        let thought = conversation.messages.last().unwrap().reasoning_content.is_some();
        assert_eq!(value["thinking"], json!(thought));
        n_thinking += usize::from(thought);
    }
    assert!(n_thinking > 20 && n_thinking < 80, "{n_thinking}");
    lines.dedup();
    assert_eq!(lines.len(), 100);
}

/// A roller that wants many requests in a call, and counts its calls.
struct Together<R> {
    roller: R,
    wants: usize,
    n_calls: usize,
}

impl<R: Roller> Roller for Together<R> {
    fn roll(&mut self, requests: &[Request], sampling: &Sampling) -> Result<Vec<super::super::rollout::Reply>, TrainError> {
        self.n_calls += 1;
        self.roller.roll(requests, sampling)
    }

    fn wants(&self) -> usize {
        self.wants
    }
}

/// What is asked together, and how much of it, changes nothing but the number of calls; a collection that broke off goes on with other parts.
#[test]
fn parts_that_are_asked_together_say_what_they_say_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, engine, speaker) = toy_speaker(folder.path());
    let config = distill_config("tries = 2\nprompts_per_conversation = 3");
    let collector = collector(&speaker, &config);
    let references = references(&collector, engine.prompt_format().unwrap(), 300);
    let run = |output: &str, wants: usize, most: usize| {
        // Seeds decide what is right, one of four at each try.
        let script = |n: usize, request: &Request| {
            let wrong = "I do not know.<｜end▁of▁sentence｜>";
            let text = if request.seed.is_multiple_of(4) { &references[&request.prompt] } else { wrong };
            (n < most).then_some((text.to_owned(), true))
        };
        let roller = Scripted { speaker: speaker.clone(), n_rolled: 0, script };
        let mut roller = Together { roller, wants, n_calls: 0 };
        let mut seen = Vec::new();
        let output = folder.path().join(output);
        let found = collector.collect("sums", &output, &mut roller, &mut |so_far| seen.push(so_far.n_prompts));
        (found.map(|found| std::fs::read_to_string(found.path).unwrap()), seen, roller.n_calls)
    };
    let (alone, seen, n_calls) = run("alone", 1, usize::MAX);
    let alone = alone.unwrap();
    assert!(seen.len() >= 3 && n_calls == 2 * seen.len() && alone.lines().count() == 100, "{seen:?}");
    for wants in [100, 512] {
        let (together, seen_together, n_together) = run(&format!("together-{wants}"), wants, usize::MAX);
        assert_eq!((together.unwrap(), &seen_together), (alone.clone(), &seen));
        assert!(n_together < n_calls, "{n_together} calls with {wants}, {n_calls} with 1");
    }
    assert!(run("broken", 1, 130).0.is_err());
    let (again, _, n_again) = run("broken", 512, usize::MAX);
    assert!(again.unwrap() == alone && n_again < n_calls - 2, "{n_again}");
}

#[test]
fn no_more_parts_are_asked_than_are_needed() {
    let collected =
        |n_conversations, n_prompts| Collected { name: "sums".to_owned(), n_conversations, n_prompts, path: PathBuf::new() };
    let n = |n_conversations, n_prompts, wants| n_parts(&collected(n_conversations, n_prompts), 1000, wants);
    // Nothing is known at first; half of the replies are good; nearly all is there; none was good.
    assert_eq!([n(0, 0, 512), n(0, 0, 9999), n(0, 0, 1)], [8, 16, 1]);
    assert_eq!([n(500, 1000, 9999), n(990, 1100, 9999), n(0, 64, 512)], [16, 1, 8]);
}

/// A specialist that never is right costs its prompts and gives nothing.
#[test]
fn hopeless_tasks_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let grpo = config("[[tasks]]\ngenerators = [\"addition\"]\nlevels = [1]");
    toy_speaker(&folder.path().join("model"));
    let specialist = SpecialistConfig { name: "hopeless".to_owned(), sft: None, grpo };
    let config =
        DistillConfig { n_conversations: 3, ..distill_config("tries = 1\nmax_tokens = 2\nprompts_per_conversation = 2") };
    let (model, output) = (folder.path().join("model"), folder.path().join("out"));
    let found = distill(&specialist, &config, (1, &model, &output), &engine_options(), &mut |_| {}).unwrap();
    assert_eq!((found.n_conversations, found.n_prompts), (0, 6));
    assert!(found.path.exists() && !output.join("hopeless").exists());
}

#[test]
fn examples_think_where_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _, speaker) = toy_speaker(folder.path());
    let config = distill_config("");
    let collector = collector(&speaker, &config);
    let asked = collector.mix.clone().with_thinking(1.0).task(1, &collector.setting).unwrap();
    let outcome = sferic_tasks::Outcome { correct: true, in_form: true, answer: String::new(), rules: Vec::new() };
    let episode = |mode: Mode| {
        let messages = asked.task.conversation(mode);
        Episode {
            tokens: Vec::new(),
            draws: Vec::new(),
            messages,
            outcome: outcome.clone(),
            ended: true,
            experts: Default::default(),
        }
    };
    assert!(is_example(&asked, &episode(Mode::Thinking)) && !is_example(&asked, &episode(Mode::Direct)));
    let direct = Asked { mode: Mode::Direct, ..asked.clone() };
    assert!(is_example(&direct, &episode(Mode::Direct)) && !is_example(&direct, &episode(Mode::Thinking)));
    let mut wrong = episode(Mode::Thinking);
    wrong.outcome.in_form = false;
    assert!(!is_example(&asked, &wrong));
}
