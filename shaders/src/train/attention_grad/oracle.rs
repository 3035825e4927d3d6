/// Returns the gradients of queries, keys and values of attention, from the gradient of its output.
///
/// With `p` the probabilities of a token over the keys that it sees: `dv[s] += p[s] do`, `d[s] = p[s] · (do · v[s] − Σ_r p[r] do · v[r])`,
/// `dq += scale · d[s] k[s]`, `dk[s] += scale · d[s] q`.
///
/// # Shapes
/// - q, k: `[B, T, H, QK]`
/// - v, d_o: `[B, T, H, V]`
/// - keys: `[B · T]`, the keys that each token sees
/// - returns: `[B, T, H, QK]`, `[B, T, H, QK]`, `[B, T, H, V]`
pub fn attention_grad(
    [q, k, v, d_o]: [&[f64]; 4],
    keys: &[Vec<u32>],
    [n_tokens, n_heads, qk, width]: [usize; 4],
    scale: f64,
) -> [Vec<f64>; 3] {
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for (row, keys) in keys.iter().enumerate() {
        let (b, t) = (row / n_tokens, row % n_tokens);
        for h in 0..n_heads {
            let at = |token: usize| (b * n_tokens + token) * n_heads + h;
            let query = &q[at(t) * qk..][..qk];
            let slope = &d_o[at(t) * width..][..width];
            let scores: Vec<f64> = keys.iter().map(|&s| scale * crate::dot(query, &k[at(s as usize) * qk..][..qk])).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            let p: Vec<f64> = scores.iter().map(|score| (score - largest).exp() / sum).collect();
            let slopes: Vec<f64> = keys.iter().map(|&s| crate::dot(slope, &v[at(s as usize) * width..][..width])).collect();
            let mean = crate::dot(&p, &slopes);
            for ((&s, p), slope_of_p) in keys.iter().zip(p).zip(slopes) {
                let d = scale * p * (slope_of_p - mean);
                for j in 0..width {
                    dv[at(s as usize) * width + j] += p * slope[j];
                }
                for j in 0..qk {
                    dq[at(t) * qk + j] += d * k[at(s as usize) * qk + j];
                    dk[at(s as usize) * qk + j] += d * query[j];
                }
            }
        }
    }
    [dq, dk, dv]
}
