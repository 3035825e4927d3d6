/// Returns the gradients of x and of the weight: `r · (g_j · dy_j − x_j · r² · mean_k(g_k · dy_k · x_k))` with `r = 1 / sqrt(mean(x²) + eps)`, and
/// `Σ_n dy_j · x_j · r`.
///
/// # Shapes
/// - x, dy, first returned: `[N, D]`
/// - weight, second returned: `[D]`
pub fn rms_norm_grad(x: &[f64], weight: &[f64], dy: &[f64], eps: f64) -> (Vec<f64>, Vec<f64>) {
    let d = weight.len();
    let (mut dx, mut dg) = (Vec::new(), vec![0.0; d]);
    for (x, dy) in x.chunks(d).zip(dy.chunks(d)) {
        let r = 1.0 / (crate::dot(x, x) / d as f64 + eps).sqrt();
        let mut product = 0.0;
        for j in 0..d {
            product += weight[j] * dy[j] * x[j];
            dg[j] += dy[j] * x[j] * r;
        }
        for j in 0..d {
            dx.push(r * (weight[j] * dy[j] - x[j] * r * r * product / d as f64));
        }
    }
    (dx, dg)
}
