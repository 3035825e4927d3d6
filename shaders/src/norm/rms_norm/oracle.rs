/// Returns `g_j · x_j / sqrt(mean(x²) + eps)`.
///
/// # Shapes
/// - x, returned: `[N, D]`
/// - weight: `[D]`
pub fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let d = weight.len();
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks(d) {
        let mut sum = 0.0;
        for v in row {
            sum += v * v;
        }
        let root = (sum / d as f64 + eps).sqrt();
        for (v, g) in row.iter().zip(weight) {
            y.push(g * v / root);
        }
    }
    y
}
