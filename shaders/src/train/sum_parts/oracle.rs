/// Returns `Σ_z parts[z, j]` for each of `n` values.
///
/// # Shapes
/// - parts: `[Z, N]`
/// - returned: `[N]`
pub fn sum_parts(parts: &[f64], n: usize) -> Vec<f64> {
    let mut y = vec![0.0; n];
    for part in parts.chunks(n) {
        for (sum, value) in y.iter_mut().zip(part) {
            *sum += value;
        }
    }
    y
}
