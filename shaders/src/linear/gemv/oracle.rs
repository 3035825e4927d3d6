use crate::dot;

/// Returns `Σ_i x[z, t, i] · W[z, o, i]`.
///
/// # Shapes
/// - x: `[Z, T, I]`
/// - weight: `[Z, O, I]`
/// - returned: `[Z, T, O]`
pub fn gemv(x: &[f64], weight: &[f64], z: usize, i: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for (x, weight) in x.chunks(x.len() / z).zip(weight.chunks(weight.len() / z)) {
        for token in x.chunks(i) {
            for row in weight.chunks(i) {
                y.push(dot(token, row));
            }
        }
    }
    y
}
