//! The layer of spec §11.2 composed from the f64 oracles of `sferic-shaders`.
//!
//! It shares no code with `sferic-ops` and `sferic-model`, so that both can be compared with it, and it carries the bugs that the model
//! cannot express.

use sferic_shaders::{
    attention::sparse_mla::sparse_mla,
    indexer::{
        index_scores::{index_scores, weight_scale},
        top_k::top_k,
    },
    norm::{layer_norm::layer_norm, rms_norm::rms_norm},
    quant::{act_quant::act_quant, e4m3, hadamard::hadamard},
    rope::rotate::{Layout, inv_freq, rotate},
};

use crate::tiny::*;

/// A bug of spec §9, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// 1: the indexer rotates interleaved pairs.
    IndexRopeInterleaved,
    /// 2: `k_norm` as RMSNorm.
    KNormIsRms,
    /// 2: `k_norm` with PyTorch's default epsilon.
    KNormEps,
    /// 2: `k_norm` without its bias.
    KNormWithoutBias,
    /// 4: the last components of an index head are rotated.
    IndexRopeOnLast,
    /// 5: index queries from the latent before its norm.
    IndexQueryBeforeNorm,
    /// 6: no ReLU.
    NoRelu,
    /// 6: the mean over heads.
    MeanOverHeads,
    /// 7: head weights rounded to bf16.
    WeightsInBf16,
    /// 8: the Hadamard transform on the query side only.
    HadamardOnQueryOnly,
    /// 9: rows below `k` keep the future positions that fill their selection.
    FutureVisible,
    /// 10: a query does not see its own position.
    KeWithoutSelf,
    /// 10: a query sees one position too many.
    KeOneMore,
    /// 12: unfilled slots read token 0.
    PaddingReadsTokenZero,
    /// 14: the softmax scale from the width of a cache row.
    ScaleFromRowWidth,
    /// 15: main rotation of half-split pairs.
    MainRopeHalfSplit,
    /// 16: index keys of the first `k` tokens are not cached.
    EarlyIndexKeysMissing,
    /// 24, 30: the rows after a dropped suffix still hold the dropped tokens' latents.
    StaleLatents,
    /// 25: FP8 scales that are no powers of two.
    PlainScales,
    /// 25: codes read with the bias of older AMD cards, which halves every value.
    Fnuz,
    /// 26: the key's FP8 scale is not applied.
    KeyScaleForgotten,
    /// 35: rows of `kv_b` read as all key rows and then all value rows.
    KvRowsByKind,
}

/// What the layer computes.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `[T, Q_RANK]`
    pub qr: Vec<f64>,
    /// `[T, C]`
    pub c: Vec<f64>,
    /// `[T, ROPE]`
    pub kr: Vec<f64>,
    /// `[T, INDEX_DIM]`, after the Hadamard transform.
    pub index_keys: Vec<f64>,
    /// `[T, T]`, future positions included.
    pub scores: Vec<f64>,
    /// The slots of each query; `−1` is unfilled.
    pub slots: Vec<Vec<i64>>,
    /// `[T, D]`
    pub output: Vec<f64>,
    /// Head-averaged attention of each query, on its slots.
    pub target: Vec<Vec<f64>>,
}

impl Outcome {
    /// Returns the mean over rows of `KL(target || softmax(scores))` on the slots.
    pub fn kl(&self) -> f64 {
        let mut total = 0.0;
        for (t, slots) in self.slots.iter().enumerate() {
            let scores: Vec<f64> = slots.iter().filter(|s| **s >= 0).map(|s| self.scores[t * T + *s as usize]).collect();
            let sum: f64 = scores.iter().map(|score| score.exp()).sum();
            for (p, score) in self.target[t].iter().zip(&scores) {
                total += p * (p.ln() - (score - sum.ln()));
            }
        }
        total / T as f64
    }
}

/// How the layer is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// Attend to every past token.
    pub dense: bool,
    /// FP8 index queries and keys.
    pub fp8: bool,
    /// The bug switched on.
    pub bug: Option<Bug>,
}

