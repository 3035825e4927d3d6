//! What a checkpoint hands out: element types, spellings, experts, block scales, progress, warnings, the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex},
};

use common::{CONFIG, Stored, counting, file_bytes, model, raw, tensor, wanted};
use sferic_weights::{
    ByteSource, Checkpoint, Dtype, Progress, SafeFile, Warning,
    fp8::{BlockMatrix, f32_from_e4m3, quantize_blocks},
};

/// Returns an FP8 tensor and its scales; `shape` may have leading dimensions.
fn fp8_tensors(name: &str, shape: &[usize], values: &[f32], block: [usize; 2]) -> [Stored; 2] {
    let (&[n_rows, n_cols], matrices) = shape.split_last_chunk::<2>().map(|(a, b)| (b, a)).unwrap();
    let quantized: Vec<BlockMatrix> =
        values.chunks(n_rows * n_cols).map(|matrix| quantize_blocks(matrix, [n_rows, n_cols], block)).collect();
    let scale_shape = [matrices, &quantized[0].scale_shape].concat();
    let scales: Vec<f32> = quantized.iter().flat_map(|matrix| matrix.scales.clone()).collect();
    let codes = quantized.into_iter().flat_map(|matrix| matrix.codes).collect();
    [raw(name, Dtype::F8E4M3, shape, codes), tensor(&format!("{name}_scale_inv"), Dtype::F32, &scale_shape, &scales)]
}

/// Values that e4m3 with any power-of-two scale keeps exactly.
fn exact_values(n_values: usize) -> Vec<f32> {
    (0..n_values).map(|i| ((i * 7 % 15) as f32 - 7.0) * 2f32.powi((i / 50 % 5) as i32)).collect()
}

#[test]
fn every_float_type_reads_as_f32() {
    let values = [0.0, -1.5, 448.0, 2f32.powi(-14)];
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        let model = model(vec![tensor("w", dtype, &[2, 2], &values)]);
        assert_eq!(model.read_f32("w", &[2, 2]).unwrap(), values, "{dtype}");
    }
}

/// A file that notes what is read of it, and of which nothing can be read from `end` on.
struct Noting {
    bytes: Vec<u8>,
    end: u64,
    read: Arc<Mutex<Vec<Range<u64>>>>,
}

impl ByteSource for Noting {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, begin: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = begin..begin + buffer.len() as u64;
        if range.end > self.end {
            return Err(io::Error::other("not there yet"));
        }
        buffer.copy_from_slice(&self.bytes[range.start as usize..range.end as usize]);
        self.read.lock().unwrap().push(range);
        Ok(())
    }
}

