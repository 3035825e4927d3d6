use super::{RandomWeights, WeightFormat, bf16_bits, e4m3_bits, e4m3_value};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Limits};
use crate::quant::e4m3;

#[test]
fn e4m3_agrees_with_its_oracle() {
    for code in 0..=u8::MAX {
        let (found, expected) = (e4m3_value(code), e4m3::decode(code));
        assert!(f64::from(found) == expected || (found.is_nan() && expected.is_nan()), "{code}");
        assert!(found.is_nan() || e4m3_bits(found) == code, "{code}");
    }
    let mut random = Random::new(1);
    for scale in [0.01, 1.0, 30.0, 500.0] {
        for value in random.vector(2000, scale) {
            assert_eq!(f64::from(e4m3_value(e4m3_bits(value))), e4m3::round(f64::from(value)), "{value}");
        }
    }
}

#[test]
fn bf16_rounds_to_even() {
    for (value, bits) in
        [(1.0, 0x3F80), (1.0 + 1.0 / 256.0, 0x3F80), (1.0 + 3.0 / 256.0, 0x3F82), (-2.0, 0xC000), (f32::INFINITY, 0x7F80)]
    {
        assert_eq!(bf16_bits(value), bits, "{value}");
    }
}

/// A group of 32 in every format, by hand: 7 is the largest, so that the scale of q4 is 1 and that of q8 is 7/127.
#[test]
fn layouts_by_hand() {
    let values: Vec<f32> = (0..32).map(|i| (i % 15) as f32 - 7.0).collect();
    let q4 = WeightFormat::Q4.quantize(&values, 1, 32);
    assert_eq!((q4.data[0], q4.data[1], q4.data[7]), (0x21, 0x43, 0x1F));
    assert_eq!(q4.scales, [0x00, 0x3C]);
    assert_eq!(q4.dequantize(), values);
    let q8 = WeightFormat::Q8.quantize(&values, 1, 32);
    assert_eq!((q8.data[0] as i8, q8.data[7] as i8, q8.data[14] as i8), (-127, 0, 127));
    let f16 = WeightFormat::F16.quantize(&values, 1, 32);
    assert_eq!((f16.data.len(), f16.data[17]), (64, 0x3C));
    let fp8 = WeightFormat::Fp8.quantize(&values, 1, 32);
    assert_eq!((fp8.data[0], fp8.scales.len()), (0xFE, 4));
}

#[test]
fn every_format_is_as_near_as_it_claims() {
    let (o, i) = (130, 288);
    let values = Random::new(7).vector(o * i, 3.0);
    // Half a unit in the last place of the largest value: mantissas of 24, 11, 8 and 4 bits; 1/254 of the group's largest; and in q4, whose
    // scale errs least over the group, what the smallest scale of the search, 1/9, cuts off at the end that reaches 7.
    let bounds = [0.0, 2.0_f32.powi(-11), 2.0_f32.powi(-8), 2.0_f32.powi(-4), 1.01 / 254.0, 2.0 / 9.0];
    for (format, bound) in WeightFormat::ALL.into_iter().zip(bounds) {
        let weights = format.quantize(&values, o, i);
        assert_eq!(weights.data.len() as u64, format.bytes(o as u32, i as u32), "{format:?}");
        assert_eq!(weights.scales.len() as u64, format.scale_bytes(o as u32, i as u32), "{format:?}");
        let worst = weights.dequantize().iter().zip(&values).map(|(found, v)| (found - v).abs()).fold(0.0, f32::max);
        assert!(worst <= 3.0 * bound, "{format:?}: {worst}");
        assert!(format == WeightFormat::F32 || worst > 0.1 * bound, "{format:?}: {worst}");
    }
}

#[test]
fn a_random_row_is_the_row_of_the_whole() {
    for format in WeightFormat::ALL {
        let random = RandomWeights { format, z: 2, o: 131, i: 160, seed: 5 };
        let (data, scales) = (random.data().bytes(), random.scales().bytes());
        let (bytes, scale_bytes) = (format.bytes(131, 160) as usize, format.scale_bytes(131, 160) as usize);
        for (z, row) in [(0, 0), (1, 3), (1, 130)] {
            let at = z as usize;
            let whole = super::Weights {
                format,
                o: 131,
                i: 160,
                data: data[at * bytes..][..bytes].to_vec(),
                scales: scales[at * scale_bytes..][..scale_bytes].to_vec(),
            };
            let found = random.row(z, row);
            assert_eq!(found, whole.dequantize_row(row as usize), "{format:?} {z} {row}");
            assert!(found.iter().all(|v| v.is_finite()) && found.iter().any(|&v| v != found[0]), "{format:?}");
        }
    }
}

#[test]
fn ragged_and_oversized_matrices_are_refused() {
    let limits = Capabilities::base().limits;
    assert!(WeightFormat::Q8.check("k", 1, 1, 16, &limits).is_err());
    assert!(WeightFormat::Fp8.check("k", 1, 1, 16, &limits).is_ok());
    assert!(WeightFormat::F16.check("k", 1, 1, 0, &limits).is_err());
    assert!(WeightFormat::F16.check("k", 1, 0, 8, &limits).is_err());
    assert!(WeightFormat::F16.check("k", 0, 1, 8, &limits).is_err());
    let small = Limits { max_binding_bytes: 64, ..limits };
    assert!(WeightFormat::F16.check("k", 2, 2, 8, &small).is_ok());
    assert!(WeightFormat::F16.check("k", 2, 3, 8, &small).is_err());
}
