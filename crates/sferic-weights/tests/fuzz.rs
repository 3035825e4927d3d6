//! Random and mutated files: an error or tensors that lie in the file, never a panic, and the same verdict as the reference reader.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CONFIG, counting, file_bytes, raw, tensor, with_header};
use proptest::prelude::*;
use safetensors::SafeTensors;
use sferic_weights::{Checkpoint, Dtype, SafeFile};

/// Opens a file and, if it opens, reads everything in it in every way.
fn exercise(bytes: &[u8]) {
    let Ok(file) = SafeFile::from_bytes("fuzz", bytes.to_vec()) else {
        return;
    };
    for config in [CONFIG, GROUPED] {
        exercise_model(&file, &Checkpoint::from_parts(config, bytes.to_vec()).unwrap());
    }
}

fn exercise_model(file: &SafeFile, checkpoint: &Checkpoint) {
    for name in file.names() {
        let shape = file.shape(name).unwrap();
        let n_values: usize = shape.iter().product();
        assert_eq!(file.bytes(name).unwrap().len(), n_values * file.dtype(name).unwrap().size_bytes());
        for n_read in [file.f32(name).map(|v| v.len()), file.i64(name).map(|v| v.len()), file.i32(name).map(|v| v.len())] {
            assert!(n_read.is_err() || n_read.is_ok_and(|n| n == n_values));
        }
        if let Ok(values) = checkpoint.read_f32(name, shape) {
            assert_eq!(values.len(), n_values);
        }
        // Two codes in a byte.
        if let Some((&width, rows)) = shape.split_last() {
            let twice = [rows, &[width.wrapping_mul(2)]].concat();
            for shape in [shape, &twice] {
                let codes = checkpoint.read_quantized(name, shape);
                let values = checkpoint.read_f32(name, shape);
                assert!(codes.is_ok() == values.is_ok());
                if let (Ok(Some(codes)), Ok(values)) = (codes, values) {
                    assert!(codes.dequantize().iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
                }
            }
        }
    }
    let wanted: Vec<(String, Vec<usize>)> =
        file.names().map(|name| (name.to_owned(), file.shape(name).unwrap().to_vec())).collect();
    drop(checkpoint.check(&wanted));
    drop(checkpoint.check(&[]));
}

/// What we accept the reference must accept; it may accept more (sub-byte types, repeated names).
fn agree(bytes: &[u8]) {
    let theirs = SafeTensors::deserialize(bytes);
    if let Ok(ours) = SafeFile::from_bytes("fuzz", bytes.to_vec()) {
        let theirs = theirs.unwrap();
        assert_eq!(ours.names().len(), theirs.len());
        for name in ours.names() {
            assert_eq!(ours.bytes(name).unwrap(), theirs.tensor(name).unwrap().data());
        }
    }
}

/// A configuration that says that bytes are codes.
const GROUPED: &str =
    r#"{"num_hidden_layers": 2, "quantization_config": {"quant_method": "sferic", "format": "q8", "group_size": 32}}"#;

/// A valid file with each kind of tensor.
fn valid() -> Vec<u8> {
    file_bytes(vec![
        counting("model.norm.weight", &[3], 0),
        tensor("model.w", Dtype::F32, &[2, 2], &[0.0, 1.0, f32::NAN, -1.0]),
        raw("model.q", Dtype::F8E4M3, &[2, 3], vec![0x38; 6]),
        tensor("model.q_scale_inv", Dtype::F32, &[1, 1], &[0.5]),
        raw("model.q8", Dtype::I8, &[1, 32], vec![0x7F; 32]),
        tensor("model.q8_scale", Dtype::F16, &[1, 1], &[0.5]),
        raw("model.q4", Dtype::U8, &[2, 16], vec![0x9A; 32]),
        tensor("model.q4_scale", Dtype::F16, &[2, 1], &[0.5, -1.0]),
        raw("ids", Dtype::I64, &[2], vec![1; 16]),
    ])
}

/// Numbers at which arithmetic tends to break.
fn edge_number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..20, Just(u64::MAX), Just(u64::MAX / 2 + 1), Just(1 << 32), Just(1 << 62), any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
        agree(&bytes);
    }

    #[test]
    fn random_headers(header in "[\\[\\]{}:,\"a-z0-9 .\\-]{0,80}", data in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = with_header(&header, &data);
        exercise(&bytes);
        agree(&bytes);
    }

    #[test]
    fn mutated_files(mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0usize..20) {
        let mut bytes = valid();
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut);
        exercise(&bytes);
        agree(&bytes);
    }

    #[test]
    fn headers_with_any_numbers(
        tensors in prop::collection::vec((0usize..6, prop::collection::vec(edge_number(), 0..4), edge_number(), edge_number()), 0..4),
        n_data in 0usize..30,
    ) {
        let dtypes = ["U8", "BF16", "F32", "F8_E4M3", "I64", "I8"];
        let entries: Vec<String> = tensors.iter().enumerate().map(|(i, (dtype_idx, shape, begin, end))| {
            let name = ["t", "t_scale", "t_scale_inv", "u"][i];
            format!(r#""{name}":{{"dtype":"{}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#, dtypes[*dtype_idx])
        }).collect();
        let bytes = with_header(&format!("{{{}}}", entries.join(",")), &vec![0; n_data]);
        exercise(&bytes);
        agree(&bytes);
    }

    #[test]
    fn any_configuration(config in "[\\[\\]{}:,\"a-z0-9_ .\\-]{0,60}") {
        drop(Checkpoint::from_parts(&config, valid()));
    }
}

#[test]
fn the_seed_of_the_mutations_is_read_in_full() {
    let file = SafeFile::from_bytes("seed", valid()).unwrap();
    assert_eq!(file.names().len(), 9);
    let checkpoint = Checkpoint::from_parts(CONFIG, valid()).unwrap();
    assert_eq!(checkpoint.read_f32("model.q", &[2, 3]).unwrap(), [0.5; 6]);
    let grouped = Checkpoint::from_parts(GROUPED, valid()).unwrap();
    assert_eq!(grouped.read_f32("model.q8", &[1, 32]).unwrap(), [63.5; 32]);
    let q4 = grouped.read_f32("model.q4", &[2, 32]).unwrap();
    assert_eq!((&q4[..3], &q4[32..35]), (&[1.0, 0.5, 1.0][..], &[-2.0, -1.0, -2.0][..]));
}
