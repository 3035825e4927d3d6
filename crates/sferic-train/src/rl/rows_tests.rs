#![allow(clippy::unwrap_used, clippy::panic)]

use burn::tensor::Device;
use sferic_engine::{ComputePath, DeviceChoice, Engine, EngineOptions, resolve_device};
use sferic_tasks::{Generator, Mode, Setting};

use super::super::episode::{Speaker, play};
use super::super::learner::{Experience, Learned, Learner, reference_log_probs};
use super::super::mix::Asked;
use super::super::policy::Policy;
use super::super::rollout::{EngineRoller, Sampling};
use super::super::toy::{config, toy_mixture_speaker, toy_speaker};
use super::*;
use crate::optimizer::Optimizer;

/// Real replies of the toy model, of several lengths.
fn replies(sampling: &Sampling) -> (Model, Vec<Asked>, Vec<Episode>) {
    let folder = tempfile::tempdir().unwrap();
    replies_of(toy_speaker(folder.path()), sampling)
}

fn replies_of((model, engine, speaker): (Model, Engine, Speaker), sampling: &Sampling) -> (Model, Vec<Asked>, Vec<Episode>) {
    let asked = ["addition", "sequence", "comparison"].map(|name| {
        let task = Generator::named(name).unwrap().task(1, 3, &Setting::default()).unwrap();
        Asked { task, mode: Mode::Direct, kl_weight: 0.5 }
    });
    let mut roller = EngineRoller(engine);
    let episodes = play(&mut roller, &speaker, &asked, 2, sampling, 9).unwrap();
    (model, asked.to_vec(), episodes)
}

const SAMPLING: Sampling =
    Sampling { temperature: 0.6, top_p: 0.8, top_k: 0, max_tokens: 6, record_draws: true, record_experts: true };

fn largest_difference(found: &[Vec<f32>], episodes: &[Episode]) -> f32 {
    let pairs = found.iter().zip(episodes).flat_map(|(found, episode)| {
        assert_eq!(found.len(), episode.draws.len());
        found.iter().zip(&episode.draws).map(|(found, draw)| (found - draw.logprob).abs())
    });
    pairs.fold(0.0, f32::max)
}

#[test]
fn batches_hold_every_row_once_and_what_fits() {
    let lengths = [40, 300, 10, 33, 64, 90];
    let found = batches(&lengths, 200);
    let mut all: Vec<usize> = found.concat();
    all.sort_unstable();
    assert_eq!(all, (0..6).collect::<Vec<_>>());
    for batch in &found {
        let longest = batch.iter().map(|&row_idx| padded(lengths[row_idx])).max().unwrap();
        assert!(batch.len() == 1 || longest * batch.len() <= 200, "{batch:?}");
    }
    // 96 + 64, three of 64, 32.
    assert_eq!(found, [vec![1], vec![5, 4], vec![0, 3, 2]]);
}

/// The training's log-probabilities are the sampler's, draw by draw, while nothing was learned: the ratio is 1. Without the sampling mask it is
/// not, because the sampler's distribution was cut.
#[test]
fn a_policy_that_has_not_changed_has_the_probabilities_of_its_draws() {
    let (model, _, episodes) = replies(&SAMPLING);
    assert!(episodes.iter().any(|episode| episode.tokens.len() > 24 + 32), "longer than the selection");
    assert!(episodes.iter().all(|episode| episode.draws.iter().all(|draw| !draw.kept.is_empty())));
    let found = |lines: &str| {
        let config = config(&format!("temperature = 0.6\nbatch_tokens = 300\n{lines}"));
        largest_difference(&reference_log_probs(&model, &episodes, &config, 0).unwrap(), &episodes)
    };
    assert!(found("") < 1e-4, "{}", found(""));
    assert!(found("keep_sampling_mask = false") > 1e-2, "the distribution was not cut, so the test says nothing");
}

/// Replies that the kernels compute together say of their draws and experts what training computes.
#[test]
fn replies_of_a_batch_have_the_probabilities_of_their_draws() {
    let gpu = DeviceChoice::Gpu(None);
    match pollster::block_on(resolve_device(&gpu)) {
        Ok(_) => {}
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => return println!("skipped: {error}"),
    }
    let folder = tempfile::tempdir().unwrap();
    let (model, _, speaker) = toy_mixture_speaker(folder.path());
    let options = EngineOptions { device: gpu, path: ComputePath::Kernels, ..EngineOptions::default() };
    let engine = Policy::new(folder.path(), options).engine(&model).unwrap();
    assert!(engine.is_exact());
    let (model, _, mut episodes) = replies_of((model, engine, speaker), &SAMPLING);
    assert!(
        episodes.iter().all(|episode| episode.experts[&1].n_rows == row_length(episode) && !episode.draws[0].kept.is_empty())
    );
    let config = config("temperature = 0.6\nbatch_tokens = 300");
    let found = |episodes: &[Episode]| largest_difference(&reference_log_probs(&model, episodes, &config, 0).unwrap(), episodes);
    assert!(found(&episodes) < 1e-3, "{}", found(&episodes));
    // Without the cut the probabilities are others, so the tokens that were kept are the ones that count.
    episodes.iter_mut().for_each(|episode| episode.draws.iter_mut().for_each(|draw| draw.kept.clear()));
    assert!(found(&episodes) > 1e-2, "{}", found(&episodes));
}

