//! Converted folders: what becomes of each tensor, read back; whole or not at all.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, ops::ControlFlow, path::Path};

use common::{Folder, Stored, assert_holds, file_bytes, raw, tensor};
use sferic_weights::{
    Checkpoint, Conversion, ConvertOptions, Dtype, Result, SafeFile, WeightFormat, WeightsError, bytes_from_f32, convert_model,
};

const CONFIG: &str = r#"{"model_type": "deepseek_v32", "num_hidden_layers": 2, "torch_dtype": "bfloat16"}"#;
const EXPERTS: &str = "model.layers.1.mlp.experts";
/// Names and shapes of the matrices that are rounded.
const MATRICES: [(&str, &[usize]); 4] = [
    ("model.embed_tokens.weight", &[40, 64]),
    ("model.layers.0.self_attn.o_proj.weight", &[130, 160]),
    ("model.layers.1.mlp.experts.gate_up_proj", &[2, 64, 32]),
    ("model.layers.1.mlp.experts.down_proj", &[2, 32, 64]),
];
/// Names and shapes of what keeps its type.
const KEPT: [(&str, &[usize]); 7] = [
    ("model.norm.weight", &[64]),
    ("model.layers.0.self_attn.indexer.weights_proj.weight", &[4, 64]),
    ("model.layers.0.self_attn.indexer.k_norm.bias", &[32]),
    ("model.layers.0.self_attn.q_proj.bias", &[2, 32]),
    ("model.layers.0.self_attn.odd.weight", &[8, 20]),
    ("model.layers.1.mlp.gate.weight", &[2, 64]),
    ("model.layers.1.mlp.gate.e_score_correction_bias", &[2]),
];

/// Bell-shaped values that repeat only after a long while.
fn values(shape: &[usize], seed: usize) -> Vec<f32> {
    let part = |n: usize| (n.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 7) % 1000;
    (0..shape.iter().product()).map(|n| (0..4).map(|i| part(4 * n + i) as f32 / 1000.0 - 0.5).sum::<f32>() * 0.3).collect()
}

fn stored(name: &str, shape: &[usize], dtype: Dtype) -> Stored {
    tensor(name, dtype, shape, &values(shape, name.len()))
}

fn source_file() -> Vec<u8> {
    let matrices = MATRICES.iter().map(|(name, shape)| stored(name, shape, Dtype::Bf16));
    let kept = KEPT.iter().map(|(name, shape)| stored(name, shape, if shape.len() == 1 { Dtype::F32 } else { Dtype::Bf16 }));
    file_bytes(matrices.chain(kept).chain([raw("model.rotary_emb.inv_freq", Dtype::I64, &[1], vec![3; 8])]).collect())
}

fn source() -> Checkpoint {
    Checkpoint::from_parts(CONFIG, source_file()).unwrap()
}

