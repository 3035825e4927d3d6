use super::sparse_mla;
use crate::tests::assert_close;

/// Rows of one latent and one rotated value: the rotated value counts in the scores and not in the output.
const ROWS: [f64; 6] = [1.0, 0.0, 2.0, 0.0, 4.0, 3.0];

#[test]
fn by_hand() {
    // Scores 0 and ln 3: probabilities 1/4 and 3/4.
    let q = [0.0, 3f64.ln()];
    let attended = sparse_mla(&q, &ROWS, &[0, 2], [1, 2, 2], 1, 1.0 / 3.0);
    assert_close(&attended.probabilities, &[0.25, 0.75], 1e-15);
    assert_close(&attended.output, &[3.25], 1e-14);
    assert_close(&attended.lse, &[4f64.ln()], 1e-15);
}

#[test]
fn unfilled_slots_do_not_count() {
    let q = [0.5, -1.0];
    let alone = sparse_mla(&q, &ROWS, &[1], [1, 2, 1], 1, 0.7);
    let padded = sparse_mla(&q, &ROWS, &[-1, 1, 3], [1, 2, 3], 1, 0.7);
    assert_close(&padded.output, &alone.output, 0.0);
    assert_close(&padded.lse, &alone.lse, 0.0);
}

#[test]
fn a_query_without_slots_gets_zeros() {
    let attended = sparse_mla(&[1.0, 1.0], &ROWS, &[-1, -1], [1, 2, 2], 1, 1.0);
    assert_eq!(attended.output, [0.0]);
    assert_eq!(attended.lse, [f64::INFINITY]);
}
