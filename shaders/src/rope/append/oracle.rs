use crate::norm::{layer_norm::layer_norm, rms_norm::rms_norm};
use crate::quant::hadamard::hadamard;
use crate::rope::rotate::{Layout, rotate};

/// Returns `[g · c / sqrt(mean(c²) + eps) | rope(k_pe)]`, before the cache's format.
///
/// # Shapes
/// - kv, returned: `[C + R]`
/// - weight: `[C]`
/// - inv_freq: `[R/2]`
pub fn latent_row(kv: &[f64], weight: &[f64], eps: f64, position: usize, inv_freq: &[f64], layout: Layout) -> Vec<f64> {
    let (latent, key) = kv.split_at(weight.len());
    let mut row = rms_norm(latent, weight, eps);
    row.extend(rotate(key, &[position], inv_freq, layout));
    row
}

/// Returns an index query with its first `R` components rotated and then, where asked for, all of them transformed.
///
/// # Shapes
/// - v, returned: `[Di]`
/// - inv_freq: `[R/2]`
pub fn index_query(v: &[f64], position: usize, inv_freq: &[f64], layout: Layout, transform: bool) -> Vec<f64> {
    let (front, back) = v.split_at(2 * inv_freq.len());
    let mut row = rotate(front, &[position], inv_freq, layout);
    row.extend(back);
    if transform { hadamard(&row, v.len()) } else { row }
}

/// Returns the index key of one token: normalised, then as a query.
///
/// # Shapes
/// - k, weight, bias, returned: `[Di]`
/// - inv_freq: `[R/2]`
pub fn index_key(
    k: &[f64],
    (weight, bias, eps): (&[f64], &[f64], f64),
    position: usize,
    inv_freq: &[f64],
    layout: Layout,
    transform: bool,
) -> Vec<f64> {
    index_query(&layer_norm(k, weight, bias, eps), position, inv_freq, layout, transform)
}
