use super::{SiluMul, silu_mul, silu_mul_grad};
use crate::kernel::Capabilities;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // The sigmoid of ln 3 is 3/4.
    assert_close(&silu_mul(&[0.0, 3.0_f64.ln()], &[5.0, 2.0]), &[0.0, 1.5 * 3.0_f64.ln()], 1e-15);
}

#[test]
fn gradients_are_differences() {
    let (gate, up, dh, step) = ([-1.5, 0.0, 0.7], [2.0, -1.0, 0.5], [1.0, 3.0, -2.0], 1e-6);
    let [dgate, dup] = silu_mul_grad(&gate, &up, &dh);
    for j in 0..gate.len() {
        let value = |gate: f64, up: f64| dh[j] * silu_mul(&[gate], &[up])[0];
        let along_gate = (value(gate[j] + step, up[j]) - value(gate[j] - step, up[j])) / (2.0 * step);
        let along_up = (value(gate[j], up[j] + step) - value(gate[j], up[j] - step)) / (2.0 * step);
        assert_close(&[dgate[j], dup[j]], &[along_gate, along_up], 1e-8);
    }
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    assert!(SiluMul::Forward.launch(8, &device).is_ok());
    assert!(SiluMul::Forward.launch(0, &device).is_err(), "no values");
    assert!(SiluMul::Backward.launch(6, &device).is_err(), "no multiple of 4");
    assert!(SiluMul::Forward.launch(1 << 26, &device).is_err(), "more than a binding");
}
