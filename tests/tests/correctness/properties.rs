//! Laws that hold for any weights (spec §11.3), on random tiny models on the CPU.

use std::convert::Infallible;

use burn::tensor::{DType, Tensor, TensorData};
use proptest::prelude::*;
use serde_json::json;
use sferic_model::{AttentionForm, AttentionMode, CacheFormat, Config, Model, Options, TensorSource, TensorSpec};
use sferic_ops::{attention::sparse_mqa, select::Selection};
use sferic_testkit::{
    device::cpu,
    model::{Run, Seeded, numbers, run, run_from, tiny_config, token_ids},
    tolerance::{Tol, assert_agree, values},
};

/// The longest sum in the tiny models has 32 terms, and a token passes about twenty sums in two layers; values stay below 16.
fn tol(dtype: DType) -> Tol {
    Tol::for_reduction(dtype, 20 * 32).with_magnitude(16.0)
}

const V: usize = 40;

fn f64_model(config: &Config, seed: u64) -> Model {
    Seeded { seed, dtype: DType::F64 }.model(config, &cpu())
}

/// Logits, hidden states and selections agree.
#[track_caller]
fn assert_same(what: &str, found: &Run, expected: &Run, tol: Tol) {
    assert_eq!(found.selected, expected.selected, "{what}: selections");
    for (layer_idx, (found, expected)) in found.hidden.iter().zip(&expected.hidden).enumerate() {
        assert_agree(&format!("{what}: output of layer {layer_idx}"), found, expected, tol);
    }
    assert_agree(&format!("{what}: logits"), &found.logits, &expected.logits, tol);
}

/// Splits of 20 tokens into chunks, the rest token by token.
fn chunks() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..9, 0..6)
}

