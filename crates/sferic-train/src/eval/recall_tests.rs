#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Int, Tensor, TensorData};
use sferic_model::{Config, IndexerTraining};

use super::*;
use crate::init::RandomWeights;
use crate::test_model::toy_config;

const N_TOKENS: usize = 24;

fn model() -> Model {
    let config = Config::from_json(&toy_config(50)).unwrap();
    // Weights this large make attention uneven.
    Model::load(&config, &mut RandomWeights::new(&config, 0.5, 3), &Device::flex()).unwrap()
}

fn text(n_tokens: usize) -> Vec<u32> {
    (0..n_tokens as u32).map(|position| position * position * 7 % 50).collect()
}

fn options(ks: &[usize], n_queries: usize) -> RecallOptions {
    RecallOptions { ks: ks.to_vec(), n_queries }
}

/// Adds one token and returns what selections of two tokens hold.
fn one(attention: &[f32], scores: &[f32], before: &[f32]) -> LayerRecall {
    let mut sums = Sums::new(0, &[2]);
    sums.add(attention, scores, before);
    sums.mean()
}

#[test]
fn one_token_by_hand() {
    let attention = [0.5, 0.125, 0.25, 0.125];
    // The indexer takes 1 and 2, attention most of 0 and 2, the window 2 and 3; the token before took 0 and 2.
    let found = one(&attention, &[0.0, 2.0, 2.0, 1.0], &[3.0, 0.0, 1.0]);
    let expected = RecallAt { k: 2, indexer: 0.375, oracle: 0.75, window: 0.375, overlap: 0.5 };
    assert_eq!((found.at[0], found.zeros), (expected, 0.25));
    // An indexer whose scores are the logarithms of attention finds what there is to find.
    let perfect: Vec<f32> = attention.iter().map(|p: &f32| p.ln() + 5.0).collect();
    let found = one(&attention, &perfect, &[0.0; 3]);
    assert_eq!((found.at[0].indexer, found.at[0].oracle), (0.75, 0.75));
    // Its divergence is nothing, its entropy attention's: 1/2 ln 2 + 1/4 ln 4 + 2/8 ln 8.
    assert!(found.kl.abs() < 1e-6 && (found.entropy - 1.75 * 2.0_f64.ln()).abs() < 1e-6, "{found:?}");
    // Where attention lies on two tokens that the indexer finds, nothing is lost.
    assert_eq!(one(&[0.0, 0.75, 0.0, 0.25], &[0.0, 1.0, -1.0, 2.0], &[0.0; 3]).at[0].indexer, 1.0);
}

#[test]
fn selections_of_everything_hold_everything() {
    let (model, text) = (model(), text(N_TOKENS));
    let found = recall(&model, &[&text], &options(&[2, N_TOKENS, 1000], 100)).unwrap();
    assert_eq!((found.length, found.n_texts, found.layers.len()), (N_TOKENS, 1, 2));
    // Selections of two leave something out from position 2 on.
    assert_eq!(found.n_queries, N_TOKENS - 2);
    for layer in &found.layers {
        for at in &layer.at[1..] {
            assert_eq!((at.indexer, at.oracle, at.window), (1.0, 1.0, 1.0));
        }
        let RecallAt { indexer, oracle, window, overlap, .. } = layer.at[0];
        assert!(indexer > 0.0 && indexer < oracle && oracle < 0.99 && window > 0.0 && window < oracle, "{:?}", layer.at[0]);
        assert!((0.0..1.0).contains(&overlap));
    }
}

/// Attention and scores are those that training sees: the mean divergence over all tokens and layers is the loss of the warm-up.
#[test]
fn the_divergence_is_that_of_training() {
    let (model, text) = (model(), text(N_TOKENS));
    let found = recall(&model, &[&text], &options(&[1000], 1000)).unwrap();
    assert_eq!(found.n_queries, N_TOKENS - 1);
    let ids: Vec<i32> = text.iter().map(|&id| id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, N_TOKENS]), &model.device());
    let trained = model.forward_train(ids, IndexerTraining::DenseWarmup).indexer_kl.unwrap().into_scalar::<f32>();
    // The first token has one choice and no divergence.
    let mean = found.kl() * (N_TOKENS - 1) as f64 / N_TOKENS as f64;
    assert!((mean / f64::from(trained) - 1.0).abs() < 1e-4 && mean > 0.01, "{mean} {trained}");
}

#[test]
fn places_are_spread_over_where_something_is_left_out() {
    assert_eq!(queries(100, &options(&[10, 20], 4)), [30, 50, 70, 90]);
    // The largest selection that leaves something out decides.
    assert_eq!(queries(15, &options(&[10, 20], 100)), [10, 11, 12, 13, 14]);
    assert_eq!(queries(2, &options(&[10], 5)), [1]);
}

#[test]
fn a_text_of_one_token_and_a_model_without_indexer_give_nothing() {
    let found = recall(&model(), &[&[1]], &options(&[2], 4)).unwrap();
    assert_eq!((found.n_texts, found.n_queries, found.layers.len()), (0, 0, 0));
    assert_eq!(found.mean(2), None);
    let mut json = toy_config(50);
    json["model_type"] = "deepseek_v3".into();
    if let Some(keys) = json.as_object_mut() {
        keys.retain(|key, _| !key.starts_with("index_"));
    }
    let config = Config::from_json(&json).unwrap();
    let dense = Model::load(&config, &mut RandomWeights::new(&config, 0.5, 3), &Device::flex()).unwrap();
    assert_eq!(recall(&dense, &[&text(9)], &options(&[2], 4)).unwrap().layers, []);
}
