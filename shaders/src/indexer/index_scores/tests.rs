#![allow(clippy::panic, reason = "tests stop at the first surprise")]

use super::{IndexScores, KeyFormat, Params, Tiling, Unit, index_scores, weight_scale};
use crate::kernel::{Capabilities, Features, KernelError, Limits, SubgroupSizes};
use crate::tests::assert_close;

/// Spec §11.1.
#[test]
fn constant_of_the_spec() {
    assert_close(&[weight_scale(64, 128)], &[0.011048543456039806], 1e-17);
}

#[test]
fn by_hand() {
    // Two queries of two heads, two keys. Negative products are cut off before the weights, which may be negative, apply.
    let q = [1.0, 0.0, 0.0, -1.0, 2.0, 2.0, -1.0, 0.0];
    let k = [3.0, 1.0, -1.0, -2.0];
    let weights = [1.0, 10.0, -0.5, 4.0];
    assert_close(&index_scores(&q, &k, &weights, 2, 2), &[3.0, 20.0, -4.0, 4.0], 1e-15);
}

const SPEC: IndexScores = IndexScores { heads: 64, dim: 128, keys: KeyFormat::F16, unit: Unit::Fma };
const PARAMS: Params =
    Params { t: 2, s: 100, q_stride: 8192, q_offset: 0, w_stride: 64, w_offset: 0, scores_stride: 128, table_stride: 0 };

fn with_coopmat() -> Capabilities {
    let base = Capabilities::base();
    let limits = Limits { max_workgroup_bytes: 48 << 10, ..base.limits };
    Capabilities { features: Features::COOPMAT, subgroup: SubgroupSizes { min: 32, max: 32 }, limits }
}

#[test]
fn sizes_that_do_not_fit_are_refused_by_name() {
    let device = Capabilities::base();
    assert!(SPEC.launch(PARAMS, &device).is_ok());
    for (spec, params, named) in [
        (IndexScores { heads: 0, ..SPEC }, PARAMS, "heads Hi"),
        (IndexScores { dim: 24, ..SPEC }, PARAMS, "width Di"),
        (SPEC, Params { t: 0, ..PARAMS }, "query rows T"),
        (SPEC, Params { s: 0, ..PARAMS }, "keys S"),
        (SPEC, Params { q_stride: 8190, ..PARAMS }, "q_stride"),
        (SPEC, Params { q_stride: 8193, ..PARAMS }, "q_stride"),
        (SPEC, Params { q_offset: 2, ..PARAMS }, "q_offset"),
        (SPEC, Params { w_stride: 63, ..PARAMS }, "w_stride"),
        (SPEC, Params { scores_stride: 99, ..PARAMS }, "scores_stride"),
    ] {
        match spec.launch(params, &device) {
            Err(KernelError::Shape { what, .. }) => assert_eq!(what, named),
            other => panic!("{named}: {other:?}"),
        }
    }
    let long = Params { s: 1 << 24, scores_stride: 1 << 24, ..PARAMS };
    assert!(matches!(SPEC.launch(long, &device), Err(KernelError::Limit { .. })));
}

#[test]
fn cooperative_matrices_take_what_they_are_laid_out_for() {
    let device = with_coopmat();
    let best = IndexScores::best(64, 128, KeyFormat::F16, 1, &device);
    let Unit::Coopmat(tiling) = best.unit else { panic!("no cooperative matrices") };
    assert!(IndexScores { unit: Unit::Coopmat(Tiling { lanes: 64, ..tiling }), ..best }.launch(PARAMS, &device).is_err());
    assert!(IndexScores { unit: Unit::Coopmat(Tiling { groups: 3, ..tiling }), ..best }.launch(PARAMS, &device).is_err());
    for (heads, dim, keys) in [(65, 128, KeyFormat::F16), (64, 48, KeyFormat::F16), (64, 128, KeyFormat::F32)] {
        assert!(
            IndexScores { heads, dim, keys, ..best }
                .launch(Params { q_stride: 65 * 128, w_stride: 65, ..PARAMS }, &device)
                .is_err()
        );
        assert_eq!(IndexScores::best(heads, dim, keys, 1, &device).unit, Unit::Fma);
    }
    // Rows of a wide workgroup can be too many to stage even 16 dimensions of.
    let wide = IndexScores { heads: 16, dim: 32, unit: Unit::Coopmat(Tiling { groups: 8, ..tiling }), ..best };
    assert!(wide.launch(PARAMS, &device).is_err());
    // Where workgroup memory is short, f32 does it.
    assert_eq!(
        IndexScores::best(64, 128, KeyFormat::F16, 1, &Capabilities { limits: Limits::default(), ..device }).unit,
        Unit::Fma
    );
    // Subgroups whose size the driver chooses cannot be laid out ahead.
    let varying = Capabilities { subgroup: SubgroupSizes { min: 32, max: 64 }, ..device };
    assert_eq!(IndexScores::best(64, 128, KeyFormat::F16, 1, &varying).unit, Unit::Fma);
}

#[test]
fn queries_with_tables_of_their_own_stand_alone() {
    let own = Params { t: 5, q_stride: 2048, table_stride: 2, ..PARAMS };
    for device in [Capabilities::base(), with_coopmat()] {
        for heads in [4, 16] {
            let together = IndexScores::best(heads, 128, KeyFormat::F16, 64, &device);
            let Err(KernelError::Shape { what, .. }) = together.launch(own, &device) else { panic!("{together:?}") };
            assert_eq!(what, "queries of a workgroup");
            let alone = IndexScores::best_alone(heads, 128, KeyFormat::F16, &device);
            assert_eq!(alone.launch(own, &device).map(|launch| launch.workgroups[0]), Ok(5));
        }
    }
}

#[test]
fn long_contexts_are_divided_among_workgroups() {
    let device = with_coopmat();
    let grid = |t, s| {
        let params = Params { t, s, scores_stride: s, ..PARAMS };
        IndexScores::best(64, 128, KeyFormat::F16, t, &device).launch(params, &device).map(|launch| launch.workgroups)
    };
    assert_eq!(grid(1, 64), Ok([1, 1, 1]));
    assert_eq!(grid(1, 16_384), Ok([1, 256, 1]));
    assert_eq!(grid(1, 131_072), Ok([1, 512, 1]));
    assert_eq!(grid(16, 131_072), Ok([8, 128, 1]));
}