/// Every combination of cache formats and the transform.
fn formats() -> impl Iterator<Item = Options> {
    let format = [CacheFormat::F32, CacheFormat::Fp8];
    [false, true].into_iter().flat_map(move |hadamard| {
        format.into_iter().flat_map(move |index_format| {
            format.map(|latent_format| Options { hadamard, index_format, latent_format, ..Options::default() })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn sparse_with_k_at_or_above_the_context_is_dense(seed in 0u64..1 << 32, spare in 0usize..3, chunks in chunks()) {
        let model = f64_model(&tiny_config(&[("index_topk", json!(20 + spare))]), seed);
        let ids = token_ids(seed, 20, V);
        let sparse = run(&model, &ids, &chunks, &Options::default());
        let mut dense = run(&model, &ids, &chunks, &Options { attention: AttentionMode::Dense, ..Options::default() });
        prop_assert!(dense.selected.is_empty());
        dense.selected = vec![(0..20).map(|t| (0..=t).collect()).collect(); 2];
        assert_same("sparse", &sparse, &dense, tol(DType::F64));
    }

    /// 1e-12 relative, as the spec asks.
    #[test]
    fn expanded_and_absorbed_forms_agree(seed in 0u64..1 << 32, k in 2usize..25, dense in any::<bool>(), chunks in chunks()) {
        let model = f64_model(&tiny_config(&[("index_topk", json!(k))]), seed);
        let ids = token_ids(seed, 20, V);
        let attention = if dense { AttentionMode::Dense } else { AttentionMode::Sparse };
        let of = |form| run(&model, &ids, &chunks, &Options { attention, form, ..Options::default() });
        let expanded = of(AttentionForm::Mha);
        let tol = Tol { abs: 1e-12, rel: 1e-12 };
        assert_same("absorbed", &of(AttentionForm::Mqa), &expanded, tol);
        assert_same("automatic", &of(AttentionForm::Auto), &expanded, tol);
    }

    #[test]
    fn any_chunking_is_one_prefill(seed in 0u64..1 << 32, chunks in chunks()) {
        let model = f64_model(&tiny_config(&[]), seed);
        let ids = token_ids(seed, 20, V);
        let expected = run(&model, &ids, &[20], &Options::default());
        assert_same(&format!("{chunks:?}"), &run(&model, &ids, &chunks, &Options::default()), &expected, tol(DType::F64));
    }

    #[test]
    fn future_tokens_do_not_matter(seed in 0u64..1 << 32, n in 1usize..20, dense in any::<bool>()) {
        let model = f64_model(&tiny_config(&[]), seed);
        let ids = token_ids(seed, 20, V);
        let attention = if dense { AttentionMode::Dense } else { AttentionMode::Sparse };
        let options = Options { attention, ..Options::default() };
        let whole = run(&model, &ids, &[20], &options);
        let part = run(&model, &ids[..n], &[n], &options);
        let cut = |rows: &[f64]| rows[..rows.len() / 20 * n].to_vec();
        let expected = Run {
            logits: cut(&whole.logits),
            hidden: whole.hidden.iter().map(|rows| cut(rows)).collect(),
            selected: whole.selected.iter().map(|rows| rows[..n].to_vec()).collect(),
        };
        assert_same("the prefix alone", &part, &expected, tol(DType::F64));
    }

    #[test]
    fn hadamard_on_both_sides_cancels(seed in 0u64..1 << 32, chunks in chunks()) {
        let model = f64_model(&tiny_config(&[]), seed);
        let ids = token_ids(seed, 20, V);
        let with = run(&model, &ids, &chunks, &Options { hadamard: true, ..Options::default() });
        assert_same("with the transform", &with, &run(&model, &ids, &chunks, &Options::default()), tol(DType::F64));
    }

    /// A cache cut back to a prefix continues as a fresh one does, whatever stood behind the cut.
    #[test]
    fn a_truncated_cache_forgets(seed in 0u64..1 << 32, kept in 0usize..12, dropped in 1usize..9) {
        let model = f64_model(&tiny_config(&[]), seed);
        let (ids, other) = (token_ids(seed, 20, V), token_ids(seed + 1, dropped, V));
        let options = Options::default();
        let mut cache = model.new_cache(40);
        run_from(&model, &mut cache, &ids[..kept], &[kept], &options);
        run_from(&model, &mut cache, &other, &[dropped], &options);
        cache.truncate(kept);
        prop_assert_eq!(cache.len(), kept);
        let continued = run_from(&model, &mut cache, &ids[kept..], &[5], &options);
        let mut fresh = model.new_cache(40);
        run_from(&model, &mut fresh, &ids[..kept], &[kept], &options);
        let expected = run_from(&model, &mut fresh, &ids[kept..], &[5], &options);
        assert_same("after the cut", &continued, &expected, tol(DType::F64));
    }

    /// Layers marked shared take the selection of the last full layer before them.
    #[test]
    fn shared_layers_reuse_the_selection(seed in 0u64..1 << 32, chunks in chunks()) {
        let types = json!(["full", "shared", "full", "shared", "shared"]);
        let changes = [("model_type", json!("glm_moe_dsa")), ("num_hidden_layers", json!(5)), ("indexer_types", types)];
        let config = tiny_config(&changes);
        prop_assert_eq!(config.tensors().iter().filter(|spec| spec.name.ends_with("indexer.wk.weight")).count(), 2);
        let found = run(&f64_model(&config, seed), &token_ids(seed, 20, V), &chunks, &Options::default()).selected;
        prop_assert_eq!(&found[1], &found[0]);
        prop_assert_eq!(&found[3], &found[2]);
        prop_assert_eq!(&found[4], &found[2]);
        // Two full layers choose differently, so that the equalities above say something.
        prop_assert_ne!(&found[2], &found[0]);
    }

    #[test]
    fn order_within_a_selection_does_not_matter(seed in 0u64..1 << 32, turn in 1usize..8) {
        let (heads, width, latent, s, k) = (2, 10, 8, 20, 8);
        let tensor = |seed, shape: [usize; 4]| {
            let n = shape.iter().product();
            Tensor::<4>::from_data(TensorData::new(numbers(seed, n, 1.0), shape), (&cpu(), DType::F64))
        };
        let (q, rows) = (tensor(seed, [1, 1, heads, width]), tensor(seed + 1, [1, 1, s, width]).reshape([1, s, width]));
        let attend = |slots: Vec<i32>| {
            let indices = Tensor::from_data(TensorData::new(slots, [1, 1, k]), &cpu());
            values(sparse_mqa(q.clone(), rows.clone(), &Selection { indices }, latent, 0.3))
        };
        let mut slots: Vec<i32> = vec![1, 3, 4, 9, 12, 17, 19, -1];
        let expected = attend(slots.clone());
        slots.rotate_left(turn);
        assert_agree("turned", &attend(slots.clone()), &expected, tol(DType::F64));
        slots.reverse();
        assert_agree("reversed", &attend(slots), &expected, tol(DType::F64));
    }

    /// Tokens whose keys score below the `k` best of every query leave later outputs alone.
    #[test]
    fn keys_below_the_threshold_change_nothing(seed in 0u64..1 << 32) {
        let (heads, width, latent, k) = (2, 10, 8, 5);
        let scores = numbers(seed, 12, 1.0);
        let low: Vec<f64> = numbers(seed + 1, 7, 1.0).iter().map(|v| v - 3.0).collect();
        let rows = numbers(seed + 2, 19 * width, 1.0);
        let q = numbers(seed + 3, heads * width, 1.0);
        let attend = |scores: Vec<f64>, rows: &[f64]| {
            let s = scores.len();
            let float = |values: Vec<f64>, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(values, shape), (&cpu(), DType::F64));
            let selection = Selection::top_k(float(scores, [1, 1, s]), s - 1, k);
            let q = float(q.clone(), [1, heads, width]).reshape([1, 1, heads, width]);
            values(sparse_mqa(q, float(rows.to_vec(), [1, s, width]), &selection, latent, 0.3))
        };
        let expected = attend(scores.clone(), &rows[..12 * width]);
        prop_assert_eq!(attend([scores, low].concat(), &rows), expected);
    }
}

/// Decode step `t` equals row `t` of prefill with identical cache formats, quantised ones included (spec §11.3).
#[test]
fn decode_equals_prefill_in_every_cache_format() {
    for options in formats() {
        for seed in 0..4 {
            let model = f64_model(&tiny_config(&[]), seed);
            let ids = token_ids(seed, 24, V);
            let prefill = run(&model, &ids, &[24], &options);
            for chunks in [&[][..], &[1], &[12], &[5, 7]] {
                let what = format!("seed {seed}, chunks {chunks:?} and then single tokens, {options:?}");
                assert_same(&what, &run(&model, &ids, chunks, &options), &prefill, tol(DType::F64));
            }
        }
    }
}

/// The formats do something, so that the test above says something.
#[test]
fn fp8_formats_change_the_numbers_and_not_by_much() {
    let model = f64_model(&tiny_config(&[("index_topk", json!(64))]), 1);
    let ids = token_ids(1, 24, V);
    let exact = run(&model, &ids, &[24], &Options::default());
    let rounded = run(&model, &ids, &[24], &Options { latent_format: CacheFormat::Fp8, ..Options::default() });
    let difference = exact.hidden[0].iter().zip(&rounded.hidden[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // Half a step of three mantissa bits is 1/16 of a value of order 1, and attention averages.
    assert!(difference > 1e-4 && difference < 0.5, "{difference}");
}

/// A single token takes the gathered path through the experts and a batch of tokens the path over all of them.
#[test]
fn gathered_experts_equal_all_experts() {
    for seed in 0..4 {
        // No attention between tokens: with one selected token and equal rows the feed-forward blocks alone differ in path.
        let model = f64_model(&tiny_config(&[("num_hidden_layers", json!(1)), ("first_k_dense_replace", json!(0))]), seed);
        let ids = token_ids(seed, 24, V);
        let together = run(&model, &ids, &[24], &Options::default());
        assert_same(&format!("seed {seed}"), &run(&model, &ids, &[], &Options::default()), &together, tol(DType::F64));
    }
}

/// f32 differs from f64 by rounding alone.
#[test]
fn single_precision_follows_double_precision() {
    for seed in 0..4 {
        let config = tiny_config(&[]);
        let ids = token_ids(seed, 20, V);
        let mut rounded = Rounded(Seeded { seed, dtype: DType::F32 });
        let expected = run(&load(&config, &mut rounded), &ids, &[20], &Options::default());
        let found = run(&load(&config, &mut rounded.0), &ids, &[20], &Options::default());
        assert_same(&format!("seed {seed}"), &found, &expected, tol(DType::F32));
    }
}

/// Weights of single precision in double precision.
struct Rounded(Seeded);

impl TensorSource for Rounded {
    type Error = Infallible;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, Infallible> {
        Ok(self.0.tensor(spec)?.convert_dtype(DType::F64))
    }
}

fn load(config: &Config, source: &mut impl TensorSource<Error = Infallible>) -> Model {
    match Model::load(config, source, &cpu()) {
        Ok(model) => model,
        Err(never) => match never {},
    }
}
