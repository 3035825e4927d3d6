use crate::dot;

/// Returns `W_e x` for each assignment, `e` its expert.
///
/// # Shapes
/// - x: `[N, K]`
/// - experts: `[N]`
/// - weights: `[E, O, K]`
/// - returns: `[N, O]`
pub fn grouped(x: &[f64], experts: &[u32], weights: &[f64], o: usize) -> Vec<f64> {
    let k = x.len() / experts.len();
    let mut y = Vec::new();
    for (x, expert) in x.chunks(k).zip(experts) {
        for row in 0..o {
            y.push(dot(&weights[(*expert as usize * o + row) * k..][..k], x));
        }
    }
    y
}