fn convert(source: &Checkpoint, out: &Path, format: WeightFormat) -> Result<Conversion> {
    let companions = [("tokenizer.json".to_owned(), b"{}".as_slice().into())];
    convert_model(source, out, &companions, &ConvertOptions::new(format), &mut |_| ControlFlow::Continue(()))
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_format_reads_back() {
    let (folder, source) = (Folder::empty(), source());
    // Of the largest magnitude of a group or block: what rounding to nearest may err, and for q4 what its search may cut off.
    // The source is in BF16.
    let bounds = [0.0, 2f32.powi(-11), 0.0, 2f32.powi(-4), 1.01 / 254.0, 2.0 / 9.0];
    for (format, bound) in WeightFormat::ALL.into_iter().zip(bounds) {
        let out = folder.path().join(format.name());
        let conversion = convert(&source, &out, format).unwrap();
        assert_eq!(listing(&out), ["config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(listing(&out), conversion.files);
        let model = Checkpoint::open(&out).unwrap();
        let wanted: Vec<_> = MATRICES.iter().chain(&KEPT).map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
        let report = model.check(&wanted).unwrap();
        assert_eq!(report.size_bytes, conversion.size_bytes);
        for (name, shape) in KEPT {
            assert_eq!(model.read_f32(name, shape).unwrap(), source.read_f32(name, shape).unwrap(), "{format:?} {name}");
        }
        let mut differs = false;
        for (name, shape) in MATRICES {
            let (found, expected) = (model.read_f32(name, shape).unwrap(), source.read_f32(name, shape).unwrap());
            let worst = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
            let largest = expected.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
            assert!(worst <= bound * largest, "{format:?} {name}: {worst} of {largest}");
            differs |= worst > 0.0;
        }
        assert!(differs || !format.has_scales(), "{format:?}");
        assert!(model.warnings().is_empty(), "{:?}", model.warnings());
        let written = SafeFile::open(out.join("model.safetensors")).unwrap();
        assert_eq!(&*written.bytes("model.rotary_emb.inv_freq").unwrap(), [3; 8]);
    }
}

#[test]
fn layouts_are_those_of_the_documentation() {
    let (folder, source) = (Folder::empty(), source());
    let [embedding, matrix, gate_up, _] = MATRICES.map(|(name, _)| name);
    let scales = |name: &str, suffix: &str| format!("{name}{suffix}");
    let cases = [
        (
            WeightFormat::Q4,
            [(matrix, Dtype::U8, vec![130, 80]), (gate_up, Dtype::U8, vec![2, 64, 16]), (embedding, Dtype::I8, vec![40, 64])],
        ),
        (
            WeightFormat::Q8,
            [(matrix, Dtype::I8, vec![130, 160]), (gate_up, Dtype::I8, vec![2, 64, 32]), (embedding, Dtype::I8, vec![40, 64])],
        ),
        (
            WeightFormat::Fp8,
            [
                (matrix, Dtype::F8E4M3, vec![130, 160]),
                (gate_up, Dtype::F8E4M3, vec![2, 64, 32]),
                (embedding, Dtype::Bf16, vec![40, 64]),
            ],
        ),
    ];
    for (format, tensors) in cases {
        let out = folder.path().join(format.name());
        convert(&source, &out, format).unwrap();
        let file = SafeFile::open(out.join("model.safetensors")).unwrap();
        for (name, dtype, shape) in &tensors {
            assert_eq!((file.dtype(name).unwrap(), file.shape(name).unwrap()), (*dtype, &shape[..]), "{format:?} {name}");
        }
        let config: serde_json::Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        let quantization = &config["quantization_config"];
        if format == WeightFormat::Fp8 {
            let scales = scales(matrix, "_scale_inv");
            assert_eq!((file.dtype(&scales).unwrap(), file.shape(&scales).unwrap()), (Dtype::F32, &[2, 2][..]));
            assert_eq!((&quantization["quant_method"], &quantization["weight_block_size"][1]), (&"fp8".into(), &128.into()));
        } else {
            let (scales, stacked) = (scales(matrix, "_scale"), scales(gate_up, "_scale"));
            assert_eq!((file.dtype(&scales).unwrap(), file.shape(&scales).unwrap()), (Dtype::F16, &[130, 5][..]));
            assert_eq!(file.shape(&stacked).unwrap(), [2, 64, 1]);
            let expected = serde_json::json!({ "quant_method": "sferic", "format": format.name(), "group_size": 32 });
            assert_eq!(quantization, &expected);
        }
        assert_eq!(config["torch_dtype"], "bfloat16");
    }
    convert(&source, &folder.path().join("f16"), WeightFormat::F16).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("f16/config.json")).unwrap()).unwrap();
    assert_eq!((&config["torch_dtype"], config.get("quantization_config")), (&"float16".into(), None));
}

/// What the GPU's loader does with a folder of codes: widen and round again.
#[test]
fn widening_and_rounding_again_gives_the_stored_codes() {
    let (folder, source) = (Folder::empty(), source());
    for format in [WeightFormat::Q4, WeightFormat::Q8] {
        let out = folder.path().join(format.name());
        convert(&source, &out, format).unwrap();
        let model = Checkpoint::open(&out).unwrap();
        for (name, shape) in MATRICES {
            let stored = model.read_quantized(name, shape).unwrap().unwrap();
            let values = model.read_f32(name, shape).unwrap();
            assert_eq!(stored.dequantize(), values, "{format:?} {name}");
            assert_eq!(stored.format.quantize(&values, stored.o, stored.i), stored, "{format:?} {name}");
        }
        assert!(model.read_quantized("model.norm.weight", &[64]).unwrap().is_none());
    }
    assert!(source.read_quantized(MATRICES[1].0, MATRICES[1].1).unwrap().is_none());
}

#[test]
fn converting_a_converted_model_to_its_own_format_changes_no_byte() {
    let folder = Folder::empty();
    for format in WeightFormat::ALL {
        let [once, twice] = ["once", "twice"].map(|name| folder.path().join(format!("{name}-{}", format.name())));
        convert(&source(), &once, format).unwrap();
        convert(&Checkpoint::open(&once).unwrap(), &twice, format).unwrap();
        for file in listing(&once) {
            assert!(fs::read(once.join(&file)).unwrap() == fs::read(twice.join(&file)).unwrap(), "{format:?} {file}");
        }
    }
}

/// From codes to floats: what was kept or rounded comes out as it was read.
#[test]
fn codes_become_floats_again() {
    let folder = Folder::empty();
    let [codes, floats] = ["codes", "floats"].map(|name| folder.path().join(name));
    convert(&source(), &codes, WeightFormat::Q4).unwrap();
    let codes = Checkpoint::open(&codes).unwrap();
    convert(&codes, &floats, WeightFormat::F32).unwrap();
    let floats = Checkpoint::open(&floats).unwrap();
    assert!(floats.config_json().get("quantization_config").is_none());
    for (name, shape) in MATRICES.into_iter().chain(KEPT) {
        assert_eq!(floats.read_f32(name, shape).unwrap(), codes.read_f32(name, shape).unwrap(), "{name}");
    }
}

#[test]
fn single_experts_stay_single_and_equal_stacked_ones() {
    let folder = Folder::empty();
    let (stacked_source, mut single) = (source(), Vec::new());
    for (name, shape) in &MATRICES[2..] {
        let values = stacked_source.read_f32(name, shape).unwrap();
        let n_rows = if name.ends_with("gate_up_proj") { shape[1] / 2 } else { shape[1] };
        let projections: &[&str] = if n_rows == shape[1] { &["down_proj"] } else { &["gate_proj", "up_proj"] };
        for (part_idx, part) in values.chunks(n_rows * shape[2]).enumerate() {
            let (expert, projection) = (part_idx / projections.len(), projections[part_idx % projections.len()]);
            single.push(tensor(&format!("{EXPERTS}.{expert}.{projection}.weight"), Dtype::Bf16, &[n_rows, shape[2]], part));
        }
    }
    let single = Checkpoint::from_parts(CONFIG, file_bytes(single)).unwrap();
    // FP8 blocks of 128 rows would span gate and up rows in the stacked layout alone.
    for format in [WeightFormat::Q4, WeightFormat::Q8, WeightFormat::F16] {
        let [a, b] = ["stacked", "single"].map(|name| folder.path().join(format!("{name}-{}", format.name())));
        convert(&stacked_source, &a, format).unwrap();
        convert(&single, &b, format).unwrap();
        let [a, b] = [a, b].map(|out| Checkpoint::open(out).unwrap());
        assert!(b.names().any(|name| name == format!("{EXPERTS}.1.up_proj.weight")));
        for (name, shape) in &MATRICES[2..] {
            assert_eq!(a.read_f32(name, shape).unwrap(), b.read_f32(name, shape).unwrap(), "{format:?} {name}");
            assert_eq!(a.read_quantized(name, shape).unwrap(), b.read_quantized(name, shape).unwrap(), "{format:?} {name}");
        }
    }
}

#[test]
fn shards_hold_what_one_file_holds() {
    let (folder, source) = (Folder::empty(), source());
    let [one, many] = ["one", "many"].map(|name| folder.path().join(name));
    convert(&source, &one, WeightFormat::Q4).unwrap();
    let options = ConvertOptions { max_shard_bytes: 4000, ..ConvertOptions::new(WeightFormat::Q4) };
    let mut heard = Vec::new();
    let conversion = convert_model(&source, &many, &[], &options, &mut |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(conversion.files.contains(&"model.safetensors.index.json".to_owned()) && conversion.files.len() > 4);
    assert_eq!(listing(&many), conversion.files);
    assert!(heard.is_sorted_by_key(|progress| progress.done_bytes));
    assert_eq!(heard.last().unwrap().done_bytes, conversion.source_bytes);
    let [one, many] = [one, many].map(|out| Checkpoint::open(out).unwrap());
    assert_eq!(one.names().len(), many.names().len());
    for (name, shape) in MATRICES.into_iter().chain(KEPT) {
        assert_eq!(one.read_f32(name, shape).unwrap(), many.read_f32(name, shape).unwrap(), "{name}");
    }
}

#[test]
fn a_folder_that_holds_something_is_replaced_only_on_demand() {
    let folder = Folder::empty();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    convert(&source(), &out, WeightFormat::Q8).unwrap();
    let before = fs::read(out.join("model.safetensors")).unwrap();
    let error = convert(&source(), &out, WeightFormat::Q4).unwrap_err();
    assert!(matches!(error, WeightsError::NotEmpty { .. }), "{error}");
    assert_holds(&error.to_string(), &["config.json, model.safetensors", "--force", "out"]);
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), before);
    fs::write(out.join("stale.safetensors"), "old").unwrap();
    let options = ConvertOptions { replace: true, ..ConvertOptions::new(WeightFormat::Q4) };
    let replace = |source: &Checkpoint, out: &Path| convert_model(source, out, &[], &options, &mut |_| ControlFlow::Continue(()));
    replace(&source(), &out).unwrap();
    assert_eq!(listing(&out), ["config.json", "model.safetensors"]);
    assert_ne!(fs::read(out.join("model.safetensors")).unwrap(), before);
    // The model that is read, and folders that are something else, stay.
    let error = replace(&Checkpoint::open(&out).unwrap(), &out).unwrap_err();
    assert!(matches!(error, WeightsError::NotReplaced { .. }), "{error}");
    fs::create_dir(out.join("more")).unwrap();
    assert!(matches!(replace(&source(), &out).unwrap_err(), WeightsError::NotReplaced { .. }));
    let other = Folder::empty().add("letters.txt", "dear");
    assert!(matches!(replace(&source(), other.path()).unwrap_err(), WeightsError::NotReplaced { .. }));
    assert_eq!(listing(other.path()), ["letters.txt"]);
    assert_eq!(listing(folder.path()), ["out"], "nothing is left beside it");
}

