//! The numbers of spec §11.2, found by the model's own modules in f64 and by the composition of oracles.

use burn::tensor::{Device, Int, Tensor, TensorData};
use sferic_model::{
    AttentionForm, AttentionMode, CacheFormat, Config, IndexerTraining, Model, Options,
    rope::{RopeLayout, Rotation, inv_freq},
};
use sferic_ops::quant::ue8m0_scale;
use sferic_testkit::{
    device::cpu,
    model::{Run, run},
    tolerance::{Tol, assert_agree, values},
};

use crate::{
    composed::{self, Bug, Setup},
    tiny::{self, *},
};

/// Printed decimals.
const PRINT: Tol = Tol { abs: PRINTED, rel: 0.0 };
/// Sums of at most 33 terms of order 1, ten in a row, in f64.
const F64: Tol = Tol { abs: 1e-12, rel: 1e-12 };

const HADAMARD: Options = Options {
    attention: AttentionMode::Sparse,
    form: AttentionForm::Auto,
    hadamard: true,
    index_format: CacheFormat::F32,
    latent_format: CacheFormat::F32,
};

/// The first layer's parts of a loaded carrier and its input.
struct Parts {
    model: Model,
    x: Tensor<3>,
    rotation: Rotation,
}

impl Parts {
    fn new(config: &Config) -> Self {
        let device = cpu();
        let model = tiny::model(config, &device);
        let h = model.embed_tokens.forward(ids(&device));
        let x = model.layers[0].input_layernorm.forward(h);
        let rotation = Rotation::new(&inv_freq(THETA, ROPE, None), 0, T, 1.0, &device, x.dtype());
        Self { model, x, rotation }
    }

    fn qr(&self) -> Tensor<3> {
        let attention = &self.model.layers[0].self_attn;
        let latent = attention.q_a_proj.as_ref().unwrap().forward(self.x.clone());
        attention.q_a_layernorm.as_ref().unwrap().forward(latent)
    }

    fn index_keys(&self, options: &Options) -> Tensor<3> {
        let indexer = self.model.layers[0].self_attn.indexer.as_ref().unwrap();
        indexer.keys(self.x.clone(), &self.rotation, options)
    }

    /// Returns the scores `[T, T]`.
    fn scores(&self, options: &Options) -> Vec<f64> {
        let indexer = self.model.layers[0].self_attn.indexer.as_ref().unwrap();
        values(indexer.scores(self.x.clone(), self.qr(), self.index_keys(options), &self.rotation, options))
    }
}

fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(TOKENS.map(|id| id as i32).to_vec(), [1, T]), device)
}

/// Returns the attention's output from the layer's: the carrier adds its input, and its feed-forward block adds zero.
fn attention_output(run: &Run) -> Vec<f64> {
    let rows = run.hidden[0].chunks(CARRIER).zip(input().chunks(D).map(<[f64]>::to_vec).collect::<Vec<_>>());
    rows.flat_map(|(h, x)| h.iter().zip(x).map(|(h, x)| h - x).collect::<Vec<_>>()).collect()
}

#[track_caller]
fn assert_scores(found: &[f64]) {
    for (t, expected) in SCORES.iter().enumerate() {
        assert_agree(&format!("scores of row {t}"), &found[t * T..t * T + expected.len()], expected, PRINT);
    }
}

#[test]
fn inputs_and_weights_are_the_printed_ones() {
    let x = input();
    assert_agree("X[1]", &x[D..D + 3], &[0.783326910, 0.952090342, 0.998789743], PRINT);
    assert_agree("Wqa[2][3]", &[weight("q_a_proj.weight")[2 * D + 3]], &[-0.219994560], PRINT);
    let parts = Parts::new(&config());
    let rows: Vec<f64> = values(parts.x).chunks(CARRIER).flat_map(|row| row[..D].to_vec()).collect();
    assert_agree("the carrier's attention input", &rows, &x, F64);
}

