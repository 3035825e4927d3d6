/// Returns `Σ_t dy[t, o] · x[t, i]` for each column of `dy` and each column of `x`.
///
/// # Shapes
/// - dy: `[T, O]`
/// - x: `[T, I]`
/// - returned: `[O, I]`
pub fn weight_grad(dy: &[f64], x: &[f64], o: usize, i: usize) -> Vec<f64> {
    let mut dw = vec![0.0; o * i];
    for (dy, x) in dy.chunks(o).zip(x.chunks(i)) {
        for (row, dy) in dw.chunks_mut(i).zip(dy) {
            for (sum, x) in row.iter_mut().zip(x) {
                *sum += dy * x;
            }
        }
    }
    dw
}
