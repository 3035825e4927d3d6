use crate::quant::e4m3;

/// Returns the smallest power of two that is at least `max(amax, 1e-4) / 448`.
pub fn ue8m0_scale(amax: f64) -> f64 {
    let least = amax.max(1e-4) / 448.0;
    let mut scale = 2f64.powi(-60);
    while scale < least {
        scale *= 2.0;
    }
    scale
}

/// Returns the e4m3 values `round(x / scale)` and the scale of each block; the last block may be short.
///
/// # Shapes
/// - x: `[n]`, one row
/// - returns: values `[n]`, scales `[ceil(n / block)]`
pub fn act_quant(x: &[f64], block: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut values, mut scales) = (Vec::new(), Vec::new());
    for block in x.chunks(block) {
        let mut amax = 0.0;
        for v in block {
            amax = v.abs().max(amax);
        }
        let scale = ue8m0_scale(amax);
        values.extend(block.iter().map(|v| e4m3::round(v / scale)));
        scales.push(scale);
    }
    (values, scales)
}