#[test]
fn intermediates() {
    let parts = Parts::new(&config());
    let attention = &parts.model.layers[0].self_attn;
    let a = attention.kv_a_proj_with_mqa.forward(parts.x.clone());
    let c = values(attention.kv_a_layernorm.forward(a.clone().narrow(2, 0, C)));
    let kr = parts.rotation.apply(a.narrow(2, C, ROPE).reshape([1, T, 1, ROPE]), RopeLayout::Interleaved);
    let (qr, kr, keys) = (values(parts.qr()), values(kr), values(parts.index_keys(&HADAMARD)));
    let composed = composed::run(Setup::default());
    for (name, found, composed, width, expected) in [
        ("qr[1]", qr, composed.qr, Q_RANK, &QR[..]),
        ("c[1]", c, composed.c, C, &LATENT[..]),
        ("kr[1]", kr, composed.kr, ROPE, &KEY_ROPE[..]),
        ("kI[1]", keys, composed.index_keys, INDEX_DIM, &INDEX_KEY[..]),
    ] {
        assert_agree(name, &found[width..width + expected.len()], expected, PRINT);
        assert_agree(&format!("{name}, composed"), &composed, &found, F64);
    }
}

#[test]
fn index_scores_with_and_without_hadamard() {
    let parts = Parts::new(&config());
    assert_scores(&parts.scores(&HADAMARD));
    assert_scores(&parts.scores(&Options::default()));
    assert_scores(&composed::run(Setup::default()).scores);
}

#[test]
fn selected_sets() {
    let composed = composed::run(Setup::default()).slots;
    for (t, expected) in SELECTED.iter().enumerate() {
        let filled: Vec<i64> = composed[t].iter().copied().filter(|slot| *slot >= 0).collect();
        assert_eq!(filled, *expected, "composed, row {t}");
    }
    let model = tiny::model(&config(), &cpu());
    for chunks in [&[T][..], &[4, 2], &[1, 1, 1, 3], &[1], &[3]] {
        let run = run(&model, &TOKENS, chunks, &HADAMARD);
        assert_eq!(run.selected[0], SELECTED, "chunks {chunks:?}");
    }
}

/// The negative case of the spec: the indexer rotates interleaved pairs.
#[test]
fn wrong_index_rope_gives_the_printed_wrong_row() {
    let mut config = config();
    config.indexer.as_mut().unwrap().rope_layout = RopeLayout::Interleaved;
    let parts = Parts::new(&config);
    assert_agree("row 5", &parts.scores(&HADAMARD)[5 * T..], &WRONG_ROPE_ROW, PRINT);
    let selected = &run(&parts.model, &TOKENS, &[T], &HADAMARD).selected[0];
    assert_eq!(selected[3], [0, 1, 3]);
    assert_eq!(selected[5], [2, 3, 4]);
    let composed = composed::run(Setup { bug: Some(Bug::IndexRopeInterleaved), ..Setup::default() });
    assert_agree("row 5, composed", &composed.scores[5 * T..], &WRONG_ROPE_ROW, PRINT);
}

#[test]
fn fp8_index_row_scales_and_codes() {
    let options = Options { index_format: CacheFormat::Fp8, ..HADAMARD };
    let parts = Parts::new(&config());
    assert_agree("row 5", &parts.scores(&options)[5 * T..], &FP8_ROW, PRINT);
    assert_agree("row 5, composed", &composed::run(Setup { fp8: true, ..Setup::default() }).scores[5 * T..], &FP8_ROW, PRINT);
    let (plain, rounded) = (values(parts.index_keys(&HADAMARD)), values(parts.index_keys(&options)));
    for (t, exponent) in FP8_EXPONENTS.iter().enumerate() {
        let amax = plain[t * INDEX_DIM..(t + 1) * INDEX_DIM].iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        assert_eq!(ue8m0_scale(amax), 2f64.powi(*exponent), "scale of key {t}");
    }
    let codes: Vec<f64> = rounded[5 * INDEX_DIM..].iter().map(|v| v * 2f64.powi(7)).collect();
    assert_eq!(codes, FP8_KEY);
    assert_eq!(run(&parts.model, &TOKENS, &[T], &options).selected[0], SELECTED);
}

