use super::{Heads, Pass, heads, heads_grad};
use crate::kernel::Capabilities;
use crate::rope::rotate::Layout;
use crate::tests::assert_close;
use crate::train::Widths;

fn spec() -> Heads {
    Heads { n_heads: 2, d_nope: 1, d_rope: 2, d_value: 1, widths: Widths { qk: 4, v: 2 }, layout: Layout::Interleaved }
}

#[test]
fn by_hand() {
    // The second token is turned by a quarter.
    let turn = [std::f64::consts::FRAC_PI_2];
    let q_rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let kv_rows = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0];
    let [q, k, v] = heads(&spec(), 2, [&q_rows, &kv_rows, &[7.0, 8.0, 7.0, 8.0]], &turn);
    assert_close(&q, &[1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0, 1.0, -3.0, 2.0, 0.0, 4.0, -6.0, 5.0, 0.0], 1e-14);
    assert_close(&k, &[10.0, 7.0, 8.0, 0.0, 30.0, 7.0, 8.0, 0.0, 50.0, -8.0, 7.0, 0.0, 70.0, -8.0, 7.0, 0.0], 1e-14);
    assert_close(&v, &[20.0, 0.0, 40.0, 0.0, 60.0, 0.0, 80.0, 0.0], 0.0);
}

#[test]
fn gradients_are_the_transpose() {
    // The operation is linear: <heads(x), y> = <x, heads_grad(y)>.
    let (spec, turn) = (spec(), [0.7]);
    let series = |n: usize, step: f64| (0..n).map(|i| (i as f64 * step).sin()).collect::<Vec<f64>>();
    let rows = [series(12, 0.3), series(8, 0.7), series(4, 1.1)];
    let up = [series(16, 0.9), series(16, 1.3), series(8, 0.2)];
    let values = heads(&spec, 2, rows.each_ref().map(Vec::as_slice), &turn);
    let grads = heads_grad(&spec, 2, up.each_ref().map(Vec::as_slice), &turn);
    let product = |a: &[Vec<f64>; 3], b: &[Vec<f64>; 3]| a.iter().zip(b).map(|(a, b)| crate::dot(a, b)).sum::<f64>();
    assert_close(&[product(&values, &up)], &[product(&rows, &grads)], 1e-13);
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    let launch = |spec: Heads, n, t| spec.launch(Pass::Forward, n, t, &device);
    assert!(launch(spec(), 6, 3).is_ok());
    assert!(launch(spec(), 0, 3).is_err(), "no tokens");
    assert!(launch(spec(), 7, 3).is_err(), "half a sequence");
    assert!(launch(Heads { d_rope: 3, ..spec() }, 6, 3).is_err(), "an odd rotated width");
    assert!(launch(Heads { widths: Widths { qk: 2, v: 2 }, ..spec() }, 6, 3).is_err(), "QK is too narrow");
    assert!(launch(Heads { d_value: 3, ..spec() }, 6, 3).is_err(), "V is too narrow");
    assert!(launch(Heads { n_heads: 0, ..spec() }, 6, 3).is_err(), "no heads");
    assert!(launch(spec(), 1 << 23, 1 << 10).is_err(), "more than a binding");
}
