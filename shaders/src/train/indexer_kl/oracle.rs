/// Returns each token's `Σ_s p ln p − p · ln softmax_s(I)` over the keys that it sees, and the gradient of `coefficient` times their sum with
/// respect to the rows of the index.
///
/// `p` is the mean over heads of `softmax_s(scale · q · k[s])`, and `I[s] = Σ_j w_j · max(0, qi_j · ki[s])`; `p` is not differentiated.
///
/// # Shapes
/// - q, k: `[B, T, H, QK]`
/// - index, second result: `[B, T, HI · DI + DI + HI]`, rows of `HI` queries, a key and `HI` weights
/// - keys: `[B · T]`, the keys that each token sees
/// - first result: `[B, T]`
///
/// The last result are the sizes of the terms of each loss and of each gradient: what both would be if every sum were over absolute values, with
/// `p · (1 + |ln p − ln softmax(I)|)` and `softmax(I) + p` for the differences. Rounding errs by shares of these.
pub fn indexer_kl(
    [q, k, index]: [&[f64]; 3],
    keys: &[Vec<u32>],
    [n_tokens, n_heads, qk, index_heads, index_width]: [usize; 5],
    scale: f64,
    coefficient: f64,
) -> (Vec<f64>, Vec<f64>, [Vec<f64>; 2]) {
    let width = (index_heads + 1) * index_width + index_heads;
    let (key_at, weights_at) = (index_heads * index_width, (index_heads + 1) * index_width);
    let mut losses = Vec::new();
    let mut gradients = vec![0.0; index.len()];
    let (mut loss_sizes, mut sizes) = (Vec::new(), vec![0.0; index.len()]);
    for (row, keys) in keys.iter().enumerate() {
        let first = row / n_tokens * n_tokens;
        let mut p = vec![0.0; keys.len()];
        for h in 0..n_heads {
            let head = |token: usize, of: &[f64]| of[(token * n_heads + h) * qk..][..qk].to_vec();
            let query = head(row, q);
            let scores = keys.iter().map(|&s| scale * crate::dot(&query, &head(first + s as usize, k)));
            let shares = softmax(&scores.collect::<Vec<_>>());
            p.iter_mut().zip(shares).for_each(|(p, share)| *p += share / n_heads as f64);
        }
        let own = &index[row * width..][..width];
        let query = |j: usize| &own[j * index_width..][..index_width];
        let key = |s: u32| &index[(first + s as usize) * width + key_at..][..index_width];
        let product = |j: usize, s: u32| crate::dot(query(j), key(s));
        let score = |s: &u32| (0..index_heads).map(|j| own[weights_at + j] * product(j, *s).max(0.0)).sum();
        let pi = softmax(&keys.iter().map(score).collect::<Vec<f64>>());
        losses.push(p.iter().zip(&pi).map(|(p, pi)| p * (p.ln() - pi.ln())).sum());
        loss_sizes.push(p.iter().zip(&pi).map(|(p, pi)| p * (1.0 + (p.ln() - pi.ln()).abs())).sum());
        for ((&s, p), pi) in keys.iter().zip(&p).zip(&pi) {
            let g = coefficient * (pi - p);
            let size = coefficient * (pi + p);
            for j in (0..index_heads).filter(|&j| product(j, s) > 0.0) {
                let weight = own[weights_at + j];
                gradients[row * width + weights_at + j] += g * product(j, s);
                sizes[row * width + weights_at + j] += size * product(j, s);
                for d in 0..index_width {
                    gradients[row * width + j * index_width + d] += g * weight * key(s)[d];
                    gradients[(first + s as usize) * width + key_at + d] += g * weight * query(j)[d];
                    sizes[row * width + j * index_width + d] += size * (weight * key(s)[d]).abs();
                    sizes[(first + s as usize) * width + key_at + d] += size * (weight * query(j)[d]).abs();
                }
            }
        }
    }
    (losses, gradients, [loss_sizes, sizes])
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
    scores.iter().map(|score| (score - largest).exp() / sum).collect()
}