#[test]
fn layer_outputs_dense_and_sparse_in_every_form() {
    let model = tiny::model(&config(), &cpu());
    for (attention, row, sum) in [(AttentionMode::Dense, DENSE_ROW, DENSE_SUM), (AttentionMode::Sparse, SPARSE_ROW, SPARSE_SUM)] {
        let composed = composed::run(Setup { dense: attention == AttentionMode::Dense, ..Setup::default() });
        for form in [AttentionForm::Auto, AttentionForm::Mha, AttentionForm::Mqa] {
            for chunks in [&[T][..], &[4, 2], &[1], &[]] {
                let what = format!("{attention:?} {form:?} {chunks:?}");
                let run = run(&model, &TOKENS, chunks, &Options { attention, form, ..HADAMARD });
                let output = attention_output(&run);
                assert_agree(&what, &output[5 * D..5 * D + 4], &row, PRINT);
                assert_agree(&format!("{what}, sum"), &[output.iter().sum()], &[sum], PRINT);
                assert_agree(&format!("{what}, composed"), &composed.output, &output, F64);
            }
        }
    }
}

#[test]
fn target_and_kl() {
    let (dense, sparse) = (composed::run(Setup { dense: true, ..Setup::default() }), composed::run(Setup::default()));
    assert_agree("p_5", &dense.target[5], &TARGET_ROW, PRINT);
    assert_agree("KL, composed", &[dense.kl(), sparse.kl()], &[KL_DENSE, KL_SPARSE], PRINT);
    let device = cpu();
    let model = tiny::model(&config(), &device);
    for (stage, expected) in [(IndexerTraining::DenseWarmup, KL_DENSE), (IndexerTraining::Sparse, KL_SPARSE)] {
        let kl = model.forward_train(ids(&device), stage).indexer_kl.unwrap();
        assert_agree(&format!("KL, {stage:?}"), &values(kl), &[expected], PRINT);
    }
}

/// Gradients of the mean KL: parameter, row, column, dense, sparse (spec §11.2).
const GRADIENTS: [(&str, usize, usize, f64, f64); 8] = [
    ("weights_proj", 0, 0, 0.08923441, -0.01574654),
    ("weights_proj", 2, 5, 0.00903737, -0.00273758),
    ("wk", 0, 0, -0.02381991, -0.01678620),
    ("wk", 5, 7, -0.02709903, -0.01432350),
    ("wq_b", 3, 2, -0.00723013, -0.01006122),
    ("wq_b", 20, 9, -0.00005669, -0.00027699),
    ("k_norm.weight", 0, 1, -0.03123714, -0.03884217),
    ("k_norm.bias", 0, 3, 0.01042460, 0.00743972),
];

#[test]
fn kl_gradients_reach_the_indexer_and_nothing_else() {
    let device = cpu().autodiff();
    // Eight printed decimals, from central differences whose own error is of that order.
    assert_kl_gradients(&tiny::model(&config(), &device), &device, Tol { abs: 1.1e-8, rel: 0.0 });
}

/// Asserts the gradients of the mean KL in both stages, and that nothing but the indexer has any.
pub fn assert_kl_gradients(model: &Model, device: &Device, tol: Tol) {
    let indexer = model.layers[0].self_attn.indexer.as_ref().unwrap();
    for stage in [IndexerTraining::DenseWarmup, IndexerTraining::Sparse] {
        let grads = model.forward_train(ids(device), stage).indexer_kl.unwrap().backward();
        let matrix = |weight: &Tensor<2>| (values(weight.grad(&grads).unwrap()), weight.dims()[1]);
        let vector = |weight: &Tensor<1>| (values(weight.grad(&grads).unwrap()), 0);
        for (name, row, column, dense, sparse) in GRADIENTS {
            let (grad, width) = match name {
                "weights_proj" => matrix(&indexer.weights_proj.weight.val()),
                "wk" => matrix(&indexer.wk.weight.val()),
                "wq_b" => matrix(&indexer.wq_b.weight.val()),
                "k_norm.weight" => vector(&indexer.k_norm.weight.val()),
                _ => vector(&indexer.k_norm.bias.val()),
            };
            let expected = if stage == IndexerTraining::Sparse { sparse } else { dense };
            assert_agree(&format!("{stage:?} {name}[{row}][{column}]"), &[grad[row * width + column]], &[expected], tol);
        }
        let attention = &model.layers[0].self_attn;
        assert!(attention.kv_b_proj.weight.val().grad(&grads).is_none(), "{stage:?}: the KL reaches the main attention");
        let q_a = &attention.q_a_proj.as_ref().unwrap().weight;
        assert!(q_a.val().grad(&grads).is_none(), "{stage:?}: the KL reaches the query latent");
    }
}
