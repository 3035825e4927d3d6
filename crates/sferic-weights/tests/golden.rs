//! Checkpoints made by Hugging Face's own tools, against numbers that another program read from the same files.
#![allow(clippy::unwrap_used)]
#![allow(clippy::excessive_precision, reason = "stored values, written out in full")]

mod common;

use common::{assert_holds, golden, wanted};
use sferic_weights::{Checkpoint, Dtype, SafeFile};

const KV_A: &str = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";

/// Returns a sum in which no two neighbouring values have the same weight, so that a misplaced one shows.
fn weighted_sum(values: &[f32]) -> f64 {
    values.iter().enumerate().map(|(i, value)| f64::from(*value) * (i * 7919 % 1009) as f64).sum()
}

/// All products are multiples of a power of two far above the last bit of the sum: the sums are exact in any order.
fn check_kv_a(model: &Checkpoint) {
    let values = model.read_f32(KV_A, &[576, 256]).unwrap();
    assert_eq!(values.iter().map(|value| f64::from(*value)).sum::<f64>(), -61.48697280883789);
    assert_eq!(weighted_sum(&values), -33764.086853027344);
    let at = [0, 1, 255, 147_200, 147_455, 131_202].map(|i| values[i]);
    assert_eq!(at, [0.078125, -0.03125, -0.00390625, 0.109375, 0.013671875, -0.1015625]);
    assert!(model.warnings().is_empty());
}

/// One tensor of the FP8 checkpoint whose last row of blocks is half full.
#[test]
fn ragged_fp8_tensor() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fp8_ragged");
    let model = Checkpoint::open(folder).unwrap();
    model.check(&wanted(&[(KV_A, &[576, 256])])).unwrap();
    check_kv_a(&model);
}

/// The whole FP8 checkpoint, where the shared folder is there.
#[test]
fn fp8_checkpoint() {
    let Some(folder) = golden("deepseek_v32-fp8") else {
        println!("the shared golden folder is not there: ragged_fp8_tensor alone covers FP8");
        return;
    };
    let model = Checkpoint::open(folder).unwrap();
    check_kv_a(&model);
    let q_b = model.read_f32("model.layers.0.self_attn.q_b_proj.weight", &[1536, 192]).unwrap();
    assert_eq!(weighted_sum(&q_b), 14217.924606323242);
    let gate_up = model.read_f32("model.layers.1.mlp.experts.gate_up_proj", &[8, 256, 256]).unwrap();
    assert_eq!(weighted_sum(&gate_up), 22974.632749557495);
    assert!(model.warnings().is_empty());
    let message = model.check(&wanted(&[(KV_A, &[576, 256])])).unwrap_err().to_string();
    assert_holds(&message, &["105 tensors do not fit", "not part of the configured model"]);
}

#[test]
fn sharded_checkpoint() {
    let model = Checkpoint::open(golden("deepseek_v32-tiny").unwrap()).unwrap();
    assert_eq!(model.names().len(), 149);
    assert_eq!(model.config_json()["num_hidden_layers"], 4);
    let norm = model.read_f32("model.norm.weight", &[128]).unwrap();
    assert_eq!(norm[..4], [0.953125, 0.87890625, 1.1328125, 0.99609375]);
    assert_eq!(norm.iter().sum::<f32>(), 128.5703125);
    let experts = model.read_f32("model.layers.2.mlp.experts.gate_up_proj", &[8, 128, 128]).unwrap();
    // Expert 5, the up rows.
    let up = &experts[(5 * 2 + 1) * 64 * 128..(5 * 2 + 2) * 64 * 128];
    assert_eq!(up[..4], [0.02587890625, 0.0771484375, -0.045166015625, -0.01312255859375]);
    assert_eq!(up.iter().map(|value| f64::from(*value)).sum::<f64>(), -7.442636176943779);
}

#[test]
fn golden_values() {
    let file = SafeFile::open(golden("deepseek_v32-tiny").unwrap().join("golden.safetensors")).unwrap();
    let names = [
        "hidden.0",
        "hidden.1",
        "hidden.2",
        "hidden.3",
        "input_ids",
        "logits",
        "next_ids",
        "topk.0",
        "topk.1",
        "topk.2",
        "topk.3",
    ];
    assert_eq!(file.names().collect::<Vec<_>>(), names);
    assert_eq!(file.i64("input_ids").unwrap()[..6], [349, 479, 19, 152, 368, 233]);
    assert_eq!(file.shape("topk.1").unwrap(), [48, 8]);
    assert_eq!(file.dtype("topk.1").unwrap(), Dtype::I32);
    assert_eq!(file.i32("topk.1").unwrap()[..3], [0, -1, -1]);
    assert_eq!(file.i64("topk.1").unwrap()[381..], [8, 7, 1]);
    let logits = file.f32("logits").unwrap();
    assert_eq!(logits.len(), 48 * 512);
    assert_eq!(logits[..2], [2.843_527, 0.938_453_56]);
    assert_holds(
        &file.f32("input_ids").unwrap_err().to_string(),
        &["`input_ids` has type I64, expected F32", "golden.safetensors"],
    );
    assert_holds(&file.i32("logits").unwrap_err().to_string(), &["`logits` has type F32, expected I32"]);
    assert_holds(&file.i64("logits").unwrap_err().to_string(), &["`logits` has type F32, expected I64"]);
    let message = file.f32("nothing").unwrap_err().to_string();
    assert_holds(&message, &["tensor `nothing` is missing", "holds hidden.0, hidden.1", "and 6 more", "golden.safetensors"]);
}
