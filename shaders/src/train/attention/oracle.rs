/// Returns `o[t] = Σ_s softmax_s(scale · q[t] · k[s]) · v[s]` of each head, and `ln Σ_s exp(scale · q[t] · k[s])`.
///
/// # Shapes
/// - q, k: `[B, T, H, QK]`
/// - v: `[B, T, H, V]`
/// - keys: `[B · T]`, the keys `s` that each token sees, at least one
/// - returns: `[B, T, H, V]` and `[B, H, T]`
pub fn attention(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    keys: &[Vec<u32>],
    [n_tokens, n_heads, qk, width]: [usize; 4],
    scale: f64,
) -> (Vec<f64>, Vec<f64>) {
    let mut o = vec![0.0; keys.len() * n_heads * width];
    let mut lse = vec![0.0; keys.len() * n_heads];
    for (row, keys) in keys.iter().enumerate() {
        let (b, t) = (row / n_tokens, row % n_tokens);
        for h in 0..n_heads {
            let at = |token: usize| (b * n_tokens + token) * n_heads + h;
            let query = &q[at(t) * qk..][..qk];
            let score = |s: &u32| scale * crate::dot(query, &k[at(*s as usize) * qk..][..qk]);
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            let log_sum = largest + sum.ln();
            lse[(b * n_heads + h) * n_tokens + t] = log_sum;
            for (s, score) in keys.iter().zip(scores) {
                for j in 0..width {
                    o[at(t) * width + j] += (score - log_sum).exp() * v[at(*s as usize) * width + j];
                }
            }
        }
    }
    (o, lse)
}
