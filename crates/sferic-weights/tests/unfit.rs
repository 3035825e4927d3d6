//! One test for each way in which tensors can differ from what a model wants; each message names the file and the tensor, what was
//! expected and found, and what to do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Folder, Stored, assert_holds, counting, file_bytes, model, raw, tensor, wanted};
use sferic_weights::{Checkpoint, Dtype, WeightsError};

#[test]
fn missing_tensor() {
    let folder = Folder::with_model(&file_bytes(vec![counting("a", &[2], 0)]));
    let message = folder.open().unwrap().check(&wanted(&[("a", &[2]), ("model.norm.weight", &[4])])).unwrap_err().to_string();
    let path = folder.path().display().to_string();
    assert_holds(&message, &["tensor `model.norm.weight` is missing", "config.json belongs to these weights", &path]);
}

#[test]
fn misshapen_tensor() {
    let model = model(vec![counting("w", &[2, 3], 0)]);
    let parts = ["tensor `w` has shape [2, 3], expected [3, 2] (in model.safetensors)", "config.json belongs"];
    assert_holds(&model.check(&wanted(&[("w", &[3, 2])])).unwrap_err().to_string(), &parts);
    assert_holds(&model.read_f32("w", &[3, 2]).unwrap_err().to_string(), &parts);
    assert!(model.read_f32("w", &[6]).is_err(), "as many values in another shape");
}

#[test]
fn tensor_of_wrong_type() {
    let model = model(vec![raw("w", Dtype::I32, &[2], vec![0; 8])]);
    let parts = ["tensor `w` has type I32", "expected BF16, F16, F32 or block-scaled F8_E4M3 (in model.safetensors)"];
    assert_holds(&model.check(&wanted(&[("w", &[2])])).unwrap_err().to_string(), &parts);
    assert_holds(&model.read_f32("w", &[2]).unwrap_err().to_string(), &parts);
}

#[test]
fn fp8_without_scales() {
    let model = model(vec![raw("w", Dtype::F8E4M3, &[2, 2], vec![0; 4])]);
    let parts = ["tensor `w` is F8_E4M3", "`w_scale_inv` are missing (in model.safetensors)"];
    assert_holds(&model.check(&wanted(&[("w", &[2, 2])])).unwrap_err().to_string(), &parts);
    assert_holds(&model.read_f32("w", &[2, 2]).unwrap_err().to_string(), &parts);
}

#[test]
fn fp8_with_wrong_scales() {
    let weight = || raw("w", Dtype::F8E4M3, &[130, 2], vec![0; 260]);
    let misshapen = model(vec![weight(), tensor("w_scale_inv", Dtype::F32, &[1, 1], &[1.0])]);
    let message = misshapen.check(&wanted(&[("w", &[130, 2])])).unwrap_err().to_string();
    assert_holds(&message, &["scales `w_scale_inv` are F32 [1, 1], expected F32 [2, 1]"]);
    let mistyped = model(vec![weight(), tensor("w_scale_inv", Dtype::Bf16, &[2, 1], &[1.0, 1.0])]);
    assert_holds(&mistyped.read_f32("w", &[130, 2]).unwrap_err().to_string(), &["are BF16 [2, 1], expected F32 [2, 1]"]);
}

/// A configuration that says that bytes are codes.
const GROUPED: &str =
    r#"{"num_hidden_layers": 2, "quantization_config": {"quant_method": "sferic", "format": "q4", "group_size": 32}}"#;

#[test]
fn codes_without_or_with_wrong_scales() {
    let message = |stored: Vec<Stored>| {
        let model = Checkpoint::from_parts(GROUPED, file_bytes(stored)).unwrap();
        let message = model.check(&wanted(&[("w", &[3, 64])])).unwrap_err().to_string();
        assert_eq!(model.read_f32("w", &[3, 64]).unwrap_err().to_string(), message);
        assert_eq!(model.read_quantized("w", &[3, 64]).unwrap_err().to_string(), message);
        message
    };
    let q4 = || raw("w", Dtype::U8, &[3, 32], vec![0; 96]);
    let q8 = || raw("w", Dtype::I8, &[3, 64], vec![0; 192]);
    assert_holds(&message(vec![q4()]), &["tensor `w` is U8", "`w_scale` are missing (in model.safetensors)"]);
    assert_holds(&message(vec![q8()]), &["tensor `w` is I8", "`w_scale` are missing"]);
    let narrow = tensor("w_scale", Dtype::F16, &[3, 1], &[1.0; 3]);
    assert_holds(&message(vec![q4(), narrow]), &["scales `w_scale` are F16 [3, 1], expected F16 [3, 2]"]);
    let wide = tensor("w_scale", Dtype::F32, &[3, 2], &[1.0; 6]);
    assert_holds(&message(vec![q8(), wide]), &["scales `w_scale` are F32 [3, 2], expected F16 [3, 2]"]);
    let long = raw("w", Dtype::U8, &[3, 64], vec![0; 192]);
    assert_holds(&message(vec![long]), &["tensor `w` has shape [3, 64], expected [3, 32]"]);
}