#[test]
fn files_that_are_read_by_ranges_give_up_no_more_than_a_tensor() {
    let bytes = file_bytes(vec![counting("a", &[2, 3], 0), counting("b", &[4], 9)]);
    let (n_bytes, begin) = (bytes.len() as u64, bytes.len() as u64 - 20);
    let read = Arc::new(Mutex::new(Vec::new()));
    let noting = |end| Box::new(Noting { bytes: bytes.clone(), end, read: read.clone() });
    let file = SafeFile::from_source("w.safetensors", noting(n_bytes)).unwrap();
    let model = Checkpoint::from_files(CONFIG, vec![file]).unwrap();
    assert_eq!(*read.lock().unwrap(), [0..8, 8..begin], "opening reads the header");
    model.check(&wanted(&[("a", &[2, 3]), ("b", &[4])])).unwrap();
    assert_eq!(model.read_f32("b", &[4]).unwrap(), [9.0, 10.0, 11.0, 12.0]);
    assert_eq!(read.lock().unwrap().last(), Some(&(begin + 12..n_bytes)));
    assert_eq!(read.lock().unwrap().len(), 3);

    let cut = SafeFile::from_source("w.safetensors", noting(n_bytes - 1)).unwrap();
    let model = Checkpoint::from_files(CONFIG, vec![cut]).unwrap();
    assert_eq!(model.read_f32("a", &[2, 3]).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let message = model.read_f32("b", &[4]).unwrap_err().to_string();
    assert_eq!(message, "cannot read the weights: not there yet: w.safetensors");
    let message = SafeFile::from_source("w.safetensors", noting(9)).unwrap_err().to_string();
    assert_eq!(message, "cannot read the header: not there yet: w.safetensors");
}

#[test]
fn scales_multiply() {
    let stored = vec![raw("w", Dtype::F8E4M3, &[1, 2], vec![0x38, 0xB8]), tensor("w_scale_inv", Dtype::F32, &[1, 1], &[0.25])];
    assert_eq!(f32_from_e4m3(0x38), 1.0);
    assert_eq!(model(stored).read_f32("w", &[1, 2]).unwrap(), [0.25, -0.25]);
}

/// Each 128×128 block has a code of 1 and its own scale, so that the value shows which scale was taken.
#[test]
fn each_ragged_block_takes_its_own_scale() {
    let (n_rows, n_cols) = (300, 200);
    let scales: Vec<f32> = (0..6).map(|i| 2f32.powi(i)).collect();
    let stored = vec![
        raw("w", Dtype::F8E4M3, &[n_rows, n_cols], vec![0x38; n_rows * n_cols]),
        tensor("w_scale_inv", Dtype::F32, &[3, 2], &scales),
    ];
    let values = model(stored).read_f32("w", &[n_rows, n_cols]).unwrap();
    assert_eq!(values.len(), n_rows * n_cols);
    for (i, value) in values.into_iter().enumerate() {
        let (row, col) = (i / n_cols, i % n_cols);
        assert_eq!(value, scales[row / 128 * 2 + col / 128], "row {row}, column {col}");
    }
}

#[test]
fn block_size_comes_from_the_configuration() {
    let config = r#"{"quantization_config": {"weight_block_size": [2, 3]}}"#;
    let values = exact_values(5 * 7);
    let file = file_bytes(fp8_tensors("w", &[5, 7], &values, [2, 3]).into());
    let model = Checkpoint::from_parts(config, file.clone()).unwrap();
    assert_eq!(model.read_f32("w", &[5, 7]).unwrap(), values);
    assert!(Checkpoint::from_parts("{}", file).unwrap().read_f32("w", &[5, 7]).is_err());
}

/// The stacked tensor and single experts, in BF16 and in FP8 with ragged blocks, give the same values.
#[test]
fn single_and_stacked_experts_are_equal() {
    let (n_experts, width, n_cols) = (3, 5, 7);
    let config = r#"{"num_hidden_layers": 2, "quantization_config": {"weight_block_size": [2, 3]}}"#;
    let gate_up = exact_values(n_experts * 2 * width * n_cols);
    let down = exact_values(n_experts * n_cols * width);
    let prefix = "model.layers.1.mlp.experts";
    let read = |stored: Vec<Stored>| {
        let model = Checkpoint::from_parts(config, file_bytes(stored)).unwrap();
        let (gate_up_shape, down_shape) = ([n_experts, 2 * width, n_cols], [n_experts, n_cols, width]);
        let names = [format!("{prefix}.gate_up_proj"), format!("{prefix}.down_proj")];
        model.check(&wanted(&[(&names[0], &gate_up_shape), (&names[1], &down_shape)])).unwrap();
        (model.read_f32(&names[0], &gate_up_shape).unwrap(), model.read_f32(&names[1], &down_shape).unwrap())
    };
    for fp8 in [false, true] {
        let store = |name: &str, shape: &[usize], values: &[f32]| -> Vec<Stored> {
            if fp8 { fp8_tensors(name, shape, values, [2, 3]).into() } else { vec![tensor(name, Dtype::Bf16, shape, values)] }
        };
        let mut stacked = store(&format!("{prefix}.gate_up_proj"), &[n_experts, 2 * width, n_cols], &gate_up);
        stacked.extend(store(&format!("{prefix}.down_proj"), &[n_experts, n_cols, width], &down));
        let mut single = Vec::new();
        for (e, expert) in gate_up.chunks(2 * width * n_cols).enumerate() {
            let (gate, up) = expert.split_at(width * n_cols);
            single.extend(store(&format!("{prefix}.{e}.up_proj.weight"), &[width, n_cols], up));
            single.extend(store(&format!("{prefix}.{e}.gate_proj.weight"), &[width, n_cols], gate));
        }
        for (e, expert) in down.chunks(width * n_cols).enumerate() {
            single.extend(store(&format!("{prefix}.{e}.down_proj.weight"), &[n_cols, width], expert));
        }
        assert_eq!(read(stacked), (gate_up.clone(), down.clone()), "stacked, fp8 {fp8}");
        assert_eq!(read(single), (gate_up.clone(), down.clone()), "single, fp8 {fp8}");
    }
}

#[test]
fn the_prefix_may_be_missing() {
    let model = model(vec![counting("layers.0.w", &[2], 1), counting("lm_head.weight", &[1, 2], 5)]);
    assert_eq!(model.read_f32("model.layers.0.w", &[2]).unwrap(), [1.0, 2.0]);
    model.check(&wanted(&[("model.layers.0.w", &[2]), ("lm_head.weight", &[1, 2])])).unwrap();
}

#[test]
fn nan_and_infinite_weights_warn() {
    let stored = vec![
        tensor("a", Dtype::Bf16, &[4], &[1.0, f32::NAN, f32::INFINITY, 2.0]),
        raw("b", Dtype::F8E4M3, &[1, 2], vec![0x7F, 0x38]),
        tensor("b_scale_inv", Dtype::F32, &[1, 1], &[1.0]),
        counting("c", &[4], 0),
    ];
    let model = model(stored);
    for _ in 0..2 {
        model.read_f32("a", &[4]).unwrap();
        model.read_f32("b", &[1, 2]).unwrap();
        model.read_f32("c", &[4]).unwrap();
    }
    let file = || "model.safetensors".to_owned();
    let expected = [
        Warning::NonFinite { tensor: "a".into(), n_values: 2, file: file() },
        Warning::NonFinite { tensor: "b".into(), n_values: 1, file: file() },
    ];
    assert_eq!(model.warnings(), expected);
    common::assert_holds(&expected[0].to_string(), &["tensor `a` holds 2 values that are NaN or infinite", "model.safetensors"]);
}

#[test]
fn scales_that_are_not_powers_of_two_warn() {
    let stored = vec![
        raw("w", Dtype::F8E4M3, &[1, 600], vec![0x38; 600]),
        tensor("w_scale_inv", Dtype::F32, &[1, 5], &[0.5, 0.3, -1.0, 0.0, 4.0]),
    ];
    let model = model(stored);
    assert_eq!(model.read_f32("w", &[1, 600]).unwrap()[128], 0.3);
    let expected = Warning::ScaleNotPowerOfTwo { tensor: "w_scale_inv".into(), n_scales: 3, file: "model.safetensors".into() };
    assert_eq!(model.warnings(), [expected]);
}

#[test]
fn left_out_tensors_are_counted() {
    let config = r#"{"num_hidden_layers": 2, "tie_word_embeddings": true}"#;
    let mut stored = vec![
        counting("model.norm.weight", &[4], 0),
        counting("model.layers.2.eh_proj.weight", &[2, 4], 0),
        counting("model.layers.2.input_layernorm.weight", &[4], 0),
        counting("model.layers.0.self_attn.rotary_emb.inv_freq", &[3], 0),
        counting("lm_head.weight", &[2, 2], 0),
    ];
    stored.extend(fp8_tensors("model.layers.2.mlp.down_proj.weight", &[2, 2], &[1.0; 4], [128, 128]));
    stored.extend(fp8_tensors("model.w", &[2, 2], &[1.0; 4], [128, 128]));
    let model = Checkpoint::from_parts(config, file_bytes(stored)).unwrap();
    let report = model.check(&wanted(&[("model.norm.weight", &[4]), ("model.w", &[2, 2])])).unwrap();
    assert_eq!(report.n_tensors, 9);
    assert_eq!(report.size_bytes, 8 + 16 + 8 + 6 + 8 + 2 * (4 + 4));
    assert_eq!(report.load_bytes, 8 + 4 + 4);
    assert_eq!((report.n_mtp_tensors, report.mtp_bytes, report.n_ignored_tensors), (4, 16 + 8 + 8, 2));
    let dtypes: Vec<(Dtype, usize)> = report.dtypes.into_iter().collect();
    assert_eq!(dtypes, [(Dtype::F8E4M3, 2), (Dtype::Bf16, 5), (Dtype::F32, 2)]);
}

/// A BF16 weight beside scales is ambiguous: has it been scaled or not? The scales must not vanish silently.
#[test]
fn scales_of_a_weight_that_is_not_fp8_are_extra() {
    let model = model(vec![counting("w", &[2, 2], 0), tensor("w_scale_inv", Dtype::F32, &[1, 1], &[2.0])]);
    let message = model.check(&wanted(&[("w", &[2, 2])])).unwrap_err().to_string();
    common::assert_holds(&message, &["`w_scale_inv` is not part of the configured model"]);
}

#[test]
fn progress_counts_every_byte_of_a_load() {
    let mut stored = vec![tensor("big", Dtype::F32, &[400, 500], &vec![0.5; 200_000])];
    stored.extend(fp8_tensors("w", &[300, 200], &exact_values(60_000), [128, 128]));
    let model = Checkpoint::from_parts(CONFIG, file_bytes(stored)).unwrap();
    let report = model.check(&wanted(&[("big", &[400, 500]), ("w", &[300, 200])])).unwrap();
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let listener = Arc::clone(&seen);
    model.on_progress(report.load_bytes, move |progress| listener.lock().unwrap().push(progress));
    model.read_f32("big", &[400, 500]).unwrap();
    model.read_f32("w", &[300, 200]).unwrap();
    model.end_progress();
    model.read_f32("w", &[300, 200]).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted_by(|a, b| a.done_bytes < b.done_bytes));
    assert!(seen.len() > 4, "a large tensor is reported in pieces");
    let all = report.load_bytes;
    assert_eq!(seen.last(), Some(&Progress { done_bytes: all, total_bytes: all }));
}

