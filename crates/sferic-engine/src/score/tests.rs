#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::testing::{VOCAB_SIZE, config, config_json, engine, options, prompt, try_engine, weights};
use pollster::block_on;

fn predict(engine: &Engine, window: usize) -> Prediction {
    block_on(engine.predict(&prompt(50), window, &mut |_| ())).unwrap()
}

/// Two tokens with the probabilities 3/4 and 1/4 against 1/2 and 1/2; the text goes on with the second.
#[test]
fn two_rows_by_hand() {
    let mut sums = Sums { min_cosine: 1.0, ..Sums::default() };
    let (expected, found) = ([3.0_f32.ln(), 0.0], [0.0, 1e-6]);
    sums.add(&expected, &found, Some(1)).unwrap();
    sums.add(&expected, &expected, None).unwrap();
    let comparison = sums.comparison();
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    assert_eq!((comparison.n_positions, comparison.n_predicted), (2, 1));
    near(comparison.max_kl, 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln());
    near(comparison.mean_kl, comparison.max_kl / 2.0);
    near(comparison.reference_perplexity, 4.0);
    near(comparison.perplexity, 2.0);
    near(comparison.top1_agreement, 0.5);
    near(comparison.max_logit_error, 3.0_f64.ln());
    near(comparison.mean_logit_error, 3.0_f64.ln() / 4.0);
    near(comparison.min_cosine, 0.0);
    near(comparison.mean_cosine, 0.5);
}

#[test]
fn a_model_agrees_with_itself() {
    let engine = engine();
    let reference = predict(&engine, 16);
    assert_eq!((reference.n_positions(), reference.vocab_size()), (50, VOCAB_SIZE as usize));
    let mut heard = Vec::new();
    let comparison = block_on(engine.compare(&reference, &mut |n_read| heard.push(n_read))).unwrap();
    assert_eq!(heard, [16, 32, 48, 50]);
    assert_eq!((comparison.n_positions, comparison.n_predicted), (50, 46));
    assert_eq!((comparison.max_logit_error, comparison.max_kl, comparison.top1_agreement), (0.0, 0.0, 1.0));
    assert_eq!(comparison.perplexity, comparison.reference_perplexity);
    // Random weights know nothing, so that the perplexity is near the number of tokens.
    assert!((100.0..700.0).contains(&comparison.perplexity), "{comparison:?}");
}

/// A window begins anew: its logits are those of a prompt of its own.
#[test]
fn windows_do_not_see_one_another() {
    let engine = engine();
    let reference = predict(&engine, 20);
    let alone = block_on(engine.predict(&prompt(50)[20..40], 20, &mut |_| ())).unwrap();
    assert_eq!(reference.windows[1], alone.windows[0]);
}

/// The likelihoods are those of the logits that a trace shows, whatever attention the engine was opened with.
#[test]
fn likelihoods_are_those_of_the_logits() {
    use crate::{EngineOptions, ModelOptions};
    use sferic_model::AttentionMode;
    let model = ModelOptions { attention: AttentionMode::Dense, ..ModelOptions::default() };
    // Chunks of 7 do not divide the text.
    let dense = crate::testing::engine_with(EngineOptions { model, prefill_chunk: Some(7), ..options() });
    let ids = prompt(50);
    let mut sums = Vec::new();
    for engine in [engine(), dense] {
        let nll = block_on(engine.token_nll(&ids)).unwrap();
        let logits = block_on(engine.predict(&ids, 50, &mut |_| ())).unwrap();
        let rows: Vec<&[f32]> = logits.windows[0].logits.rows().collect();
        assert_eq!(nll.len(), 49);
        for (position, nll) in nll.iter().enumerate() {
            let total: f64 = rows[position].iter().map(|&logit| f64::from(logit).exp()).sum();
            let expected = total.ln() - f64::from(rows[position][ids[position + 1] as usize]);
            // Chunks change the order of f32 sums.
            assert!((nll - expected).abs() < 1e-4, "{position}: {nll} {expected}");
        }
        sums.push(nll.iter().sum::<f64>());
    }
    assert!((sums[0] - sums[1]).abs() > 1e-3, "{sums:?}");
    assert!(matches!(block_on(engine().token_nll(&[])).unwrap_err(), EngineError::EmptyPrompt));
    assert_eq!(block_on(engine().token_nll(&ids[..1])).unwrap(), [] as [f64; 0]);
}

#[test]
fn a_changed_weight_shows_in_every_figure() {
    let changed = weights(&config(), |name, values| {
        if name == "model.layers.1.self_attn.o_proj.weight" {
            values.iter_mut().for_each(|value| *value *= 1.5);
        }
    });
    let other = try_engine(&config_json(), changed, true, options()).unwrap();
    let comparison = block_on(other.compare(&predict(&engine(), 25), &mut |_| ())).unwrap();
    assert!(comparison.mean_logit_error > 0.0 && comparison.max_logit_error > comparison.mean_logit_error, "{comparison:?}");
    assert!(comparison.mean_kl > 0.0 && comparison.max_kl >= comparison.mean_kl, "{comparison:?}");
    assert!(comparison.mean_cosine < 1.0 && comparison.min_cosine <= comparison.mean_cosine, "{comparison:?}");
    assert!(comparison.perplexity != comparison.reference_perplexity && comparison.top1_agreement < 1.0, "{comparison:?}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let engine = engine();
    let error = block_on(engine.predict(&[], 16, &mut |_| ())).unwrap_err();
    assert!(matches!(error, EngineError::EmptyPrompt), "{error}");
    let mut reference = predict(&engine, 50);
    reference.windows[0].logits.n_cols -= 1;
    let error = block_on(engine.compare(&reference, &mut |_| ())).unwrap_err();
    assert!(matches!(&error, EngineError::Reference { expected, .. } if expected.contains("260")), "{error}");
    let bad = weights(&config(), |name, values| {
        if name == "model.norm.weight" {
            values[0] = f32::NAN;
        }
    });
    let bad = try_engine(&config_json(), bad, true, options()).unwrap();
    let error = block_on(bad.compare(&predict(&engine, 50), &mut |_| ())).unwrap_err();
    assert!(matches!(error, EngineError::BadLogits { .. }), "{error}");
}
