/// Returns `y_i = n^(−1/2) · Σ_j (−1)^popcount(i & j) · x_j`: Sylvester's matrix in its natural order, `n` a power of two.
///
/// # Shapes
/// - x, returned: `[N, n]`
pub fn hadamard(x: &[f64], n: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks(n) {
        for i in 0..n {
            let mut sum = 0.0;
            for (j, v) in row.iter().enumerate() {
                sum += if (i & j).count_ones() % 2 == 0 { *v } else { -v };
            }
            y.push(sum / (n as f64).sqrt());
        }
    }
    y
}
