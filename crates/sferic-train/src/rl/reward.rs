//! What an episode is worth.

use sferic_engine::{DeviceChoice, Engine, EngineOptions, Session};
use sferic_tasks::{Domain, RewardRules, language_consistency};
use sferic_text::Message;

use super::config::{GrpoConfig, JudgeConfig};
use super::episode::Episode;
use super::mix::Asked;
use crate::TrainError;

/// Says what episodes are worth.
pub trait Rewarder {
    /// Returns the reward of each episode.
    ///
    /// # Errors
    /// [`TrainError`] of a model that takes part.
    fn rewards(&mut self, episodes: &[(&Asked, &Episode)]) -> Result<Vec<f64>, TrainError>;
}

/// Scores a reply to a prompt: a generative reward model, for example.
pub trait Judge {
    /// Returns a number from 0 (worst) to 1 (best).
    ///
    /// # Errors
    /// [`TrainError`] of the model behind it.
    fn score(&mut self, prompt: &str, reply: &str) -> Result<f64, TrainError>;
}

/// Rewards by rule, with a judge's score added where there is one.
///
/// # Source
/// spec/dsa.md §7.4: outcome by rule, length and language, and a generative model with a rubric.
pub struct RuleRewarder {
    rules: RewardRules,
    judge: Option<Judged>,
}

struct Judged {
    judge: Box<dyn Judge>,
    weight: f64,
    domains: Vec<Domain>,
}

impl RuleRewarder {
    /// Takes the rules of a run and loads its judge.
    ///
    /// # Errors
    /// [`TrainError::Engine`] when the judge cannot be loaded.
    pub fn open(config: &GrpoConfig, device: &DeviceChoice) -> Result<Self, TrainError> {
        let judge = match &config.judge {
            None => None,
            Some(judge) => Some(Judged {
                judge: Box::new(RubricJudge::open(judge, device)?),
                weight: judge.weight,
                domains: judge.domains.clone(),
            }),
        };
        Ok(Self { rules: config.reward.rules(), judge })
    }

    /// Takes rules and a judge that scores replies to tasks of `domains`, all where there is none.
    pub fn new(rules: RewardRules, judge: Option<(Box<dyn Judge>, f64)>, domains: Vec<Domain>) -> Self {
        Self { rules, judge: judge.map(|(judge, weight)| Judged { judge, weight, domains }) }
    }
}

impl Rewarder for RuleRewarder {
    fn rewards(&mut self, episodes: &[(&Asked, &Episode)]) -> Result<Vec<f64>, TrainError> {
        let mut rewards = Vec::with_capacity(episodes.len());
        for (asked, episode) in episodes {
            let prompt = asked.task.prompt();
            let (thoughts, words) = episode.said(prompt.len());
            let asked_text = prompt.iter().map(Message::text).collect::<Vec<_>>().join("\n");
            let language = language_consistency(&asked_text, &format!("{thoughts}\n{words}"), None);
            let mut reward = self.rules.reward(&episode.outcome, episode.draws.len(), language).total();
            if let Some(Judged { judge, weight, domains }) = &mut self.judge
                && (domains.is_empty() || domains.contains(&asked.task.domain))
                && episode.ended
            {
                reward += *weight * judge.score(&asked_text, &words)?;
            }
            rewards.push(reward);
        }
        Ok(rewards)
    }
}

/// A model that is asked for a digit from 1 to 5.
///
/// Nothing is drawn: the score is the mean of the digits under the model's probabilities for them, from 0 for a certain 1 to 1 for a certain 5. So it
/// tells replies apart to which the model would give the same digit.
///
/// # Source
/// spec/dsa.md §7.4 names a generative reward model with a rubric and not how its answer is read; this is ours.
pub struct RubricJudge {
    session: Session,
    rubric: String,
    /// The tokens of the digits.
    digits: Vec<u32>,
}

impl RubricJudge {
    /// Loads the model of a configuration.
    ///
    /// # Errors
    /// [`TrainError::Engine`] when it cannot be loaded, and those of [`RubricJudge::new`].
    pub fn open(config: &JudgeConfig, device: &DeviceChoice) -> Result<Self, TrainError> {
        let options = EngineOptions { device: device.clone(), ..EngineOptions::default() };
        Self::new(&pollster::block_on(Engine::open(&config.model, options))?, &config.rubric)
    }

    /// Asks `engine` with a rubric that has `{prompt}` and `{reply}` where those belong.
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] for a tokenizer in which a digit is no token.
    pub fn new(engine: &Engine, rubric: &str) -> Result<Self, TrainError> {
        let mut digits = Vec::new();
        for digit in ["1", "2", "3", "4", "5"] {
            match engine.tokenizer()?.encode(digit, false)?[..] {
                [token] => digits.push(token),
                ref tokens => {
                    let message = format!("a judge's digit {digit}: expected one token, found {}", tokens.len());
                    return Err(TrainError::Tokenizer { message });
                }
            }
        }
        Ok(Self { session: engine.session(), rubric: rubric.to_owned(), digits })
    }
}

impl Judge for RubricJudge {
    fn score(&mut self, prompt: &str, reply: &str) -> Result<f64, TrainError> {
        let text = filled(&self.rubric, prompt, reply);
        let engine = self.session.engine().clone();
        let format = engine.prompt_format()?;
        let text = format.render(&[Message::user(text)], &[], false, false)?;
        let ids = engine.tokenizer()?.encode(&text, format.add_special_tokens())?;
        let logits = pollster::block_on(self.session.logits(&ids))?;
        let of = |token: &u32| logits.get(*token as usize).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit));
        let largest = self.digits.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = self.digits.iter().map(|token| (of(token) - largest).exp()).collect();
        let worth = weights.iter().enumerate().map(|(digit_idx, weight)| digit_idx as f64 * weight).sum::<f64>();
        Ok(worth / (weights.iter().sum::<f64>() * (self.digits.len() - 1) as f64))
    }
}

/// Puts prompt and reply into a rubric; places that they spell themselves are left alone.
fn filled(rubric: &str, prompt: &str, reply: &str) -> String {
    let parts: Vec<String> =
        rubric.split("{reply}").map(|part| part.split("{prompt}").collect::<Vec<_>>().join(prompt)).collect();
    parts.join(reply)
}

#[cfg(test)]
#[path = "reward_tests.rs"]
mod tests;
