use crate::dot;

/// Returns the constant `Hi^(−1/2) · Di^(−1/2)` that belongs to the head weights (spec §3.2).
pub fn weight_scale(n_heads: usize, dim: usize) -> f64 {
    (n_heads as f64).powf(-0.5) * (dim as f64).powf(-0.5)
}

/// Returns the score of every key for every query, future keys included.
///
/// # Shapes
/// - q: `[T, Hi, Di]`
/// - k: `[S, Di]`
/// - weights: `[T, Hi]`, with [`weight_scale`] in them
/// - returns: `[T, S]`
pub fn index_scores(q: &[f64], k: &[f64], weights: &[f64], n_heads: usize, dim: usize) -> Vec<f64> {
    let mut scores = Vec::new();
    for (heads, weights) in q.chunks(n_heads * dim).zip(weights.chunks(n_heads)) {
        for key in k.chunks(dim) {
            let mut score = 0.0;
            for (head, w) in heads.chunks(dim).zip(weights) {
                score += w * dot(head, key).max(0.0);
            }
            scores.push(score);
        }
    }
    scores
}
