/// Returns the sum of the rows of `dh` for each id.
///
/// # Shapes
/// - ids: `[T]`
/// - dh: `[T, D]`
/// - returned: `[V, D]`
pub fn embed_grad(ids: &[usize], dh: &[f64], vocab: usize) -> Vec<f64> {
    let d = dh.len() / ids.len();
    let mut table = vec![0.0; vocab * d];
    for (id, row) in ids.iter().zip(dh.chunks(d)) {
        for (sum, value) in table[id * d..][..d].iter_mut().zip(row) {
            *sum += value;
        }
    }
    table
}
