//! Outcome of a reply, and the parts of a reward.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, spoken};
use crate::check::Check;
use crate::task::Task;

/// What a reply is worth by rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the answer is right. There is no partial credit.
    pub correct: bool,
    /// Whether the reply has the form that the prompt asked for.
    pub in_form: bool,
    /// The answer as it was read from the reply.
    pub answer: String,
    /// The rules of an alignment task one by one, with whether they hold; empty for other tasks. For reports, not for rewards.
    pub rules: Vec<(String, bool)>,
}

/// Holds a reply against a task. `reply` is what the model says after its thoughts; never fails, whatever it is.
pub fn score(task: &Task, reply: &str) -> Outcome {
    let rules = match &task.check {
        Check::Style { rules } => rules.iter().map(|rule| (rule.to_string(), rule.holds(reply))).collect(),
        _ => Vec::new(),
    };
    Outcome {
        correct: task.check.accepts(reply),
        in_form: task.form.holds(reply, &task.check.answer()),
        answer: Answer::of(reply).text,
        rules,
    }
}

/// A penalty on length that sets in softly: nothing up to `n_free` tokens, all of `max` from `n_full` on, linear in between.
///
/// It counts thoughts and answer together, right or wrong.
///
/// # Source
/// spec/dsa.md §7.4 names a length penalty without its form; this one is ours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LengthPenalty {
    /// Tokens that cost nothing.
    pub n_free: usize,
    /// Tokens from which on it does not grow.
    pub n_full: usize,
    /// The largest penalty.
    pub max: f64,
}

impl LengthPenalty {
    /// Returns the penalty, from 0 to `max`.
    pub fn of(&self, n_tokens: usize) -> f64 {
        let over = n_tokens.saturating_sub(self.n_free) as f64;
        let range = self.n_full.saturating_sub(self.n_free).max(1) as f64;
        self.max * (over / range).min(1.0)
    }
}

/// Returns the share of a reply's words that belong to the language of its prompt, from 0 to 1.
///
/// A word belongs to it if all its letters have the script that most of the prompt's letters have, and, where `known` is given,
/// if it stands in the prompt or in `known`. Words are runs of letters, in small letters; numbers and signs do not count.
/// A reply without words has 1: a number is right in every language. Of `known` words small letters are expected.
///
/// # Source
/// spec/dsa.md §7.4 names a language-consistency reward without its form; this one is ours.
pub fn language_consistency(prompt: &str, reply: &str, known: Option<&HashSet<String>>) -> f64 {
    let script = main_script(prompt);
    let said = letter_words(reply);
    if said.is_empty() {
        return 1.0;
    }
    let asked: HashSet<String> = known.map(|_| letter_words(prompt).into_iter().collect()).unwrap_or_default();
    let is_known = |word: &String| known.is_none_or(|known| known.contains(word) || asked.contains(word));
    let is_script = |word: &String| script.is_none_or(|script| word.chars().all(|letter| Script::of(letter) == script));
    let n_consistent = said.iter().filter(|word| is_script(word) && is_known(word)).count();
    n_consistent as f64 / said.len() as f64
}

/// Writing systems by blocks of Unicode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Arabic,
    Han,
    Kana,
    Hangul,
    Other,
}

impl Script {
    fn of(letter: char) -> Self {
        match u32::from(letter) {
            0x41..=0x24f | 0x1e00..=0x1eff => Self::Latin,
            0x370..=0x3ff => Self::Greek,
            0x400..=0x52f => Self::Cyrillic,
            0x600..=0x6ff => Self::Arabic,
            0x3040..=0x30ff => Self::Kana,
            0x3400..=0x9fff | 0x2_0000..=0x3_ffff => Self::Han,
            0xac00..=0xd7af => Self::Hangul,
            _ => Self::Other,
        }
    }
}

