//! The sampler against formulas written out in f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn sampler(params: SamplingParams, vocab_size: usize) -> Sampler {
    Sampler::new(params, vocab_size, &[], 0).unwrap()
}

/// Softmax in the plainest form.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / total).collect()
}

/// The distribution that `params` mean, by a full sort and no cleverness.
fn oracle(logits: &[f32], params: &SamplingParams, prompt: &[u32], reply: &[u32]) -> Vec<f64> {
    let mut adjusted: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    for (token, logit) in adjusted.iter_mut().enumerate() {
        let in_reply = reply.iter().filter(|&&other| other as usize == token).count();
        let r = f64::from(params.repetition_penalty);
        if in_reply > 0 || prompt.contains(&(token as u32)) {
            *logit = if *logit > 0.0 { *logit / r } else { *logit * r };
        }
        if in_reply > 0 {
            *logit -= f64::from(params.presence_penalty) + f64::from(params.frequency_penalty) * in_reply as f64;
        }
        *logit += f64::from(params.logit_bias.get(&(token as u32)).copied().unwrap_or(0.0));
        *logit /= f64::from(params.temperature);
    }
    let mut order: Vec<usize> = (0..adjusted.len()).collect();
    order.sort_by(|&a, &b| adjusted[b].partial_cmp(&adjusted[a]).unwrap().then(a.cmp(&b)));
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    let head: Vec<f64> = order.iter().map(|&token| adjusted[token]).collect();
    let probabilities = softmax(&head);
    let mut n_kept = 0;
    let mut mass = 0.0;
    for probability in &probabilities {
        n_kept += 1;
        mass += probability;
        if mass >= f64::from(params.top_p) && params.top_p < 1.0 {
            break;
        }
    }
    let mut result = vec![0.0; logits.len()];
    for (&token, probability) in order[..n_kept].iter().zip(&probabilities) {
        if *probability >= f64::from(params.min_p) * probabilities[0] {
            result[token] = *probability;
        }
    }
    let total: f64 = result.iter().sum();
    result.iter().map(|probability| probability / total).collect()
}

/// The distribution that the sampler draws from.
fn distribution(sampler: &Sampler, logits: &[f32]) -> Vec<f64> {
    let survivors = sampler.survivors(sampler.adjusted(logits));
    let probabilities = softmax(&survivors.iter().map(|candidate| candidate.logit).collect::<Vec<_>>());
    let mut result = vec![0.0; logits.len()];
    for (candidate, probability) in survivors.iter().zip(probabilities) {
        result[candidate.token_id as usize] = probability;
    }
    result
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (token, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-12, "token {token}: expected {expected}, found {found}");
    }
}

fn distinct_logits() -> impl Strategy<Value = Vec<f32>> {
    // Two equal logits may fall on either side of a cut by rounding of the mass, so the ties have their own tests.
    proptest::collection::btree_set(-4000i32..4000, 2..700)
        .prop_map(|values| values.into_iter().map(|value| value as f32 / 400.0).collect::<Vec<f32>>())
        .prop_shuffle()
}