/// Runs the layer.
pub fn run(setup: Setup) -> Outcome {
    let has = |bug| setup.bug == Some(bug);
    let x = input();
    let positions: Vec<usize> = (0..T).collect();
    let main_layout = if has(Bug::MainRopeHalfSplit) { Layout::HalfSplit } else { Layout::Interleaved };

    let latent_query = linear(&x, &weight("q_a_proj.weight"), D);
    let qr = rms_norm(&latent_query, &weight("q_a_layernorm.weight"), EPS);
    let a = linear(&x, &weight("kv_a_proj_with_mqa.weight"), D);
    let mut c = rms_norm(&columns(&a, C + ROPE, 0, C), &weight("kv_a_layernorm.weight"), EPS);
    let kr = rotate(&columns(&a, C + ROPE, C, ROPE), &positions, &inv_freq(THETA, ROPE, None), main_layout);

    let index_input = if has(Bug::IndexQueryBeforeNorm) { &latent_query } else { &qr };
    let (scores, index_keys) = index(&x, index_input, setup);
    let slots: Vec<Vec<i64>> = (0..T).map(|t| select(&scores[t * T..(t + 1) * T], t, setup)).collect();
    if has(Bug::StaleLatents) {
        // Tokens 4 and 5 had been at positions 2 and 3 before the cut.
        c.copy_within(4 * C..6 * C, 2 * C);
    }
    let (output, target) = attend(&qr, &c, &kr, &slots, main_layout, setup);
    Outcome { qr, c, kr, index_keys, scores, slots, output, target }
}

/// Returns the index scores of all positions and the index keys.
fn index(x: &[f64], qr: &[f64], setup: Setup) -> (Vec<f64>, Vec<f64>) {
    let has = |bug| setup.bug == Some(bug);
    let keys = linear(x, &weight("indexer.wk.weight"), D);
    let (g, b) = (weight("indexer.k_norm.weight"), weight("indexer.k_norm.bias"));
    let keys = match setup.bug {
        Some(Bug::KNormIsRms) => rms_norm(&keys, &g, EPS),
        Some(Bug::KNormEps) => layer_norm(&keys, &g, &b, 1e-5),
        Some(Bug::KNormWithoutBias) => layer_norm(&keys, &g, &[0.0; INDEX_DIM], EPS),
        _ => layer_norm(&keys, &g, &b, EPS),
    };
    let mut keys = hadamard_unless(has(Bug::HadamardOnQueryOnly), rotate_index(&keys, 1, setup));
    let queries = rotate_index(&linear(qr, &weight("indexer.wq_b.weight"), Q_RANK), INDEX_HEADS, setup);
    let mut queries = hadamard_unless(false, queries);
    if has(Bug::EarlyIndexKeysMissing) {
        keys[..K * INDEX_DIM].fill(0.0);
    }
    let plain_keys = keys.clone();
    if setup.fp8 {
        queries = quantise(&queries, setup);
        keys = quantise(&keys, setup);
    }
    let scale = weight_scale(INDEX_HEADS, INDEX_DIM);
    let mut weights: Vec<f64> = linear(x, &weight("indexer.weights_proj.weight"), D).iter().map(|w| w * scale).collect();
    if has(Bug::WeightsInBf16) {
        weights.iter_mut().for_each(|w| *w = f64::from(f32::from_bits(((*w as f32).to_bits() + 0x8000) & 0xFFFF_0000)));
    }
    let mut scores = index_scores(&queries, &keys, &weights, INDEX_HEADS, INDEX_DIM);
    if has(Bug::NoRelu) {
        // Without the cut a query is the weighted sum of its heads.
        for (t, row) in scores.chunks_mut(T).enumerate() {
            for (score, key) in row.iter_mut().zip(keys.chunks(INDEX_DIM)) {
                let heads =
                    queries[t * INDEX_HEADS * INDEX_DIM..].chunks(INDEX_DIM).zip(&weights[t * INDEX_HEADS..]).take(INDEX_HEADS);
                *score = heads.map(|(q, w)| w * q.iter().zip(key).map(|(a, b)| a * b).sum::<f64>()).sum();
            }
        }
    }
    if has(Bug::MeanOverHeads) {
        scores.iter_mut().for_each(|score| *score /= INDEX_HEADS as f64);
    }
    (scores, plain_keys)
}

/// Rotates the first components of every index head.
fn rotate_index(v: &[f64], n_heads: usize, setup: Setup) -> Vec<f64> {
    let layout = match setup.bug {
        Some(Bug::IndexRopeInterleaved) => Layout::Interleaved,
        _ => Layout::HalfSplit,
    };
    let first = if setup.bug == Some(Bug::IndexRopeOnLast) { INDEX_DIM - ROPE } else { 0 };
    let positions: Vec<usize> = (0..T * n_heads).map(|row| row / n_heads).collect();
    let rotated = rotate(&columns(v, INDEX_DIM, first, ROPE), &positions, &inv_freq(THETA, ROPE, None), layout);
    let mut v = v.to_vec();
    for (row, rotated) in v.chunks_mut(INDEX_DIM).zip(rotated.chunks(ROPE)) {
        row[first..first + ROPE].copy_from_slice(rotated);
    }
    v
}

fn hadamard_unless(skipped: bool, v: Vec<f64>) -> Vec<f64> {
    if skipped { v } else { hadamard(&v, INDEX_DIM) }
}