/// Returns the script of most letters; `None` if there is no letter.
fn main_script(text: &str) -> Option<Script> {
    let scripts = [
        Script::Latin,
        Script::Greek,
        Script::Cyrillic,
        Script::Arabic,
        Script::Han,
        Script::Kana,
        Script::Hangul,
        Script::Other,
    ];
    let n_of = |script: Script| text.chars().filter(|letter| letter.is_alphabetic() && Script::of(*letter) == script).count();
    let counts = scripts.map(|script| (n_of(script), script));
    counts.into_iter().rev().max_by_key(|(n, _)| *n).filter(|(n, _)| *n > 0).map(|(_, script)| script)
}

fn letter_words(text: &str) -> Vec<String> {
    text.to_lowercase().split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// How the parts of a reward are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RewardRules {
    /// What a reply in the wrong form loses, right or wrong.
    pub wrong_form: f64,
    /// What length costs.
    pub length: LengthPenalty,
    /// What a reply gains that stays in the language of the prompt throughout.
    pub language: f64,
}

impl Default for RewardRules {
    /// An answer counts ten times as much as anything beside it.
    fn default() -> Self {
        Self { wrong_form: 0.1, length: LengthPenalty { n_free: 256, n_full: 1024, max: 0.1 }, language: 0.1 }
    }
}

/// A reward and its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// 1 for a right answer, else 0.
    pub outcome: f64,
    /// What a wrong form costs: 0 or negative.
    pub form: f64,
    /// What length costs: 0 or negative.
    pub length: f64,
    /// What staying in the language is worth: 0 or positive.
    pub language: f64,
}

impl Reward {
    /// The sum of the parts.
    pub fn total(&self) -> f64 {
        self.outcome + self.form + self.length + self.language
    }
}

impl RewardRules {
    /// Weighs an outcome, the number of tokens sampled (thoughts included) and the share from [`language_consistency`].
    pub fn reward(&self, outcome: &Outcome, n_tokens: usize, language_share: f64) -> Reward {
        Reward {
            outcome: f64::from(u8::from(outcome.correct)),
            form: if outcome.in_form { 0.0 } else { -self.wrong_form },
            length: -self.length.of(n_tokens),
            language: self.language * language_share,
        }
    }

    /// Scores a reply and weighs it. `thinking` is what the model thought; its language counts as well.
    pub fn judge(&self, task: &Task, thinking: &str, reply: &str, n_tokens: usize, known: Option<&HashSet<String>>) -> Reward {
        let prompt: String = task.prompt().iter().map(|message| format!("{}\n", message.text())).collect();
        let said = format!("{thinking}\n{}", spoken(reply));
        self.reward(&score(task, reply), n_tokens, language_consistency(&prompt, &said, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_costs_nothing_then_more_then_no_more() {
        let penalty = LengthPenalty { n_free: 100, n_full: 300, max: 0.5 };
        let costs: Vec<f64> = [0, 100, 200, 300, 9000].into_iter().map(|n_tokens| penalty.of(n_tokens)).collect();
        assert_eq!(costs, [0.0, 0.0, 0.25, 0.5, 0.5]);
        let step = LengthPenalty { n_free: 100, n_full: 100, max: 0.5 };
        assert_eq!((step.of(100), step.of(101)), (0.0, 0.5));
    }

    #[test]
    fn words_of_another_script_or_unknown_ones_lower_the_share() {
        let prompt = "How many apples does Tom have?";
        assert_eq!(language_consistency(prompt, "Tom has 3 apples.", None), 1.0);
        assert_eq!(language_consistency(prompt, "Tom has три apples.", None), 0.75);
        assert_eq!(language_consistency(prompt, "42", None), 1.0);
        assert_eq!(language_consistency("你好吗", "很好 thanks", None), 0.5);
        let known: HashSet<String> = ["has".to_owned()].into();
        assert_eq!(language_consistency(prompt, "Tom has blorp apples.", Some(&known)), 0.75);
    }

    #[test]
    fn a_reward_is_the_sum_of_its_parts() {
        let outcome = Outcome { correct: true, in_form: false, answer: String::new(), rules: Vec::new() };
        let reward = RewardRules::default().reward(&outcome, 640, 0.5);
        assert_eq!((reward.outcome, reward.form, reward.length, reward.language), (1.0, -0.1, -0.05, 0.05));
        assert!((reward.total() - 0.9).abs() < 1e-12);
    }
}