#[test]
fn what_goes_wrong_leaves_nothing() {
    let folder = Folder::empty().add("file", "");
    let out = folder.path().join("out");
    let refused = |name: &str, value: f32, format: WeightFormat| {
        let mut values = values(&[4, 64], 1);
        values[70] = value;
        let bytes = bytes_from_f32(&values, Dtype::F32).unwrap();
        let source = Checkpoint::from_parts(CONFIG, file_bytes(vec![raw(name, Dtype::F32, &[4, 64], bytes)])).unwrap();
        let error = convert(&source, &out, format).unwrap_err();
        assert_eq!(listing(folder.path()), ["file"], "{error}");
        error.to_string()
    };
    for format in [WeightFormat::Q4, WeightFormat::Q8, WeightFormat::Fp8, WeightFormat::F16] {
        assert_holds(&refused("w.weight", f32::NAN, format), &["cannot convert tensor `w.weight`", "1 of its values"]);
    }
    assert_holds(&refused("w.weight", 70000.0, WeightFormat::F16), &["`w.weight` to f16", "up to 65504, found 70000"]);
    assert_holds(&refused("w.weight", 1e6, WeightFormat::Q4), &["`w.weight` to q4", "up to 458528"]);

    for n_matrices in [1, 4, 9] {
        let mut n_heard = 0;
        let error = convert_model(&source(), &out, &[], &ConvertOptions::new(WeightFormat::Q4), &mut |_| {
            n_heard += 1;
            if n_heard == n_matrices { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap_err();
        assert!(matches!(error, WeightsError::Cancelled), "{error}");
        assert_eq!(listing(folder.path()), ["file"]);
    }
    for place in ["file", "file/out", "missing/out"] {
        let error = convert(&source(), &folder.path().join(place), WeightFormat::Q4).unwrap_err();
        assert!(matches!(error, WeightsError::Io { .. }), "{place}: {error}");
        assert_eq!(listing(folder.path()), ["file"]);
    }
    let unfit = Checkpoint::from_parts(CONFIG, file_bytes(vec![raw("w", Dtype::F8E4M3, &[2, 2], vec![0; 4])])).unwrap();
    assert_holds(&convert(&unfit, &out, WeightFormat::Q4).unwrap_err().to_string(), &["`w_scale_inv` are missing"]);
    assert_eq!(listing(folder.path()), ["file"]);
}