/// Rounds every index vector to FP8 and back.
fn quantise(v: &[f64], setup: Setup) -> Vec<f64> {
    v.chunks(INDEX_DIM)
        .flat_map(|row| {
            let amax = row.iter().fold(1e-4, |a: f64, b| a.max(b.abs()));
            let (codes, scales) = act_quant(row, INDEX_DIM);
            let scaled = |by: f64| codes.iter().map(|code| code * by).collect();
            match setup.bug {
                Some(Bug::PlainScales) => {
                    row.iter().map(|v| e4m3::round(v / (amax / 448.0)) * (amax / 448.0)).collect::<Vec<f64>>()
                }
                Some(Bug::Fnuz) => scaled(scales[0] / 2.0),
                Some(Bug::KeyScaleForgotten) if v.len() == T * INDEX_DIM => scaled(1.0),
                _ => scaled(scales[0]),
            }
        })
        .collect()
}

/// Returns the slots of the query at position `t`.
fn select(row: &[f64], t: usize, setup: Setup) -> Vec<i64> {
    let n_visible = match setup.bug {
        Some(Bug::KeWithoutSelf) => t.max(1),
        Some(Bug::KeOneMore) => (t + 2).min(T),
        _ => t + 1,
    };
    let k = if setup.dense { T } else { K };
    let mut slots: Vec<i64> = top_k(&row[..n_visible], k).into_iter().map(|s| s as i64).collect();
    let filler = |slot: usize| match setup.bug {
        Some(Bug::PaddingReadsTokenZero) => 0,
        Some(Bug::FutureVisible) => slot as i64,
        _ => -1,
    };
    slots.extend((slots.len()..k).map(filler));
    slots
}

/// Returns the layer's output and the head-averaged probabilities of each query's slots.
fn attend(qr: &[f64], c: &[f64], kr: &[f64], slots: &[Vec<i64>], layout: Layout, setup: Setup) -> (Vec<f64>, Vec<Vec<f64>>) {
    let width = C + ROPE;
    let kv_b = weight("kv_b_proj.weight");
    // The rows of head `h`: first the keys', then the values'.
    let head_rows = |head: usize, is_value: bool| -> &[f64] {
        let (per_head, kind) = (NOPE + VALUE, usize::from(is_value) * NOPE);
        let first = match setup.bug {
            Some(Bug::KvRowsByKind) => usize::from(is_value) * HEADS * NOPE + head * NOPE,
            _ => head * per_head + kind,
        };
        &kv_b[first * C..(first + NOPE) * C]
    };
    let rows: Vec<f64> = c.chunks(C).zip(kr.chunks(ROPE)).flat_map(|(c, kr)| [c, kr].concat()).collect();
    let queries = linear(qr, &weight("q_b_proj.weight"), Q_RANK);
    let positions: Vec<usize> = (0..T * HEADS).map(|row| row / HEADS).collect();
    let rope = rotate(&columns(&queries, NOPE + ROPE, NOPE, ROPE), &positions, &inv_freq(THETA, ROPE, None), layout);
    let mut absorbed = Vec::new();
    for (row, (query, rope)) in queries.chunks(NOPE + ROPE).zip(rope.chunks(ROPE)).enumerate() {
        let w_uk = head_rows(row % HEADS, false);
        absorbed.extend((0..C).map(|j| (0..NOPE).map(|i| query[i] * w_uk[i * C + j]).sum::<f64>()));
        absorbed.extend(rope);
    }
    let scale = match setup.bug {
        Some(Bug::ScaleFromRowWidth) => (width as f64).powf(-0.5),
        _ => ((NOPE + ROPE) as f64).powf(-0.5),
    };
    let (mut output, mut target) = (Vec::new(), Vec::new());
    for (query, slots) in absorbed.chunks(HEADS * width).zip(slots) {
        let attended = sparse_mla(query, &rows, slots, [HEADS, width, slots.len()], C, scale);
        let values: Vec<f64> =
            (0..HEADS).flat_map(|head| linear(&attended.output[head * C..(head + 1) * C], head_rows(head, true), C)).collect();
        output.extend(linear(&values, &weight("o_proj.weight"), HEADS * VALUE));
        let of_slot = |slot: usize| attended.probabilities.iter().skip(slot).step_by(slots.len()).sum::<f64>() / HEADS as f64;
        target.push((0..slots.len()).filter(|slot| slots[*slot] >= 0).map(of_slot).collect());
    }
    (output, target)
}

/// Returns `x · Wᵀ` for rows of `x` and `W` of length `d_in`.
fn linear(x: &[f64], weight: &[f64], d_in: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    x.chunks(d_in).flat_map(|x| weight.chunks(d_in).map(move |w| dot(x, w))).collect()
}

/// Returns `len` columns from `first` on of rows of length `width`.
fn columns(x: &[f64], width: usize, first: usize, len: usize) -> Vec<f64> {
    x.chunks(width).flat_map(|row| &row[first..first + len]).copied().collect()
}
