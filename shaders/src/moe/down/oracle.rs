use crate::dot;

/// Returns `y + Σ_a weight_a · down_a hidden_a` for each token.
///
/// # Shapes
/// - y, returned: `[T, D]`
/// - hidden: `[T, A, I]`
/// - experts, expert_weights: `[T, A]`
/// - down: `[E, D, I]`
pub fn down(y: &[f64], hidden: &[f64], experts: &[u32], expert_weights: &[f64], down: &[f64], d: usize) -> Vec<f64> {
    let (n_tokens, i) = (y.len() / d, hidden.len() / experts.len());
    let n_active = experts.len() / n_tokens;
    let mut y = y.to_vec();
    for (slot, (expert, weight)) in experts.iter().zip(expert_weights).enumerate() {
        for j in 0..d {
            let row = &down[(*expert as usize * d + j) * i..][..i];
            y[slot / n_active * d + j] += weight * dot(row, &hidden[slot * i..][..i]);
        }
    }
    y
}
