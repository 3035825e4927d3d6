use super::{Params, RmsNormGrad, rms_norm_grad};
use crate::kernel::Capabilities;
use crate::norm::rms_norm::rms_norm;
use crate::tests::assert_close;

#[test]
fn gradients_are_differences() {
    let (x, weight, dy) = ([1.0, -2.0, 0.5, 3.0, 0.1, 0.2], [1.5, -0.5, 2.0], [0.3, 1.0, -0.7, 2.0, -1.0, 0.4]);
    let (eps, step) = (0.01, 1e-6);
    let objective = |x: &[f64], weight: &[f64]| crate::dot(&rms_norm(x, weight, eps), &dy);
    let (dx, dg) = rms_norm_grad(&x, &weight, &dy, eps);
    for j in 0..x.len() {
        let [mut more, mut less] = [x; 2];
        more[j] += step;
        less[j] -= step;
        assert_close(&[dx[j]], &[(objective(&more, &weight) - objective(&less, &weight)) / (2.0 * step)], 1e-8);
    }
    for j in 0..weight.len() {
        let [mut more, mut less] = [weight; 2];
        more[j] += step;
        less[j] -= step;
        assert_close(&[dg[j]], &[(objective(&x, &more) - objective(&x, &less)) / (2.0 * step)], 1e-8);
    }
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    let launch = |params: Params| RmsNormGrad::best(params.d, &device).launch(params, &device);
    let fits = Params { n: 10, d: 48, rows: 4, eps: 1e-6 };
    assert!(launch(fits).is_ok());
    assert!(launch(Params { n: 0, ..fits }).is_err(), "no rows");
    assert!(launch(Params { rows: 0, ..fits }).is_err(), "parts without rows");
    assert!(launch(Params { d: 0, ..fits }).is_err(), "no columns");
    assert!(launch(Params { d: 5000, ..fits }).is_err(), "too many columns for the registers");
    assert!(launch(Params { n: 1 << 20, ..fits }).is_err(), "more than a binding");
    assert!(RmsNormGrad { columns: 1, ..RmsNormGrad::best(48, &device) }.launch(Params { d: 300, ..fits }, &device).is_err());
}
