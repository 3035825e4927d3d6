use super::{CrossEntropy, Params, cross_entropy};
use crate::kernel::Capabilities;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Odds 1 : 3.
    let (loss, grad) = cross_entropy(&[0.0, 3.0_f64.ln()], &[1], 8.0);
    assert_close(&loss, &[(4.0_f64 / 3.0).ln()], 1e-15);
    assert_close(&grad, &[2.0, -2.0], 1e-14);
}

#[test]
fn gradients_are_differences() {
    let (logits, targets, step) = ([0.5, -1.0, 2.0, 0.0, 0.3, -0.2], [2, 0], 1e-6);
    let (_, grads) = cross_entropy(&logits, &targets, 1.0);
    for j in 0..logits.len() {
        let [mut more, mut less] = [logits; 2];
        more[j] += step;
        less[j] -= step;
        let sum = |logits: &[f64]| cross_entropy(logits, &targets, 1.0).0.iter().sum::<f64>();
        assert_close(&[grads[j]], &[(sum(&more) - sum(&less)) / (2.0 * step)], 1e-8);
    }
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    let launch = |rows, vocab| CrossEntropy::best(&device).launch(Params { rows, vocab, scale: 1.0 }, &device);
    assert!(launch(70_000, 7).is_ok(), "more rows than one dimension of a grid");
    assert!(launch(0, 7).is_err(), "no rows");
    assert!(launch(7, 0).is_err(), "no logits");
    assert!(launch(8192, 8192).is_err(), "more than a binding");
}
