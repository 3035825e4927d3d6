#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::testing::{engine, prompt};
use pollster::block_on;

/// What our own run gives, as reference values.
fn golden() -> (Engine, Golden) {
    let engine = engine();
    let input_ids = prompt(20);
    let trace = block_on(engine.trace(&TraceRequest { ids: input_ids.clone(), generate: 4, ..TraceRequest::default() })).unwrap();
    let hidden = trace.hidden.into_iter().enumerate().collect();
    (
        engine,
        Golden {
            input_ids,
            logits: trace.logits,
            next_ids: trace.next_ids,
            min_top2_margin: None,
            hidden,
            topk: trace.topk,
            experts: BTreeMap::new(),
        },
    )
}

fn failed(engine: &Engine, golden: &Golden) -> Vec<String> {
    let verification = block_on(engine.verify(golden, VerifyOptions::default())).unwrap();
    let failed: Vec<String> = verification.rows.iter().filter(|row| !row.passed).map(|row| row.check.clone()).collect();
    assert_eq!(verification.passed(), failed.is_empty());
    failed
}

#[test]
fn a_run_equals_itself_however_it_is_fed() {
    let (engine, golden) = golden();
    for options in [
        VerifyOptions::default(),
        VerifyOptions { chunk: Some(7), decode_from: None },
        VerifyOptions { chunk: None, decode_from: Some(1) },
    ] {
        let verification = block_on(engine.verify(&golden, options)).unwrap();
        assert!(verification.passed(), "{verification:?}");
        assert_eq!(verification.bound, CPU_BOUND);
        let checks: Vec<&str> = verification.rows.iter().map(|row| row.check.as_str()).collect();
        assert_eq!(checks, ["logits", "hidden.0", "hidden.1", "topk.0", "topk.1", "next_ids"]);
    }
}

#[test]
fn each_difference_turns_its_own_row_red() {
    let (engine, golden) = golden();
    let changed = |edit: &dyn Fn(&mut Golden)| {
        let mut changed = golden.clone();
        edit(&mut changed);
        failed(&engine, &changed)
    };
    assert_eq!(changed(&|_| ()), Vec::<String>::new());
    assert_eq!(changed(&|golden| golden.logits.values[100] += 3e-4), ["logits"]);
    assert_eq!(changed(&|golden| golden.logits.values[100] += 1e-4), Vec::<String>::new());
    assert_eq!(changed(&|golden| golden.logits.values[0] = f32::NAN), ["logits"]);
    assert_eq!(changed(&|golden| golden.next_ids[3] ^= 1), ["next_ids"]);
    let layer = |golden: &mut Golden| golden.hidden.get_mut(&1).unwrap().values.iter_mut().for_each(|value| *value *= 1.001);
    assert_eq!(changed(&layer), ["hidden.1"]);
    let selection = |golden: &mut Golden| {
        // The last row is full; its smallest position becomes one that was not selected.
        let row = &mut golden.topk.get_mut(&0).unwrap().values[19 * 8..];
        row[7] = (0..20).find(|position| !row.contains(position)).unwrap();
    };
    assert_eq!(changed(&selection), ["topk.0"]);
}

#[test]
fn selections_are_compared_as_sets_and_fillers_do_not_count() {
    let (engine, mut golden) = golden();
    for topk in golden.topk.values_mut() {
        topk.values[..8].reverse();
        topk.values[19 * 8..20 * 8].reverse();
    }
    assert_eq!(failed(&engine, &golden), Vec::<String>::new());
}

#[test]
fn a_selection_that_the_model_does_not_have_fails() {
    let (engine, mut golden) = golden();
    let topk = golden.topk[&0].clone();
    golden.topk.insert(5, topk);
    assert_eq!(failed(&engine, &golden), ["topk.5"]);
}

