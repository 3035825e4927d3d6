/// Returns the value of a code; `0x7F` and `0xFF` are NaN.
pub fn decode(code: u8) -> f64 {
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(code >> 3 & 0xF), f64::from(code & 7));
    sign * match (exponent, mantissa) {
        (15, 7.0) => f64::NAN,
        (0, mantissa) => mantissa / 8.0 * 2f64.powi(-6),
        (exponent, mantissa) => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
    }
}

/// Returns the nearest value of the format, by looking at all of them; of two equally near the one with the even code, and ±448 beyond the range.
pub fn round(x: f64) -> f64 {
    let mut best = 0u8;
    for code in 0..0x7F {
        let (distance, best_distance) = ((x.abs() - decode(code)).abs(), (x.abs() - decode(best)).abs());
        if distance < best_distance || (distance == best_distance && code % 2 == 0) {
            best = code;
        }
    }
    decode(best).copysign(x)
}