/// Tokens go to the experts that they went to when they were drawn, whatever the router would choose now.
#[test]
fn tokens_keep_their_experts() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _, mut episodes) = replies_of(toy_mixture_speaker(folder.path()), &SAMPLING);
    let config = config("temperature = 0.6\nbatch_tokens = 300");
    let found = |episodes: &[Episode]| largest_difference(&reference_log_probs(&model, episodes, &config, 0).unwrap(), episodes);
    for episode in &episodes {
        assert_eq!(episode.experts.keys().copied().collect::<Vec<_>>(), [1]);
        assert_eq!((episode.experts[&1].n_rows, episode.experts[&1].n_cols), (row_length(episode), 2));
    }
    assert!(found(&episodes) < 1e-4, "{}", found(&episodes));
    // Other experts give other probabilities, so they are the ones that count.
    for episode in &mut episodes {
        let chosen = &mut episode.experts.get_mut(&1).unwrap().values;
        chosen.chunks_mut(2).for_each(|pair| pair.copy_from_slice(if pair[0] == 0 { &[2, 3] } else { &[0, 1] }));
    }
    assert!(found(&episodes) > 1e-3, "{}", found(&episodes));
    // Where nothing is known the router chooses.
    episodes.iter_mut().for_each(|episode| episode.experts.clear());
    assert!(found(&episodes) < 1e-4, "{}", found(&episodes));
}

/// Counted are the tokens of prompts and replies whose experts are others now, and no padding.
#[test]
fn tokens_that_go_to_other_experts_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (model, asked, mut episodes) = replies_of(toy_mixture_speaker(folder.path()), &SAMPLING);
    let n_rerouted = |episodes: &[Episode], lines: &str| {
        let chosen: Vec<&Episode> = episodes.iter().collect();
        let pass = Rows::new(&chosen, &config(lines), &model.device()).pass(&model, 0.6);
        pass.n_rerouted.try_into_vec_as::<f32>().unwrap()[0]
    };
    assert_eq!(n_rerouted(&episodes, "keep_routing = false"), 0.0, "nothing was learned");
    // The first reply keeps its experts in another order, all others get one expert that they did not have.
    for (episode_idx, episode) in episodes.iter_mut().enumerate() {
        for pair in episode.experts.get_mut(&1).unwrap().values.chunks_mut(2) {
            match episode_idx {
                0 => pair.reverse(),
                _ => pair[0] = (0..4).find(|expert| !pair.contains(expert)).unwrap(),
            }
        }
    }
    let n_changed: usize = episodes[1..].iter().map(Episode::n_routed).sum();
    assert_eq!(n_changed, episodes[1..].iter().map(row_length).sum::<usize>());
    assert_eq!(n_rerouted(&episodes, "keep_routing = false"), n_changed as f32);
    assert_eq!(n_rerouted(&episodes, ""), 0.0);
    // The share is one of all tokens, however they are divided into batches.
    let share = |lines: &str| learned(&model, (&asked, &episodes), lines).rerouted;
    let (alone, together) = (share("keep_routing = false\nbatch_tokens = 1"), share("keep_routing = false"));
    assert!((alone - together).abs() < 1e-6 && together > 0.5 && together < 1.0, "{alone} {together}");
    assert_eq!(share(""), 0.0);
    episodes.iter_mut().for_each(|episode| episode.experts.clear());
    assert!(learned(&model, (&asked, &episodes), "keep_routing = false").rerouted.is_nan(), "nobody knows");
}

/// Padding and the division into batches change neither loss nor gradient.
#[test]
fn batches_of_any_size_teach_the_same() {
    let (model, asked, episodes) = replies(&SAMPLING);
    let learn = |batch_tokens: usize| learned(&model, (&asked, &episodes), &format!("batch_tokens = {batch_tokens}"));
    let (alone, together) = (learn(1), learn(100_000));
    let pairs = [
        (alone.loss, together.loss),
        (alone.kl, together.kl),
        (alone.clipped, together.clipped),
        (alone.indexer_kl, together.indexer_kl),
    ];
    for (alone, together) in pairs.into_iter().chain([(alone.grad_norm, together.grad_norm)]) {
        assert!((alone - together).abs() < 1e-4 * (1.0 + together.abs()), "{alone} {together}");
    }
    assert!(together.kl > 1e-5 && together.indexer_kl > 1e-3 && together.grad_norm > 1e-3, "{together:?}");
}

/// Takes one step on replies of a model, from a little away from it, so that the divergence is not 0.
fn learned(model: &Model, (asked, episodes): (&[Asked], &[Episode]), lines: &str) -> Learned {
    let text = "temperature = 0.6\nupdates = 1\ngroup_size = 2\nindexer_kl_weight = 0.5\nkl_weight = 0.5";
    let config = config(&format!("{text}\n{lines}"));
    let device = Device::flex().autodiff();
    let moved = Model::load(model.config(), &mut Names(model.named_tensors()), &device).unwrap();
    let optimizer = Optimizer::adamw(config.betas, config.eps, 0.0, 1.0);
    let mut learner = Learner { model: moved, optimizer, device };
    let rewards = [1.0, 0.0, 0.5, 0.0, 0.0, 1.0];
    let experience = Experience::new(asked, episodes.to_vec(), &rewards, &config, Some(model), 0).unwrap();
    learner.learn(&experience, &config, 1, 0).unwrap()
}

/// Tensors by name, a little larger than they were.
struct Names(Vec<(sferic_model::TensorSpec, TensorData)>);

impl sferic_model::TensorSource for Names {
    type Error = std::convert::Infallible;

    fn tensor(&mut self, spec: &sferic_model::TensorSpec) -> Result<TensorData, Self::Error> {
        let (_, data) = self.0.iter().find(|(known, _)| known.name == spec.name).unwrap();
        Ok(TensorData::new(data.iter::<f32>().map(|value| value * 1.05).collect(), spec.shape.clone()))
    }
}
