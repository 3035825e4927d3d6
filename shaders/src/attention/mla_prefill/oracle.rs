use crate::attention::mla_decode::mla_decode;

/// Returns `u_h = Σ_s softmax_s(scale · q_h · row_s) · row_s[0..C]` for many queries: the formula of [`mla_decode`], whose shapes hold here
/// too.
pub fn mla_prefill(
    q: &[f64],
    rows: &[f64],
    block_table: &[u32],
    slots: &[i64],
    sizes: [usize; 3],
    d_latent: usize,
    scale: f64,
) -> Vec<f64> {
    mla_decode(q, rows, block_table, slots, sizes, d_latent, scale)
}
