#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{AttentionGrad, Side, attention_grad};
use crate::kernel::{Capabilities, random::Random};
use crate::tests::assert_close;
use crate::train::attention::attention;
use crate::train::{Sizes, Tiles, Visible, Widths};

#[test]
fn by_hand() {
    // Probabilities 1/4 and 3/4, values 1 and 5: do = 2 makes slopes 2 and 10, of mean 8, and d = −3/2 and 3/2.
    let q = [0.0, 3f64.ln()];
    let [dq, dk, dv] = attention_grad([&q, &[0.0, 1.0], &[1.0, 5.0], &[0.0, 2.0]], &[vec![0], vec![0, 1]], [2, 1, 1, 1], 1.0);
    assert_close(&dq, &[0.0, 1.5], 1e-14);
    assert_close(&dk, &[-1.5 * 3f64.ln(), 1.5 * 3f64.ln()], 1e-14);
    assert_close(&dv, &[0.5, 1.5], 1e-14);
}

#[test]
fn the_oracle_agrees_with_differences() {
    let sizes = [5, 2, 3, 2];
    let keys: Vec<Vec<u32>> = (0..5).map(|t| (t / 2..=t).collect()).collect();
    let mut random = Random::new(3);
    let mut vector = |n: usize| random.vector(n, 1.0).into_iter().map(f64::from).collect::<Vec<_>>();
    let (q, k, v, d_o) = (vector(30), vector(30), vector(20), vector(20));
    let found = attention_grad([&q, &k, &v, &d_o], &keys, sizes, 0.7);
    let loss = |inputs: &[Vec<f64>; 3]| {
        let (o, _) = attention(&inputs[0], &inputs[1], &inputs[2], &keys, sizes, 0.7);
        crate::dot(&o, &d_o)
    };
    let inputs = [q.clone(), k.clone(), v.clone()];
    for (which, gradient) in found.iter().enumerate() {
        let differences: Vec<f64> = (0..gradient.len())
            .map(|i| {
                let [up, down] = [1e-5, -1e-5].map(|step| {
                    let mut moved = inputs.clone();
                    moved[which][i] += step;
                    loss(&moved)
                });
                (up - down) / 2e-5
            })
            .collect();
        assert_close(gradient, &differences, 1e-9);
    }
}

#[test]
fn what_a_launch_refuses() {
    let device = Capabilities::base();
    let widths = Widths { qk: 32, v: 16 };
    let sizes = Sizes { b: 1, t: 40, h: 2, scale: 0.25 };
    let spec = AttentionGrad { side: Side::Keys, widths, visible: Visible::Causal, tiles: Tiles::Fma };
    assert_eq!(spec.launch(&sizes, &device).unwrap().workgroups, [2, 2, 1]);
    let refused = |spec: AttentionGrad, sizes: Sizes| spec.launch(&sizes, &device).unwrap_err().to_string();
    assert_eq!(
        [
            refused(spec, Sizes { h: 0, ..sizes }),
            refused(AttentionGrad { widths: Widths { v: 20, ..widths }, ..spec }, sizes),
            // Either gradient could be bound, both together cannot.
            refused(AttentionGrad { widths: Widths { qk: 256, v: 256 }, ..spec }, Sizes { t: 40_960, ..sizes }),
            AttentionGrad::dots(8, &sizes, &device).unwrap_err().to_string(),
        ],
        [
            "train/attention_grad: heads H is 0, expected at least 1",
            "train/attention_grad: width of a head is 20, expected a multiple of 16 up to 256",
            "train/attention_grad: needs 209715200 bytes of a buffer, the adapter allows 134217728",
            "train/attention_grad: width of a head is 8, expected a multiple of 16 up to 256",
        ]
    );
}
