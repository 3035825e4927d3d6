#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use super::*;
use sferic_gpu::Selection;

fn options(dtype: CacheDtype) -> AttentionOptions {
    let shape = Shape { heads: 5, index_heads: 6, selected: 32, ..Shape::V2_LITE };
    AttentionOptions { shape, dtype, queries: vec![1, 3], lengths: vec![16, 100], samples: 3, prefill: false, short: false }
}

fn report(options: &AttentionOptions) -> Option<AttentionReport> {
    let selection = std::env::var("SFERIC_ADAPTER").map_or(Selection::Best, Selection::Named);
    match pollster::block_on(Device::open(&selection)) {
        Ok(device) => {
            let report = attention(&device, options, async |_| ControlFlow::Continue(()));
            Some(pollster::block_on(report).unwrap())
        }
        Err(GpuError::NoAdapter { .. }) if std::env::var_os("SFERIC_REQUIRE_GPU").is_none() => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_row_passes_its_gate_and_has_times() {
    for dtype in [CacheDtype::F16, CacheDtype::Fp8] {
        let Some(report) = report(&options(dtype)) else { return };
        let sizes: Vec<_> = report.rows.iter().map(|row| [row.queries, row.cached]).collect();
        assert_eq!(sizes, [[1, 16], [1, 100], [3, 16], [3, 100]]);
        for row in &report.rows {
            let figures = row.figures.as_ref().unwrap_or_else(|| panic!("{:?}", row.reason));
            let parts = [figures.scores, figures.top_k, figures.attention, figures.sparse, figures.dense.unwrap()];
            assert!(parts.iter().all(|part| part.microseconds > 0.0 && part.samples >= 3), "{row:?}");
        }
        assert!(!report.failed());
    }
}

#[test]
fn a_run_that_is_ended_has_the_rows_that_there_are() {
    let Some(device) = pollster::block_on(Device::open(&Selection::Best)).ok() else { return };
    let options = AttentionOptions { short: true, prefill: true, ..options(CacheDtype::F16) };
    let mut heard = Vec::new();
    let report = attention(&device, &options, async |doing| {
        heard.push((doing.what.to_owned(), doing.done, doing.total));
        if doing.done < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let report = pollster::block_on(report).unwrap();
    assert_eq!(report.rows.len(), 1);
    assert!(report.prefill.is_none());
    let heard: Vec<_> = heard.iter().map(|(what, done, total)| (what.as_str(), *done, *total)).collect();
    assert_eq!(heard, [("copy", 0, 6), ("1 queries, 16 tokens", 1, 6), ("1 queries, 100 tokens", 2, 6)]);
}

#[test]
fn a_wrong_result_is_a_failure_without_a_time() {
    let Some(device) = pollster::block_on(Device::open(&Selection::Best)).ok() else { return };
    let options = options(CacheDtype::F16);
    // Each damage to what the oracle sees is one that a kernel could do to its output.
    type Damage = fn(&mut Layer);
    let damages: [(&str, Damage); 3] = [
        ("score of query", |layer| layer.inputs.keys.fill(0)),
        ("output of query", |layer| layer.inputs.latents.fill(0)),
        ("score of query", |layer| layer.inputs.queries.weights.iter_mut().for_each(|w| *w += 1.0)),
    ];
    for (what, damage) in damages {
        let mut layer = Layer::new(&device, &options, [3, 100], false).unwrap();
        assert_eq!(pollster::block_on(layer.check(&device)).unwrap(), Ok(()));
        damage(&mut layer);
        let reason = pollster::block_on(layer.check(&device)).unwrap().unwrap_err();
        assert!(reason.contains(what), "{reason}");
    }
}

#[test]
fn a_prefill_passes_its_gate_and_has_no_dense_figure() {
    let Some(device) = pollster::block_on(Device::open(&Selection::Best)).ok() else { return };
    for dtype in [CacheDtype::F16, CacheDtype::Fp8] {
        let row = pollster::block_on(measure(&device, &options(dtype), [40, 100], true, 0.0)).unwrap();
        let figures = row.figures.unwrap_or_else(|| panic!("{:?}", row.reason));
        assert!(figures.dense.is_none() && figures.attention.microseconds > 0.0);
    }
}

#[test]
fn a_limit_of_the_adapter_is_a_row_that_says_so() {
    let Some(device) = pollster::block_on(Device::open(&Selection::Best)).ok() else { return };
    let shape = Shape { selected: 5000, ..options(CacheDtype::F16).shape };
    let options = AttentionOptions { shape, ..options(CacheDtype::F16) };
    let row = pollster::block_on(measure(&device, &options, [1, 100], false, 0.0)).unwrap();
    assert!(row.figures.is_none());
    assert!(row.reason.unwrap().starts_with("skipped: indexer/top_k"));
}

#[test]
fn numbers_from_outside_are_checked() {
    let good = options(CacheDtype::F16);
    assert_eq!(good.check(), Ok(()));
    for (queries, lengths, part) in [
        (vec![0], vec![64], "0 queries"),
        (vec![5000], vec![8192], "5000 queries"),
        (vec![1], vec![0], "0 cached"),
        (vec![1], vec![1 << 21], "2097152 cached"),
        (vec![16, 2], vec![64, 15], "16 queries do not fit in 15"),
    ] {
        let bad = AttentionOptions { queries, lengths, ..good.clone() };
        let reason = bad.check().unwrap_err();
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(AttentionOptions::default_lengths(true), [1024, 2048, 4096]);
    assert_eq!(AttentionOptions::default_lengths(false).last(), Some(&131_072));
}
