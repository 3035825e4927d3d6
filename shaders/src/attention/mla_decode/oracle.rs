use crate::attention::sparse_mla::sparse_mla;

/// Returns `u_h = Σ_s softmax_s(scale · q_h · row_s) · row_s[0..C]`, where position `s` is the row `block_table[s / 64] · 64 + s mod 64`.
///
/// # Shapes
/// - q: `[T, H, W]`, with `W` the width of a row
/// - rows: `[pages · 64, W]`
/// - slots: `[T, K]`, positions; below 0 where unfilled
/// - returns: `[T, H, C]`
pub fn mla_decode(
    q: &[f64],
    rows: &[f64],
    block_table: &[u32],
    slots: &[i64],
    [n_heads, width, n_slots]: [usize; 3],
    d_latent: usize,
    scale: f64,
) -> Vec<f64> {
    let row = |slot: &i64| if *slot < 0 { -1 } else { i64::from(block_table[*slot as usize / 64]) * 64 + slot % 64 };
    let physical: Vec<i64> = slots.iter().map(row).collect();
    sparse_mla(q, rows, &physical, [n_heads, width, n_slots], d_latent, scale).output
}
