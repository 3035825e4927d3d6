use sferic_testkit::tolerance::{Mismatch, Tol, compare};

use super::{Red, Table};
use crate::{
    composed::{self, Bug, Setup},
    tiny::*,
};

/// The bugs of the composed layer with their numbers in spec §9.
const COMPOSED: [(&str, Bug); 22] = [
    ("9.1", Bug::IndexRopeInterleaved),
    ("9.2", Bug::KNormIsRms),
    ("9.2", Bug::KNormEps),
    ("9.2", Bug::KNormWithoutBias),
    ("9.4", Bug::IndexRopeOnLast),
    ("9.5", Bug::IndexQueryBeforeNorm),
    ("9.6", Bug::NoRelu),
    ("9.6", Bug::MeanOverHeads),
    ("9.7", Bug::WeightsInBf16),
    ("9.8", Bug::HadamardOnQueryOnly),
    ("9.9", Bug::FutureVisible),
    ("9.10", Bug::KeWithoutSelf),
    ("9.10", Bug::KeOneMore),
    ("9.12", Bug::PaddingReadsTokenZero),
    ("9.14", Bug::ScaleFromRowWidth),
    ("9.15", Bug::MainRopeHalfSplit),
    ("9.16", Bug::EarlyIndexKeysMissing),
    ("9.30", Bug::StaleLatents),
    ("9.25", Bug::PlainScales),
    ("9.25", Bug::Fnuz),
    ("9.26", Bug::KeyScaleForgotten),
    ("9.35", Bug::KvRowsByKind),
];

/// Compares the composed layer with the printed numbers.
fn layer_reds(bug: Option<Bug>) -> Vec<Red> {
    let sparse = composed::run(Setup { bug, ..Setup::default() });
    let dense = composed::run(Setup { bug, dense: true, ..Setup::default() });
    let fp8 = composed::run(Setup { bug, fp8: true, ..Setup::default() });
    let mut reds = Vec::new();
    let mut check = |name: &str, found: &[f64], expected: &[f64]| {
        if let Err(Mismatch { expected, found, .. }) = compare(found, expected, Tol { abs: PRINTED, rel: 0.0 }) {
            reds.push(Red { check: name.into(), number: format!("{found:.6} for {expected:.6}") });
        }
    };
    check("qr", &sparse.qr[Q_RANK..Q_RANK + 4], &QR);
    check("c", &sparse.c[C..C + 4], &LATENT);
    check("kr", &sparse.kr[ROPE..2 * ROPE], &KEY_ROPE);
    check("kI", &sparse.index_keys[INDEX_DIM..2 * INDEX_DIM], &INDEX_KEY);
    for (t, expected) in SCORES.iter().enumerate() {
        check(&format!("scores of row {t}"), &sparse.scores[t * T..t * T + expected.len()], expected);
    }
    check("FP8 scores of row 5", &fp8.scores[5 * T..], &FP8_ROW);
    check("sparse output, row 5", &sparse.output[5 * D..5 * D + 4], &SPARSE_ROW);
    check("sparse output, sum", &[sparse.output.iter().sum()], &[SPARSE_SUM]);
    check("dense output, row 5", &dense.output[5 * D..5 * D + 4], &DENSE_ROW);
    check("dense output, sum", &[dense.output.iter().sum()], &[DENSE_SUM]);
    for (t, expected) in SELECTED.iter().enumerate() {
        let found: Vec<i64> = sparse.slots[t].iter().copied().filter(|slot| *slot >= 0).collect();
        if found != *expected {
            reds.push(Red { check: format!("S_{t}"), number: format!("{found:?} for {expected:?}") });
        }
    }
    reds
}

#[test]
fn bugs_in_the_layer_turn_a_printed_number_red() {
    if let Some(red) = layer_reds(None).first() {
        panic!("without a bug: {} is red: {}", red.check, red.number);
    }
    let mut table = Table::default();
    for (item, bug) in COMPOSED {
        table.add(item, &format!("{bug:?}"), "spec 11.2", layer_reds(Some(bug)));
    }
    table.finish();
}