#[test]
fn a_checkpoint_is_shared_between_threads() {
    let model = model(vec![counting("a", &[100], 0), counting("b", &[100], 7)]);
    std::thread::scope(|scope| {
        let reads: Vec<_> = ["a", "b"].map(|name| scope.spawn(|| model.read_f32(name, &[100]).unwrap()[0])).into();
        let firsts: Vec<f32> = reads.into_iter().map(|read| read.join().unwrap()).collect();
        assert_eq!(firsts, [0.0, 7.0]);
    });
}

#[test]
fn an_embedded_model_has_no_folder() {
    let model = model(vec![counting("a", &[1], 0)]);
    assert_eq!(model.folder(), None);
    assert_eq!(model.config_json()["num_hidden_layers"], 2);
    assert_eq!(model.names().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn empty_tensors_read_as_nothing() {
    let mut stored = vec![tensor("a", Dtype::Bf16, &[0, 4], &[])];
    stored.extend([raw("w", Dtype::F8E4M3, &[3, 0], vec![]), tensor("w_scale_inv", Dtype::F32, &[1, 0], &[])]);
    let model = model(stored);
    assert!(model.read_f32("a", &[0, 4]).unwrap().is_empty());
    assert!(model.read_f32("w", &[3, 0]).unwrap().is_empty());
}
