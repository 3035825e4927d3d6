/// Returns `g_j · (x_j − mean) / sqrt(var + eps) + b_j`, with the variance over `D` and not over `D − 1`.
///
/// # Shapes
/// - x, returned: `[N, D]`
/// - weight, bias: `[D]`
pub fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let d = weight.len();
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks(d) {
        let mean = row.iter().sum::<f64>() / d as f64;
        let mut sum = 0.0;
        for v in row {
            sum += (v - mean) * (v - mean);
        }
        let root = (sum / d as f64 + eps).sqrt();
        for ((v, g), b) in row.iter().zip(weight).zip(bias) {
            y.push(g * (v - mean) / root + b);
        }
    }
    y
}
