use super::experts;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Two experts of width 1 in a model of width 1: gate 0 gives silu 0; a large gate gives silu(g) = g to the last bit.
    let gate_up = [0.0, 5.0, 50.0, 2.0];
    let down = [1.0, 0.5];
    let y = experts(&[2.0], &[(0, 9.0), (1, 3.0)], &gate_up, &down, 1);
    assert_close(&y, &[3.0 * 0.5 * 100.0 * 4.0], 1e-12);
}

#[test]
fn silu_of_one() {
    let y = experts(&[1.0], &[(0, 1.0)], &[1.0, 1.0], &[1.0], 1);
    assert_close(&y, &[0.7310585786300049], 1e-15);
}
