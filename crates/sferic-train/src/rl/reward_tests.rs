#![allow(clippy::unwrap_used)]

use sferic_tasks::{Generator, LengthPenalty, Mode, Outcome, Setting};

use super::super::episode::Drawn;
use super::super::toy::toy_speaker;
use super::*;

fn asked(name: &str) -> Asked {
    let task = Generator::named(name).unwrap().task(1, 2, &Setting::default()).unwrap();
    Asked { task, mode: Mode::Direct, kl_weight: 0.0 }
}

fn episode(asked: &Asked, reply: &str, correct: bool, n_tokens: usize) -> Episode {
    let mut messages = asked.task.prompt();
    messages.push(Message::assistant(reply));
    let draws = (0..n_tokens).map(|position| Drawn { position, logprob: -1.0, kept: Vec::new() }).collect();
    let outcome = Outcome { correct, in_form: correct, answer: String::new(), rules: Vec::new() };
    Episode { tokens: vec![0; n_tokens], draws, messages, outcome, ended: true, experts: Default::default() }
}

/// Gives long replies more.
struct Lengths;

impl Judge for Lengths {
    fn score(&mut self, _: &str, reply: &str) -> Result<f64, TrainError> {
        Ok(reply.len() as f64 / 100.0)
    }
}

#[test]
fn rules_and_the_judge_of_a_domain_add_up() {
    let rules = RewardRules { wrong_form: 0.25, length: LengthPenalty { n_free: 10, n_full: 20, max: 0.5 }, language: 0.0 };
    let mut rewarder = RuleRewarder::new(rules, Some((Box::new(Lengths), 2.0)), vec![Domain::Alignment]);
    let (sum, polite) = (asked("addition"), asked("polite"));
    let episodes = [
        (&sum, episode(&sum, "five", true, 15)),
        (&sum, episode(&sum, "six", false, 5)),
        (&polite, episode(&polite, "thanks", true, 5)),
        (&polite, Episode { ended: false, ..episode(&polite, "thanks", false, 5) }),
    ];
    let pairs: Vec<(&Asked, &Episode)> = episodes.iter().map(|(asked, episode)| (*asked, episode)).collect();
    let found = rewarder.rewards(&pairs).unwrap();
    // Right but half too long; wrong and out of form; right and judged; cut off and not judged.
    for (found, expected) in found.iter().zip([0.75, -0.25, 1.12, -0.25]) {
        assert!((found - expected).abs() < 1e-9, "{found}, {expected}");
    }
}

#[test]
fn a_rubric_is_filled_once() {
    assert_eq!(filled("Q {prompt} A {reply}.", "{reply}?", "{prompt}!"), "Q {reply}? A {prompt}!.");
}

/// The score is between the worst and the best, the same every time, and depends on the reply.
#[test]
fn a_judge_reads_the_probabilities_of_the_digits() {
    let folder = tempfile::tempdir().unwrap();
    let (_, engine, _) = toy_speaker(folder.path());
    let mut judge = RubricJudge::new(&engine, "Rate {reply} for {prompt}:").unwrap();
    let scores: Vec<f64> = ["yes", "no", "yes"].map(|reply| judge.score("a", reply).unwrap()).to_vec();
    assert!(scores.iter().all(|score| *score > 0.0 && *score < 1.0), "{scores:?}");
    assert!((scores[0] - scores[2]).abs() < 1e-6 && (scores[0] - scores[1]).abs() > 1e-6, "{scores:?}");
    // The expected digit, from the logits themselves.
    let format = engine.prompt_format().unwrap();
    let text = format.render(&[Message::user("Rate yes for a:")], &[], false, false).unwrap();
    let ids = engine.tokenizer().unwrap().encode(&text, false).unwrap();
    let logits = pollster::block_on(engine.session().logits(&ids)).unwrap();
    let p = judge.digits.iter().map(|&digit| f64::from(logits[digit as usize]).exp()).collect::<Vec<_>>();
    let expected = p.iter().enumerate().map(|(at, p)| p * at as f64).sum::<f64>() / p.iter().sum::<f64>() / 4.0;
    assert!((scores[0] - expected).abs() < 1e-5, "{} {expected}", scores[0]);
    assert_eq!(judge.digits.len(), 5);
}