#[test]
fn widths_that_no_group_fills_are_refused() {
    let stored = vec![raw("w", Dtype::I8, &[2, 40], vec![0; 80]), tensor("w_scale", Dtype::F16, &[2, 1], &[1.0; 2])];
    let model = Checkpoint::from_parts(GROUPED, file_bytes(stored)).unwrap();
    assert!(model.read_f32("w", &[2, 40]).is_err());
    let vector = vec![raw("w", Dtype::I8, &[32], vec![0; 32]), tensor("w_scale", Dtype::F16, &[1], &[1.0])];
    let model = Checkpoint::from_parts(GROUPED, file_bytes(vector)).unwrap();
    assert!(model.read_f32("w", &[32]).is_err());
}

/// Other programs pack other codes into bytes: without our name they are not read.
#[test]
fn bytes_of_others_are_not_taken_for_codes() {
    let stored = || vec![raw("w", Dtype::I8, &[1, 32], vec![1; 32]), tensor("w_scale", Dtype::F16, &[1, 1], &[1.0])];
    assert_eq!(Checkpoint::from_parts(GROUPED, file_bytes(stored())).unwrap().read_f32("w", &[1, 32]).unwrap(), [1.0; 32]);
    for config in ["{}", r#"{"quantization_config": {"quant_method": "bitsandbytes", "format": "q8", "group_size": 32}}"#] {
        let model = Checkpoint::from_parts(config, file_bytes(stored())).unwrap();
        assert_holds(&model.read_f32("w", &[1, 32]).unwrap_err().to_string(), &["tensor `w` has type I8, expected BF16"]);
    }
}

#[test]
fn a_configuration_of_our_quantisation_is_checked() {
    let open = |quantization: &str| {
        let config = format!(r#"{{"quantization_config": {quantization}}}"#);
        Checkpoint::from_parts(&config, file_bytes(vec![])).unwrap_err().to_string()
    };
    let format = r#"{"quant_method": "sferic", "format": "q3", "group_size": 32}"#;
    assert_holds(&open(format), &["`quantization_config.format`", r#"expected "q8" or "q4""#, r#"found "q3""#]);
    let group = r#"{"quant_method": "sferic", "format": "q8", "group_size": 64}"#;
    assert_holds(&open(group), &["`quantization_config.group_size`", "expected 32", "found 64"]);
    assert_holds(&open(r#"{"quant_method": "sferic", "format": "q8"}"#), &["`quantization_config.group_size`", "found null"]);
}

#[test]
fn extra_tensor() {
    let model = model(vec![counting("a", &[2], 0), counting("model.layers.1.self_attn.surprise", &[2], 0)]);
    let message = model.check(&wanted(&[("a", &[2])])).unwrap_err().to_string();
    assert_holds(&message, &["`model.layers.1.self_attn.surprise` is not part of the configured model", "config.json belongs"]);
    assert!(model.read_f32("a", &[2]).is_ok(), "an error leaves the checkpoint usable");
}

#[test]
fn layers_beyond_the_configuration_are_extra_unless_they_predict() {
    let model = model(vec![counting("a", &[2], 0), counting("model.layers.2.input_layernorm.weight", &[2], 0)]);
    let message = model.check(&wanted(&[("a", &[2])])).unwrap_err().to_string();
    assert_holds(&message, &["model.layers.2.input_layernorm.weight"]);
}

#[test]
fn everything_wrong_is_counted_and_five_are_named() {
    let model = model(vec![counting("w0", &[3], 0), counting("extra", &[1], 0)]);
    let names: Vec<String> = (0..9).map(|i| format!("w{i}")).collect();
    let wanted: Vec<(String, Vec<usize>)> = names.iter().map(|name| (name.clone(), vec![2])).collect();
    let error = model.check(&wanted).unwrap_err();
    let message = error.to_string();
    assert_holds(&message, &["10 tensors do not fit", "`w0` has shape [3], expected [2]", "`w4` is missing", "and 5 more"]);
    assert!(!message.contains("w5"), "{message}");
    let WeightsError::Unfit { problems, .. } = error else { panic!("{message}") };
    assert_eq!(problems.len(), 10);
}

#[test]
fn missing_expert_is_named_on_its_own() {
    let expert = |e: usize| counting(&format!("model.layers.1.mlp.experts.{e}.down_proj.weight"), &[2, 3], 0);
    let model = model(vec![expert(0), expert(2)]);
    let message = model.read_f32("model.layers.1.mlp.experts.down_proj", &[3, 2, 3]).unwrap_err().to_string();
    assert_holds(&message, &["tensor `model.layers.1.mlp.experts.1.down_proj.weight` is missing"]);
    assert!(model.read_f32("model.layers.1.mlp.experts.down_proj", &[usize::MAX, 2, 3]).is_err());
}
