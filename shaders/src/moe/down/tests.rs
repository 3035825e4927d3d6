#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use super::{Down, Params, down};
use crate::kernel::{Capabilities, WeightFormat};
use crate::moe::{Shape, experts::experts, gate_up::gate_up};
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // One token, two experts of width 1, a model of width 2.
    let weights = [1.0, 2.0, 10.0, 20.0];
    assert_close(&down(&[0.5, -0.5], &[3.0, 4.0], &[1, 0], &[2.0, 0.25], &weights, 2), &[61.5, 121.5], 1e-12);
}

/// The two halves are the whole.
#[test]
fn halves_agree_with_the_oracle_of_the_whole() {
    let (d, i) = (3, 2);
    let value = |k: usize| (k as f64 * 0.7).sin();
    let gate_up_weights: Vec<f64> = (0..2 * 2 * i * d).map(value).collect();
    let down_weights: Vec<f64> = (0..2 * d * i).map(|k| value(k + 100)).collect();
    let x = [0.3, -0.8, 1.1];
    let hidden = gate_up(&x, &[1, 0], &gate_up_weights, d, i);
    let y = down(&[0.0; 3], &hidden, &[1, 0], &[0.6, 0.4], &down_weights, d);
    assert_close(&y, &experts(&x, &[(1, 0.6), (0, 0.4)], &gate_up_weights, &down_weights, i), 1e-12);
}

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let shape = Shape { n_experts: 4, n_active: 2, d: 64, i: 32 };
    let refuses = |shape: Shape, tokens: u32, stride: u32, what: &str| {
        let spec = Down::best(shape, WeightFormat::Q4, &device);
        let error = spec.launch(Params { y_stride: stride, y_offset: 0 }, tokens, &device).expect_err(what).to_string();
        assert!(error.starts_with("moe/down") && error.contains(what), "{error}");
    };
    refuses(Shape { i: 16, ..shape }, 1, 64, "width I is 16, expected a multiple of 32");
    refuses(Shape { d: 0, ..shape }, 1, 64, "rows O is 0");
    refuses(Shape { n_active: 0, ..shape }, 1, 64, "active experts A is 0");
    refuses(shape, 2, 63, "y_stride is 63, expected at least D = 64");
    refuses(shape, 70_000, 64, "workgroups along axis 1");
}
