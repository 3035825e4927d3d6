#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{IndexerKl, indexer_kl};
use crate::kernel::{Capabilities, random::Random};
use crate::tests::assert_close;
use crate::train::{Sizes, Visible};

#[test]
fn by_hand() {
    // One head each: attention 1/4 and 3/4, index scores 0 (cut off at −2) and 0, so that both are 1/2.
    let q = [0.0, 3f64.ln()];
    let index = [0.0, -1.0, 9.0, 2.0, 0.0, 1.0];
    let (loss, gradients, _) = indexer_kl([&q, &[0.0, 1.0], &index], &[vec![0], vec![0, 1]], [2, 1, 1, 1, 1], 1.0, 1.0);
    assert_close(&loss, &[0.0, 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln()], 1e-14);
    assert_close(&gradients, &[0.0; 6], 1e-14);
}

#[test]
fn the_oracle_agrees_with_differences() {
    let sizes = [6, 2, 3, 2, 3];
    let keys: Vec<Vec<u32>> = (0..6).map(|t| (t / 3..=t).collect()).collect();
    let mut random = Random::new(5);
    let mut vector = |n: usize| random.vector(n, 1.0).into_iter().map(f64::from).collect::<Vec<_>>();
    let (q, k, index) = (vector(36), vector(36), vector(66));
    let loss = |index: &[f64]| indexer_kl([&q, &k, index], &keys, sizes, 0.7, 1.0).0.iter().sum::<f64>();
    let differences: Vec<f64> = (0..index.len())
        .map(|i| {
            let [up, down] = [1e-5, -1e-5].map(|step| {
                let mut moved = index.clone();
                moved[i] += step;
                loss(&moved)
            });
            0.5 * (up - down) / 2e-5
        })
        .collect();
    assert_close(&indexer_kl([&q, &k, &index], &keys, sizes, 0.7, 0.5).1, &differences, 1e-9);
}

#[test]
fn the_target_is_its_own_minimum() {
    // One head whose scores are those of the index: nothing is left to learn.
    let mut random = Random::new(6);
    let mut vector = |n: usize| random.vector(n, 1.0).into_iter().map(|x| f64::from(x.abs())).collect::<Vec<_>>();
    let (q, k) = (vector(8), vector(8));
    let index: Vec<f64> = (0..4).flat_map(|t| [q[2 * t], q[2 * t + 1], k[2 * t], k[2 * t + 1], 1.0]).collect();
    let keys: Vec<Vec<u32>> = (0..4).map(|t| (0..=t).collect()).collect();
    let (loss, gradients, _) = indexer_kl([&q, &k, &index], &keys, [4, 1, 2, 1, 2], 1.0, 1.0);
    assert_close(&loss, &[0.0; 4], 1e-14);
    assert_close(&gradients, &[0.0; 20], 1e-14);
}

#[test]
fn what_a_launch_refuses() {
    let device = Capabilities::base();
    let spec = IndexerKl { qk: 32, heads: 2, index_heads: 4, index_width: 16, visible: Visible::Causal, lanes: None };
    let sizes = Sizes { b: 1, t: 40, h: 2, scale: 0.25 };
    assert_eq!(spec.row(), 84);
    assert_eq!(spec.launches(&sizes, 1.0, &device).unwrap().map(|launch| launch.workgroups), [[2, 1, 1]; 3]);
    let refused = |spec: IndexerKl, sizes: Sizes| spec.launches(&sizes, 1.0, &device).unwrap_err().to_string();
    assert_eq!(
        [
            refused(spec, Sizes { b: 0, ..sizes }),
            refused(spec, Sizes { h: 3, ..sizes }),
            refused(IndexerKl { index_heads: 6, ..spec }, sizes),
            refused(IndexerKl { index_width: 24, ..spec }, sizes),
            refused(IndexerKl { lanes: Some(32), ..spec }, sizes),
        ],
        [
            "train/indexer_kl: sequences B is 0, expected at least 1",
            "train/indexer_kl: heads H is 3, expected 2",
            "train/indexer_kl: heads of the indexer is 6, expected a multiple of 4 up to 64",
            "train/indexer_kl: width of a head is 24, expected a multiple of 16 up to 256",
            "train/indexer_kl: lanes of a subgroup is 32, expected those that sums and rows fit",
        ]
    );
}
