use super::{decode, round};

/// Spec §11.1, "e4m3 RNE".
#[test]
fn roundings_of_the_spec() {
    let tiny = 2f64.powi(-10);
    let cases = [
        (0.3, 0.3125),
        (1.0625, 1.0),
        (1.1875, 1.25),
        (17.0, 16.0),
        (19.0, 20.0),
        (432.0, 448.0),
        (440.0, 448.0),
        (tiny, 0.0),
        (3.0 * tiny, 4.0 * tiny),
        (0.001, 2.0 * tiny),
    ];
    for (x, expected) in cases {
        assert_eq!(round(x), expected, "{x}");
        assert_eq!(round(-x), -expected, "{}", -x);
    }
}

#[test]
fn limits_of_the_format() {
    assert_eq!(decode(0x7E), 448.0);
    assert_eq!(decode(0x08), 2f64.powi(-6));
    assert_eq!(decode(0x01), 2f64.powi(-9));
    assert!(decode(0x7F).is_nan() && decode(0xFF).is_nan());
    assert_eq!(round(1e9), 448.0);
    assert!(round(-0.0).is_sign_negative());
}
