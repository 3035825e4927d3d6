/// Returns the rows of x as columns.
///
/// # Shapes
/// - x: `[R, C]`
/// - returned: `[C, R]`
pub fn transpose(x: &[f64], columns: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for column in 0..columns {
        for row in x.chunks(columns) {
            y.push(row[column]);
        }
    }
    y
}
