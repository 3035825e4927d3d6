/// Returns `Σ_i x[t, i] · W[o, i]` for each row of `x` and each row of the weight.
///
/// # Shapes
/// - x: `[T, I]`
/// - weight: `[O, I]`
/// - returned: `[T, O]`
pub fn gemm(x: &[f64], weight: &[f64], i: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for x in x.chunks(i) {
        for w in weight.chunks(i) {
            y.push(crate::dot(x, w));
        }
    }
    y
}
