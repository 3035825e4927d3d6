use crate::dot;

/// Returns the weighted sum of the chosen experts' outputs for one token.
///
/// # Shapes
/// - x, returned: `[D]`
/// - chosen: expert and weight of each active expert
/// - gate_up: `[E, 2I, D]`, gate rows first
/// - down: `[E, D, I]`
pub fn experts(x: &[f64], chosen: &[(usize, f64)], gate_up: &[f64], down: &[f64], width: usize) -> Vec<f64> {
    let d_model = x.len();
    let mut y = vec![0.0; d_model];
    for (expert_idx, weight) in chosen {
        let rows = &gate_up[expert_idx * 2 * width * d_model..(expert_idx + 1) * 2 * width * d_model];
        let rows: Vec<&[f64]> = rows.chunks(d_model).collect();
        let mut hidden = Vec::new();
        for i in 0..width {
            let (gate, up) = (dot(rows[i], x), dot(rows[width + i], x));
            hidden.push(gate / (1.0 + (-gate).exp()) * up);
        }
        let rows = &down[expert_idx * d_model * width..(expert_idx + 1) * d_model * width];
        for (y, row) in y.iter_mut().zip(rows.chunks(width)) {
            *y += weight * dot(row, &hidden);
        }
    }
    y
}
