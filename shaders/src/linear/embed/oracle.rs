/// Returns the rows of `table` that `tokens` name.
///
/// # Shapes
/// - table: `[V, I]`
/// - tokens: `[T]`
/// - returned: `[T, I]`
pub fn embed(table: &[f64], tokens: &[u32], i: usize) -> Vec<f64> {
    let mut rows = Vec::new();
    for &token in tokens {
        for column in 0..i {
            rows.push(table[token as usize * i + column]);
        }
    }
    rows
}
