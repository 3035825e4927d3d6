//! The layer of spec §11.2: float64, no quantisation, no YaRN.

use std::convert::Infallible;

use burn::tensor::{Device, TensorData};
use serde_json::json;
use sferic_model::{Config, Model, TensorSource, TensorSpec};

pub const T: usize = 6;
pub const D: usize = 32;
pub const HEADS: usize = 2;
pub const Q_RANK: usize = 16;
pub const C: usize = 16;
pub const NOPE: usize = 8;
pub const ROPE: usize = 4;
pub const VALUE: usize = 8;
pub const INDEX_HEADS: usize = 4;
pub const INDEX_DIM: usize = 8;
pub const K: usize = 3;
pub const THETA: f64 = 1e4;
pub const EPS: f64 = 1e-6;

/// The spec prints nine decimals.
pub const PRINTED: f64 = 6e-10;

/// Rows of index scores, `I[t][0..=t]`.
pub const SCORES: [&[f64]; T] = [
    &[-0.706023790],
    &[-0.009223474, -0.086858170],
    &[-0.216867489, 0.343939822, 0.067439278],
    &[-0.081146578, -0.027455170, -0.047613340, -0.040708642],
    &[-0.219018349, 0.125275194, 0.933961575, -0.094423251, 1.540840449],
    &[-0.269915534, -0.005747326, 0.029168147, -0.049332105, 0.085717163, -0.238869891],
];
/// The sets `S_t`.
pub const SELECTED: [&[i64]; T] = [&[0], &[0, 1], &[0, 1, 2], &[1, 2, 3], &[1, 2, 4], &[1, 2, 4]];
/// `qr[1][0..4]`
pub const QR: [f64; 4] = [1.416657431, 1.327356110, -0.548270621, -1.450413463];
/// `c[1][0..4]`
pub const LATENT: [f64; 4] = [0.938082590, 0.712063398, -0.778221828, -1.434134967];
/// `kr[1]`
pub const KEY_ROPE: [f64; 4] = [0.110922355, -0.046024948, -0.075930199, 0.054987877];
/// `kI[1]` after the Hadamard transform.
pub const INDEX_KEY: [f64; 8] =
    [0.331617405, 0.907888067, 0.900299117, -0.177462434, -1.371003111, 0.119522875, -0.847693420, 1.721685999];
/// Row 5 of the scores with FP8 queries and keys.
pub const FP8_ROW: [f64; 6] = [-0.267111999, -0.003234101, 0.033399857, -0.048800885, 0.088065455, -0.245274761];
/// Exponents of the FP8 keys' scales.
pub const FP8_EXPONENTS: [i32; T] = [-7, -8, -8, -7, -7, -7];
/// `k8[5]`
pub const FP8_KEY: [f64; 8] = [112.0, 36.0, -256.0, 144.0, 160.0, 96.0, -1.625, -40.0];
/// Row 5 of the scores with the indexer's rotation in the wrong layout.
pub const WRONG_ROPE_ROW: [f64; 6] = [-0.238838119, -0.040190183, 0.067737591, 0.105172563, 0.019451373, -0.238869891];
/// First values of row 5 of the layer's output, and the sum of all rows.
pub const DENSE_ROW: [f64; 4] = [-0.250169624, -0.284554538, 0.724338574, 0.297587092];
pub const DENSE_SUM: f64 = 1.2121602545;
pub const SPARSE_ROW: [f64; 4] = [-0.012407443, 0.605683835, -0.656099316, -0.480855255];
pub const SPARSE_SUM: f64 = 0.5848768029;
/// The dense target `p_5`.
pub const TARGET_ROW: [f64; 6] = [0.158484689, 0.077271572, 0.066038066, 0.097036900, 0.063842236, 0.537326537];
pub const KL_DENSE: f64 = 0.1706160531;
pub const KL_SPARSE: f64 = 0.1077845702;

/// Returns `W(seed, a)`: `a · sin(1.3 i + 0.7 j + 0.11 i j + seed)`.
fn wave(seed: f64, a: f64, rows: usize, cols: usize) -> Vec<f64> {
    let value = |i: f64, j: f64| a * (1.3 * i + 0.7 * j + 0.11 * i * j + seed).sin();
    (0..rows * cols).map(|n| value((n / cols) as f64, (n % cols) as f64)).collect()
}

