use crate::dot;

/// The result of [`sparse_mla`].
#[derive(Clone, Debug, PartialEq)]
pub struct Attended {
    /// `[T, H, C]`
    pub output: Vec<f64>,
    /// Natural logarithm of each head's sum of exponentials, `[T, H]`; `+∞` for a query with no valid slot.
    pub lse: Vec<f64>,
    /// Probability of every slot, `[T, H, K]`; 0 in unfilled slots.
    pub probabilities: Vec<f64>,
}

/// Attends from every query to the rows that its slots name; a slot below 0 or beyond the context is unfilled.
///
/// A query with no valid slot gets zeros.
///
/// # Shapes
/// - q: `[T, H, W]`, with `W` the width of a row
/// - rows: `[S, W]`
/// - indices: `[T, K]`
pub fn sparse_mla(
    q: &[f64],
    rows: &[f64],
    indices: &[i64],
    [n_heads, width, n_slots]: [usize; 3],
    d_latent: usize,
    scale: f64,
) -> Attended {
    let mut attended = Attended { output: Vec::new(), lse: Vec::new(), probabilities: Vec::new() };
    let row = |slot: &i64| usize::try_from(*slot).ok().and_then(|s| rows.get(s * width..(s + 1) * width));
    for (heads, slots) in q.chunks(n_heads * width).zip(indices.chunks(n_slots)) {
        for head in heads.chunks(width) {
            let scores: Vec<Option<f64>> = slots.iter().map(|slot| row(slot).map(|row| scale * dot(head, row))).collect();
            let largest = scores.iter().flatten().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let sum: f64 = scores.iter().flatten().map(|score| (score - largest).exp()).sum();
            let lse = if sum == 0.0 { f64::INFINITY } else { largest + sum.ln() };
            let mut output = vec![0.0; d_latent];
            for (slot, score) in slots.iter().zip(scores) {
                let p = score.map_or(0.0, |score| (score - lse).exp());
                for (u, c) in output.iter_mut().zip(row(slot).unwrap_or_default()) {
                    *u += p * c;
                }
                attended.probabilities.push(p);
            }
            attended.output.extend(output);
            attended.lse.push(lse);
        }
    }
    attended
}