fn params() -> impl Strategy<Value = SamplingParams> {
    let filters = (0usize..50, 0.05f32..=1.0, 0.0f32..0.5, 0.2f32..3.0);
    let penalties = (0.5f32..2.0, -2.0f32..2.0, -2.0f32..2.0);
    (filters, penalties).prop_map(
        |((top_k, top_p, min_p, temperature), (repetition_penalty, presence_penalty, frequency_penalty))| {
            let logit_bias = BTreeMap::from([(0, 1.5), (1, -2.5)]);
            let base = SamplingParams { top_k, top_p, min_p, temperature, logit_bias, ..SamplingParams::default() };
            SamplingParams { repetition_penalty, presence_penalty, frequency_penalty, ..base }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_distribution_is_the_oracles(logits in distinct_logits(), params in params(), history in proptest::collection::vec(0u32..6, 0..12)) {
        let vocab_size = logits.len();
        let known: Vec<u32> = history.into_iter().filter(|&token| (token as usize) < vocab_size).collect();
        let (prompt, reply) = known.split_at(known.len() / 2);
        let mut sampler = Sampler::new(params.clone(), vocab_size, prompt, 7).unwrap();
        for &token in reply {
            *sampler.generated.entry(token).or_insert(0) += 1;
            sampler.seen.insert(token);
        }
        if params.repetition_penalty == 1.0 { sampler.seen.clear(); }
        assert_close(&distribution(&sampler, &logits), &oracle(&logits, &params, prompt, reply));
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_the_mass(logits in distinct_logits(), top_p in 0.01f32..0.999) {
        let sampler = sampler(SamplingParams { top_p, ..SamplingParams::default() }, logits.len());
        let all = softmax(&logits.iter().map(|&logit| f64::from(logit)).collect::<Vec<_>>());
        let kept: Vec<f64> = sampler.survivors(sampler.adjusted(&logits)).iter().map(|c| all[c.token_id as usize]).collect();
        let mass: f64 = kept.iter().sum();
        let least = kept.iter().copied().fold(f64::INFINITY, f64::min);
        prop_assert!(mass >= f64::from(top_p) - 1e-12);
        prop_assert!(mass - least < f64::from(top_p) + 1e-12, "the least likely kept token is not needed");
        let n_more_likely = all.iter().filter(|&&probability| probability > least).count();
        prop_assert_eq!(kept.len(), n_more_likely + 1, "a token was left out that is more likely than one that was kept");
    }

    #[test]
    fn min_p_keeps_exactly_the_tokens_above_its_share(logits in distinct_logits(), min_p in 0.001f32..1.0) {
        let sampler = sampler(SamplingParams { min_p, ..SamplingParams::default() }, logits.len());
        let all = softmax(&logits.iter().map(|&logit| f64::from(logit)).collect::<Vec<_>>());
        let largest = all.iter().copied().fold(0.0, f64::max);
        for (token, probability) in all.iter().enumerate() {
            let share = probability / largest;
            let kept = sampler.survivors(sampler.adjusted(&logits)).iter().any(|c| c.token_id as usize == token);
            prop_assert!((share - f64::from(min_p)).abs() < 1e-9 || kept == (share >= f64::from(min_p)), "token {}", token);
        }
    }

    #[test]
    fn top_k_keeps_k_and_prefers_low_ids_among_equals(values in proptest::collection::vec(0u8..4, 1..200), top_k in 1usize..60) {
        let logits: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
        let sampler = sampler(SamplingParams { top_k, ..SamplingParams::default() }, logits.len());
        let kept: Vec<u32> = sampler.survivors(sampler.adjusted(&logits)).iter().map(|c| c.token_id).collect();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| values[b as usize].cmp(&values[a as usize]).then(a.cmp(&b)));
        order.truncate(top_k);
        order.sort_unstable();
        prop_assert_eq!(kept, order);
    }

    #[test]
    fn nothing_panics(values in proptest::collection::vec(prop_oneof![any::<f32>(), Just(f32::NAN), Just(f32::NEG_INFINITY)], 0..40), params in params(), greedy_run in any::<bool>()) {
        let params = if greedy_run { SamplingParams { temperature: 0.0, ..params } } else { params };
        let Ok(mut sampler) = Sampler::new(params, values.len(), &[0, 5, 4_000_000_000], 3) else { return Ok(()) };
        for _ in 0..3 {
            if let Ok(sampled) = sampler.sample(&values) {
                prop_assert!(values[sampled.token_id as usize].is_finite());
            }
        }
    }
}

#[test]
fn temperature_zero_takes_the_lowest_id_among_equals() {
    let mut sampler = sampler(SamplingParams::greedy(), 5);
    assert_eq!(sampler.sample(&[0.0, 3.0, -1.0, 3.0, 2.0]).unwrap().token_id, 1);
    assert_eq!(greedy(&[0.0, 3.0, -1.0, 3.0, 2.0]).unwrap(), 1);
    assert_eq!(greedy(&[-0.0, 0.0]).unwrap(), 0, "the zeros are equal");
}

#[test]
fn temperature_zero_sees_penalties_and_bias() {
    let params = SamplingParams { logit_bias: BTreeMap::from([(2, 5.0)]), presence_penalty: 10.0, ..SamplingParams::greedy() };
    let mut sampler = sampler(params, 3);
    let logits = [1.0, 0.0, 0.0];
    let drawn: Vec<u32> = (0..3).map(|_| sampler.sample(&logits).unwrap().token_id).collect();
    assert_eq!(drawn, [2, 0, 1]);
}

#[test]
fn the_repetition_penalty_covers_the_prompt_and_the_presence_penalty_does_not() {
    let logits = [2.0, 1.5, 1.0];
    let repetition = SamplingParams { repetition_penalty: 2.0, ..SamplingParams::greedy() };
    assert_eq!(Sampler::new(repetition, 3, &[0], 0).unwrap().sample(&logits).unwrap().token_id, 1);
    let presence = SamplingParams { presence_penalty: 2.0, ..SamplingParams::greedy() };
    assert_eq!(Sampler::new(presence, 3, &[0], 0).unwrap().sample(&logits).unwrap().token_id, 0);
}

#[test]
fn the_frequency_penalty_counts() {
    let params = SamplingParams { frequency_penalty: 1.0, ..SamplingParams::greedy() };
    let mut sampler = sampler(params, 2);
    let drawn: Vec<u32> = (0..6).map(|_| sampler.sample(&[2.5, 0.0]).unwrap().token_id).collect();
    assert_eq!(drawn, [0, 0, 0, 1, 0, 1]);
}

#[test]
fn log_probabilities_are_the_models_own() {
    let params = SamplingParams {
        temperature: 3.0,
        top_k: 1,
        logit_bias: BTreeMap::from([(3, 100.0)]),
        top_logprobs: 3,
        ..SamplingParams::default()
    };
    let logits = [1.0f32, 2.0, 2.0, -1.0];
    let sampled = sampler(params, 4).sample(&logits).unwrap();
    let expected: Vec<f64> = softmax(&logits.map(f64::from)).iter().map(|probability| probability.ln()).collect();
    assert_eq!(sampled.token_id, 3, "the bias decides the draw");
    assert!((f64::from(sampled.logprob) - expected[3]).abs() < 1e-6, "and not the log-probability: {}", sampled.logprob);
    let top: Vec<u32> = sampled.top_logprobs.iter().map(|top| top.token_id).collect();
    assert_eq!(top, [1, 2, 0]);
    for top in sampled.top_logprobs {
        assert!((f64::from(top.logprob) - expected[top.token_id as usize]).abs() < 1e-6);
    }
}

/// What a token was drawn from is the oracle's distribution: the log-probability in it, and its support.
#[test]
fn draws_are_recorded_with_their_distribution() {
    let logits = [0.0f32, 0.5, 1.0, 1.5, -0.5, -1.0, 2.0, 0.25];
    for (params, n_kept) in [
        (SamplingParams::default(), 0),
        (SamplingParams { temperature: 0.7, presence_penalty: 0.5, ..SamplingParams::default() }, 0),
        (SamplingParams { top_k: 3, temperature: 0.5, ..SamplingParams::default() }, 3),
        (SamplingParams { top_p: 0.6, temperature: 1.3, ..SamplingParams::default() }, 3),
        (SamplingParams::greedy(), 1),
    ] {
        let mut sampler = sampler(SamplingParams { record_draws: true, seed: Some(5), ..params.clone() }, 8);
        let mut reply = Vec::new();
        for _ in 0..20 {
            let Sampled { token_id, drawn_from, .. } = sampler.sample(&logits).unwrap();
            let DrawnFrom { logprob, kept } = drawn_from.unwrap();
            assert_eq!(kept.len(), n_kept, "{params:?}");
            if params.temperature > 0.0 {
                let expected = oracle(&logits, &params, &[], &reply);
                assert!((f64::from(logprob) - expected[token_id as usize].ln()).abs() < 1e-6, "{params:?}: {logprob}");
                let support: Vec<u32> = (0..8).filter(|&token| expected[token as usize] > 0.0).collect();
                assert!(kept.is_empty() || kept == support, "{params:?}: {kept:?}, {support:?}");
            } else {
                assert_eq!((logprob, kept), (0.0, vec![token_id]));
            }
            reply.push(token_id);
        }
    }
    assert_eq!(sampler(SamplingParams::default(), 8).sample(&logits).unwrap().drawn_from, None);
}

#[test]
fn unused_tokens_are_never_drawn() {
    for params in [SamplingParams::greedy(), SamplingParams::default()] {
        let mut sampler = sampler(params, 4).without(&[1, 3, 99]);
        for _ in 0..50 {
            let drawn = sampler.sample(&[0.0, 50.0, 0.5, 50.0]).unwrap().token_id;
            assert!(drawn == 0 || drawn == 2, "{drawn}");
        }
    }
}

/// Pearson's chi-square of 20 000 draws with a fixed seed. The bound is the 99.9 % point of the distribution with 7 degrees of freedom.
#[test]
fn draws_follow_the_distribution() {
    const N_DRAWS: usize = 20_000;
    const BOUND: f64 = 24.32;
    let logits = [0.0f32, 0.5, 1.0, 1.5, -0.5, -1.0, 2.0, 0.25];
    let params = SamplingParams { temperature: 0.8, seed: Some(2026), ..SamplingParams::default() };
    let expected = oracle(&logits, &params, &[], &[]);
    let mut sampler = sampler(params, logits.len());
    let mut counts = [0usize; 8];
    for _ in 0..N_DRAWS {
        counts[sampler.sample(&logits).unwrap().token_id as usize] += 1;
    }
    let chi_square: f64 = counts
        .iter()
        .zip(&expected)
        .map(|(&count, probability)| (count as f64 - probability * N_DRAWS as f64).powi(2) / (probability * N_DRAWS as f64))
        .sum();
    assert!(chi_square < BOUND, "chi-square {chi_square} of counts {counts:?}");
}

/// 16 bins of 64 000 draws each over four neighbouring seeds; 99.9 % point for 15 degrees of freedom.
#[test]
fn the_generator_is_uniform_and_neighbouring_seeds_are_unrelated() {
    const N_DRAWS: u64 = 64_000;
    for seed in 0..4 {
        let mut counts = [0u64; 16];
        let mut product = 0.0;
        for n in 0..N_DRAWS {
            let position = uniform(seed, n);
            assert!((0.0..1.0).contains(&position));
            counts[(position * 16.0) as usize] += 1;
            product += (position - 0.5) * (uniform(seed + 1, n) - 0.5);
        }
        let expected = N_DRAWS as f64 / 16.0;
        let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
        assert!(chi_square < 37.70, "seed {seed}: {chi_square}");
        // The mean of products of independent draws has a standard deviation of 1 / (12 √n).
        let correlation = product / N_DRAWS as f64 * 12.0 * (N_DRAWS as f64).sqrt();
        assert!(correlation.abs() < 4.0, "seeds {seed} and {}: {correlation} standard deviations", seed + 1);
    }
}

#[test]
fn a_seed_repeats_its_draws() {
    let logits: Vec<f32> = (0..100).map(|token| (token as f32 * 0.37).sin()).collect();
    let run = |seed| {
        let mut sampler = sampler(SamplingParams { seed: Some(seed), ..SamplingParams::default() }, 100);
        (0..32).map(|_| sampler.sample(&logits).unwrap().token_id).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// The stream is part of the interface: seeds in reports must mean the same in every version.
#[test]
fn the_stream_of_a_seed_is_fixed() {
    let draws: Vec<u64> = (0..3).map(|n| (uniform(42, n) * (1u64 << 53) as f64) as u64).collect();
    assert_eq!(draws, FIXED_STREAM);
}
/// Computed with arbitrary-precision integers in another language.
const FIXED_STREAM: [u64; 3] = [3_092_098_744_885_774, 8_608_601_199_334_984, 4_380_647_180_739_872];

#[test]
fn a_filter_that_removes_nothing_changes_no_draw() {
    let logits: Vec<f32> = (0..50).map(|token| (token as f32 * 0.61).cos()).collect();
    let run = |params: SamplingParams| {
        let mut sampler = sampler(SamplingParams { seed: Some(9), ..params }, 50);
        (0..64).map(|_| sampler.sample(&logits).unwrap().token_id).collect::<Vec<_>>()
    };
    let plain = run(SamplingParams::default());
    assert_eq!(run(SamplingParams { top_k: 50, ..SamplingParams::default() }), plain);
    assert_eq!(run(SamplingParams { min_p: 1e-9, ..SamplingParams::default() }), plain);
}

#[test]
fn bad_logits_are_an_error_and_leave_the_sampler_usable() {
    let mut sampler = sampler(SamplingParams { seed: Some(1), ..SamplingParams::default() }, 3);
    let before = sampler.clone();
    let error = sampler.sample(&[0.0, f32::NAN, f32::INFINITY]).unwrap_err();
    assert!(matches!(error, EngineError::BadLogits { n_bad: 2, n_logits: 3, first_token_id: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("NaN"), "{error}");
    assert!(matches!(sampler.sample(&[f32::NEG_INFINITY; 3]), Err(EngineError::BadLogits { n_bad: 3, .. })));
    assert!(matches!(sampler.sample(&[]), Err(EngineError::BadLogits { .. })));
    assert_eq!(sampler.n_draws, before.n_draws);
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY]).unwrap().token_id, 1);
}

#[test]
fn a_bias_that_bans_every_token_is_an_error() {
    let logit_bias = (0..3).map(|token| (token, f32::NEG_INFINITY)).collect();
    for temperature in [0.0, 1.0] {
        let params = SamplingParams { logit_bias: BTreeMap::clone(&logit_bias), temperature, ..SamplingParams::default() };
        assert!(matches!(sampler(params, 3).sample(&[0.0; 3]), Err(EngineError::BadLogits { .. })));
    }
}

#[test]
fn parameters_out_of_range_are_named() {
    let default = SamplingParams::default;
    let bias = |token, value| SamplingParams { logit_bias: BTreeMap::from([(token, value)]), ..default() };
    let cases = [
        (SamplingParams { temperature: -0.1, ..default() }, "temperature", "-0.1"),
        (SamplingParams { temperature: f32::NAN, ..default() }, "temperature", "NaN"),
        (SamplingParams { temperature: f32::INFINITY, ..default() }, "temperature", "inf"),
        (SamplingParams { top_p: 0.0, ..default() }, "top_p", "0"),
        (SamplingParams { top_p: 1.01, ..default() }, "top_p", "1.01"),
        (SamplingParams { min_p: -0.5, ..default() }, "min_p", "-0.5"),
        (SamplingParams { min_p: 1.5, ..default() }, "min_p", "1.5"),
        (SamplingParams { repetition_penalty: 0.0, ..default() }, "repetition_penalty", "0"),
        (SamplingParams { presence_penalty: 101.0, ..default() }, "presence_penalty", "101"),
        (SamplingParams { frequency_penalty: f32::NAN, ..default() }, "frequency_penalty", "NaN"),
        (bias(10, 1.0), "logit_bias", "token id 10"),
        (bias(9, f32::NAN), "logit_bias", "NaN"),
        (bias(9, f32::INFINITY), "logit_bias", "inf"),
        (SamplingParams { max_tokens: Some(0), ..default() }, "max_tokens", "0"),
        (SamplingParams { stop: vec!["a".into(), String::new()], ..default() }, "stop", "position 1"),
        (SamplingParams { top_logprobs: 11, ..default() }, "top_logprobs", "11"),
    ];
    for (params, field, found) in cases {
        let error = params.validate(10).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, EngineError::InvalidSampling { field: named, .. } if named == field), "{field}: {message}");
        assert!(message.contains(field) && message.contains(found) && message.contains("allowed"), "{message}");
    }
    assert!(default().validate(10).is_ok());
    assert!(SamplingParams::greedy().validate(10).is_ok());
    assert!(bias(9, f32::NEG_INFINITY).validate(10).is_ok());
}
