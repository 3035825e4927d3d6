/// Returns `y + Σ_a weight_a · part_a` for each token.
///
/// # Shapes
/// - y, returned: `[T, D]`
/// - parts: `[T, A, D]`
/// - expert_weights: `[T, A]`
pub fn combine(y: &[f64], parts: &[f64], expert_weights: &[f64], d: usize) -> Vec<f64> {
    let n_active = expert_weights.len() / (y.len() / d);
    let mut y = y.to_vec();
    for (slot, weight) in expert_weights.iter().enumerate() {
        for j in 0..d {
            y[slot / n_active * d + j] += weight * parts[slot * d + j];
        }
    }
    y
}