#[test]
fn experts_are_those_of_a_run_that_agrees() {
    let (engine, mut golden) = golden();
    let experts = block_on(engine.experts_of(&golden)).unwrap();
    assert_eq!(experts.keys().collect::<Vec<_>>(), [&1], "layer 1 is a mixture");
    let matrix = &experts[&1];
    assert_eq!((matrix.n_rows, matrix.n_cols), (20, 2));
    assert!(matrix.rows().all(|row| 0 <= row[0] && row[0] < row[1] && row[1] < 4), "two of four experts, ascending: {matrix:?}");
    assert!(matrix.rows().any(|row| row != matrix.row(0)), "tokens differ in their experts");
    golden.logits.values[100] += 3e-4;
    let error = block_on(engine.experts_of(&golden)).unwrap_err();
    assert!(matches!(&error, EngineError::Reference { tensor, .. } if tensor == "logits"), "{error:?}");
}

#[test]
fn references_of_another_model_are_refused() {
    let (engine, golden) = golden();
    let mut narrow = golden.clone();
    narrow.logits.n_cols -= 1;
    let error = block_on(engine.verify(&narrow, VerifyOptions::default())).unwrap_err();
    assert!(matches!(&error, EngineError::Reference { tensor, .. } if tensor == "logits"), "{error:?}");
    let mut deep = golden;
    let hidden = deep.hidden[&0].clone();
    deep.hidden.insert(2, hidden);
    let error = block_on(engine.verify(&deep, VerifyOptions::default())).unwrap_err();
    assert!(matches!(&error, EngineError::Reference { tensor, .. } if tensor == "hidden.2"), "{error:?}");
}

#[test]
fn reference_files_are_read_and_checked() {
    let (_, golden) = golden();
    let folder = tempfile::tempdir().unwrap();
    type Tensors = Vec<(sferic_weights::TensorMeta, std::borrow::Cow<'static, [u8]>)>;
    let write = |edit: &dyn Fn(&mut Tensors)| {
        use sferic_weights::{Dtype, TensorMeta, bytes_from_f32, bytes_from_i32, bytes_from_i64};
        let ids = |ids: &[u32]| bytes_from_i64(&ids.iter().map(|&token_id| i64::from(token_id)).collect::<Vec<_>>());
        let float = |matrix: &Matrix<f32>| bytes_from_f32(&matrix.values, Dtype::F32).unwrap();
        let topk = &golden.topk[&1];
        let mut tensors = vec![
            (TensorMeta::new("input_ids", Dtype::I64, [20]), ids(&golden.input_ids).into()),
            (TensorMeta::new("next_ids", Dtype::I64, [4]), ids(&golden.next_ids).into()),
            (TensorMeta::new("logits", Dtype::F32, [20, 261]), float(&golden.logits).into()),
            (TensorMeta::new("hidden.0", Dtype::F32, [20, 32]), float(&golden.hidden[&0]).into()),
            (TensorMeta::new("topk.1", Dtype::I32, [20, 8]), bytes_from_i32(&topk.values).into()),
            (TensorMeta::new("experts.1", Dtype::I32, [20, 2]), bytes_from_i32(&[3; 40]).into()),
        ];
        edit(&mut tensors);
        let path = folder.path().join("golden.safetensors");
        sferic_weights::write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
        Golden::open(folder.path())
    };
    let read = write(&|_| ()).unwrap();
    assert_eq!((&read.input_ids, &read.next_ids, &read.logits), (&golden.input_ids, &golden.next_ids, &golden.logits));
    assert_eq!(read.hidden[&0], golden.hidden[&0]);
    assert_eq!(read.topk[&1], golden.topk[&1]);
    assert_eq!((read.hidden.len(), read.topk.len()), (1, 1));
    assert_eq!(read.experts[&1], Matrix { n_rows: 20, n_cols: 2, values: vec![3; 40] });

    let error = write(&|tensors| tensors.retain(|(meta, _)| meta.name != "logits")).unwrap_err();
    assert!(error.to_string().contains("logits"), "{error}");
    let error = write(&|tensors| tensors[2].0.shape = vec![261, 20]).unwrap_err();
    assert!(matches!(&error, EngineError::Reference { tensor, .. } if tensor == "logits"), "{error:?}");
    let error = write(&|tensors| tensors[4].0.dtype = sferic_weights::Dtype::F32).unwrap_err();
    assert!(matches!(error, EngineError::Weights(_)), "{error:?}");
}
