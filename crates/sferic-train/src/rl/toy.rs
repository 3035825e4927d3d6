//! A toy model that speaks DeepSeek-V3.2's format, and a roller with a script, for the tests of this folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use burn::tensor::Device;
use sferic_engine::{DeviceChoice, EngineOptions};
use sferic_model::{Config, Model};
use sferic_text::{Message, PromptFormat, Role};
use sferic_weights::Dtype;

use super::episode::Speaker;
use super::mix::Asked;
use super::policy::Policy;
use super::rollout::{Reply, Request, Roller, Sampling};
use super::*;
use crate::TrainError;
use crate::export::write_model;
use crate::init::RandomWeights;
use crate::test_model::toy_config;
use crate::tokenizer::train_tokenizer;

/// Tokens of the toy model's context.
pub(super) const CONTEXT: usize = 512;

/// Returns a configuration with a few lines added or replaced.
pub(super) fn config(lines: &str) -> GrpoConfig {
    toml::from_str(&format!("steps = 3\nlr = 1e-3\n{lines}")).unwrap()
}

pub(super) fn engine_options() -> EngineOptions {
    EngineOptions { device: DeviceChoice::Cpu, ..EngineOptions::default() }
}

/// Writes the folder of a random model with a context of `context` tokens and a selection of 24.
pub(super) fn toy_folder(folder: &Path, context: usize) -> Model {
    toy_folder_with(folder, context, |_| ())
}

/// The same with keys of the configuration changed.
fn toy_folder_with(folder: &Path, context: usize, edit: impl Fn(&mut serde_json::Value)) -> Model {
    let texts = ["What is the sum of two and three? The answer is five.", "Answer: yes. Answer: no. What is the answer?"];
    let tokenizer = train_tokenizer(texts.into_iter(), 340).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string(true).unwrap()).unwrap();
    let mut json = toy_config(tokenizer.get_vocab_size(true));
    json["max_position_embeddings"] = context.into();
    json["index_topk"] = 24.into();
    edit(&mut json);
    let config = Config::from_json(&json).unwrap();
    let model = Model::load(&config, &mut RandomWeights::new(&config, 0.15, 3), &Device::flex()).unwrap();
    write_model(&model, Dtype::F32, folder).unwrap();
    model
}

/// The toy model's engine and its way to speak.
pub(super) fn toy_speaker(folder: &Path) -> (Model, sferic_engine::Engine, Speaker) {
    let model = toy_folder(folder, CONTEXT);
    let engine = Policy::new(folder, engine_options()).engine(&model).unwrap();
    let speaker = Speaker::new(&engine).unwrap();
    (model, engine, speaker)
}

/// The same with a mixture of four experts, two of them active, in the second layer.
pub(super) fn toy_mixture_speaker(folder: &Path) -> (Model, sferic_engine::Engine, Speaker) {
    let mixture = serde_json::json!({
        "first_k_dense_replace": 1, "n_routed_experts": 4, "n_shared_experts": 1, "moe_intermediate_size": 16, "num_experts_per_tok": 2,
        "n_group": 1, "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.0, "scoring_func": "sigmoid",
        "topk_method": "noaux_tc", "moe_layer_freq": 1
    });
    let model = toy_folder_with(folder, CONTEXT, |json| {
        for (key, value) in mixture.as_object().unwrap() {
            json[key] = value.clone();
        }
    });
    let engine = Policy::new(folder, engine_options()).engine(&model).unwrap();
    let speaker = Speaker::new(&engine).unwrap();
    (model, engine, speaker)
}

/// What a model writes that answers like the task's reference: the turns of the assistant, end tokens included.
pub(super) fn reference_turns(asked: &Asked, format: &PromptFormat) -> Vec<String> {
    let thinking = asked.mode == sferic_tasks::Mode::Thinking;
    let whole = asked.task.conversation(asked.mode);
    let render = |messages: &[Message]| format.render(messages, &asked.task.tools, thinking, true).unwrap();
    let turns = (0..whole.len()).filter(|&at| whole[at].role == Role::Assistant);
    turns.map(|at| render(&whole[..=at]).strip_prefix(&render(&whole[..at])).unwrap().to_owned()).collect()
}

/// Replies from a script: the request's number and prompt give the text.
pub(super) struct Scripted<F> {
    pub(super) speaker: Speaker,
    pub(super) n_rolled: usize,
    pub(super) script: F,
}

impl<F: FnMut(usize, &Request) -> Option<(String, bool)>> Roller for Scripted<F> {
    fn roll(&mut self, requests: &[Request], _: &Sampling) -> Result<Vec<Reply>, TrainError> {
        let mut replies = Vec::new();
        for request in requests {
            let (text, ended) = (self.script)(self.n_rolled, request).ok_or(TrainError::NoToolResults)?;
            self.n_rolled += 1;
            let tokens = self.speaker.tokenizer().encode(&text, false).unwrap();
            let logprobs = vec![-0.5; tokens.len()];
            replies.push(Reply { logprobs, tokens, ended, ..Reply::default() });
        }
        Ok(replies)
    }
}
