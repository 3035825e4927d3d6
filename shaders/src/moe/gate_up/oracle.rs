use crate::dot;

/// Returns `silu(gate_e x) · (up_e x)` of each token's chosen experts.
///
/// # Shapes
/// - x: `[T, D]`, normalised already
/// - experts: `[T, A]`
/// - gate_up: `[E, 2I, D]`, gate rows first
/// - returns: `[T, A, I]`
pub fn gate_up(x: &[f64], experts: &[u32], gate_up: &[f64], d: usize, i: usize) -> Vec<f64> {
    let n_active = experts.len() / (x.len() / d);
    let mut hidden = Vec::new();
    for (slot, expert) in experts.iter().enumerate() {
        let x = &x[slot / n_active * d..][..d];
        let row = |row: usize| &gate_up[(*expert as usize * 2 * i + row) * d..][..d];
        for j in 0..i {
            let (gate, up) = (dot(row(j), x), dot(row(i + j), x));
            hidden.push(gate / (1.0 + (-gate).exp()) * up);
        }
    }
    hidden
}
