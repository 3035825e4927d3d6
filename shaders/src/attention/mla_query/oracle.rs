use crate::dot;
use crate::rope::rotate::{Layout, rotate};

/// Returns `[Σ_n W[c, n] · q[n] | rope(q[Dn..])]` for one head.
///
/// # Shapes
/// - q: `[Dn + R]`
/// - weight: `[C, Dn]`
/// - inv_freq: `[R/2]`
/// - returned: `[C + R]`
pub fn mla_query(q: &[f64], weight: &[f64], position: usize, inv_freq: &[f64], layout: Layout) -> Vec<f64> {
    let (nope, rotated) = q.split_at(q.len() - 2 * inv_freq.len());
    let mut out: Vec<f64> = weight.chunks(nope.len()).map(|row| dot(row, nope)).collect();
    out.extend(rotate(rotated, &[position], inv_freq, layout));
    out
}