/// Returns the layer's parameter of a checkpoint name without its prefix, in the spec's sizes.
pub fn weight(leaf: &str) -> Vec<f64> {
    let vector = |n: usize, f: fn(f64) -> f64| (0..n).map(|i| f(i as f64)).collect();
    match leaf {
        "q_a_proj.weight" => wave(0.1, 0.3, Q_RANK, D),
        "q_b_proj.weight" => wave(0.2, 0.4, HEADS * (NOPE + ROPE), Q_RANK),
        "kv_a_proj_with_mqa.weight" => wave(0.3, 0.3, C + ROPE, D),
        "kv_b_proj.weight" => wave(0.4, 0.4, HEADS * (NOPE + VALUE), C),
        "o_proj.weight" => wave(0.5, 0.3, D, HEADS * VALUE),
        "indexer.wq_b.weight" => wave(0.6, 0.4, INDEX_HEADS * INDEX_DIM, Q_RANK),
        "indexer.wk.weight" => wave(0.7, 0.3, INDEX_DIM, D),
        "indexer.weights_proj.weight" => wave(0.8, 0.3, INDEX_HEADS, D),
        "q_a_layernorm.weight" => vector(Q_RANK, |i| 1.0 + 0.1 * i.cos()),
        "kv_a_layernorm.weight" => vector(C, |i| 1.0 + 0.1 * i.sin()),
        "indexer.k_norm.weight" => vector(INDEX_DIM, |i| 1.0 + 0.1 * (2.0 * i).cos()),
        "indexer.k_norm.bias" => vector(INDEX_DIM, |i| 0.05 * (3.0 * i).sin()),
        other => panic!("the layer has no {other}"),
    }
}

/// Returns the input `X`, `[T, D]`: what the input norm hands to attention.
pub fn input() -> Vec<f64> {
    let value = |t: f64, j: f64| (0.9 * t + 0.31 * j + 0.05 * t * j).sin();
    (0..T * D).map(|n| value((n / D) as f64, (n % D) as f64)).collect()
}

/// Width of the model that carries the layer: one column more than the spec's.
///
/// A model reaches its attention through an embedding table and a norm that divides each row by its root mean square.
/// The extra column gives all rows one length, so that constant norm weights undo the division; its own norm weight is zero.
pub const CARRIER: usize = D + 1;

/// The carrier's one-layer model with the spec's layer in it; its feed-forward block adds zero.
pub struct Source;

impl TensorSource for Source {
    type Error = Infallible;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, Infallible> {
        let n_values = spec.shape.iter().product();
        let leaf = spec.name.trim_start_matches("model.layers.0.");
        let x = input();
        let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
        let length = 1.0 + x.chunks(D).map(square).fold(0.0, f64::max);
        let values = match leaf {
            "model.embed_tokens.weight" => {
                let level = |row: &[f64]| [row, &[(length - square(row)).sqrt()]].concat();
                x.chunks(D).flat_map(level).collect()
            }
            "input_layernorm.weight" => {
                let undo = (length / CARRIER as f64 + EPS).sqrt();
                [vec![undo; D], vec![0.0]].concat()
            }
            "self_attn.o_proj.weight" => [weight("o_proj.weight"), vec![0.0; HEADS * VALUE]].concat(),
            leaf => match leaf.strip_prefix("self_attn.") {
                Some(leaf) if spec.shape.last() == Some(&CARRIER) => {
                    weight(leaf).chunks(D).flat_map(|row| [row, &[0.0]].concat()).collect()
                }
                Some(leaf) => weight(leaf),
                // The feed-forward block, and norms and head behind the layer's output, which nothing here reads.
                None => vec![if spec.shape.len() == 1 { 1.0 } else { 0.0 }; n_values],
            },
        };
        assert_eq!(values.len(), n_values, "{}", spec.name);
        Ok(TensorData::new(values, spec.shape.clone()))
    }
}

/// Returns the carrier's configuration.
pub fn config() -> Config {
    Config::from_json(&json!({
        "model_type": "deepseek_v32", "vocab_size": T, "hidden_size": CARRIER, "intermediate_size": 2, "num_hidden_layers": 1,
        "first_k_dense_replace": 1, "num_attention_heads": HEADS, "q_lora_rank": Q_RANK, "kv_lora_rank": C, "qk_nope_head_dim": NOPE,
        "qk_rope_head_dim": ROPE, "v_head_dim": VALUE, "index_n_heads": INDEX_HEADS, "index_head_dim": INDEX_DIM, "index_topk": K,
        "max_position_embeddings": 64, "rms_norm_eps": EPS, "rope_theta": THETA
    }))
    .unwrap()
}

/// Loads the carrier in f64; token `t` has the input row `t`.
pub fn model(config: &Config, device: &Device) -> Model {
    match Model::load(config, &mut Source, device) {
        Ok(model) => model,
        Err(never) => match never {},
    }
}

/// Token ids of the six rows.
pub const TOKENS: [u32; T] = [0, 1, 2, 3, 4, 5];
