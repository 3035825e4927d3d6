use super::{act_quant, ue8m0_scale};

/// Spec §3.5, goldens of `ue8m0`.
#[test]
fn scales_of_the_spec() {
    for (amax, exponent) in [(1.0, -8), (448.0, 0), (449.0, 1), (1e-4, -22), (0.0, -22), (3.5, -7), (0.02, -14)] {
        assert_eq!(ue8m0_scale(amax), 2f64.powi(exponent), "{amax}");
    }
}

/// Spec §11.1.
#[test]
fn block_of_the_spec() {
    let (values, scales) = act_quant(&[0.1, -0.25, 3.5, -1.7, 0.003], 128);
    assert_eq!(values, [13.0, -32.0, 448.0, -224.0, 0.375]);
    assert_eq!(scales, [2f64.powi(-7)]);
}

#[test]
fn blocks_have_their_own_scales() {
    let (values, scales) = act_quant(&[1.0, 448.0, 3.5], 2);
    assert_eq!(scales, [1.0, 2f64.powi(-7)]);
    assert_eq!(values, [1.0, 448.0, 448.0]);
}
