// Narrow number formats, rounded to nearest even by their bits, so that caches hold the same bytes on every adapter.

fn f16_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7FFFFFFFu;
    if magnitude > 0x7F800000u {
        return sign | 0x7E00u;
    }
    if magnitude >= 0x477FF000u {
        return sign | 0x7C00u;
    }
    if magnitude < 0x38800000u {
        // Below the smallest normal: the addition rounds at the last bit of an f16 subnormal.
        return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3F000000u);
    }
    return sign | ((magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13u) & 1u)) >> 13u);
}

fn pack_f16(low: f32, high: f32) -> u32 {
    return f16_bits(low) | (f16_bits(high) << 16u);
}

fn bf16_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    if (bits & 0x7FFFFFFFu) > 0x7F800000u {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7FFFu + ((bits >> 16u) & 1u)) >> 16u;
}

fn pack_bf16(low: f32, high: f32) -> u32 {
    return bf16_bits(low) | (bf16_bits(high) << 16u);
}

// The code of a value in e4m3fn; beyond ±448 it saturates.
fn e4m3_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = min(bits & 0x7FFFFFFFu, 0x43E00000u);
    let sign = (bits >> 24u) & 0x80u;
    if magnitude < 0x3C800000u {
        // Subnormal: multiples of 2^-9; 8 of them are the code of the smallest normal, 2^-6.
        return sign | u32(round(bitcast<f32>(magnitude) * 512.0));
    }
    return sign | (((magnitude + 0x7FFFFu + ((magnitude >> 20u) & 1u)) >> 20u) - 960u);
}

fn pack_e4m3(values: vec4<f32>) -> u32 {
    return e4m3_bits(values.x) | (e4m3_bits(values.y) << 8u) | (e4m3_bits(values.z) << 16u) | (e4m3_bits(values.w) << 24u);
}

// The value of a code of e4m3fn that is not NaN.
fn e4m3_value(code: u32) -> f32 {
    let magnitude = code & 0x7Fu;
    var value = f32(magnitude) * 0.001953125;
    if magnitude >= 8u {
        value = bitcast<f32>((magnitude + 960u) << 20u);
    }
    return select(value, -value, (code & 0x80u) != 0u);
}

fn round_e4m3(values: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        e4m3_value(e4m3_bits(values.x)),
        e4m3_value(e4m3_bits(values.y)),
        e4m3_value(e4m3_bits(values.z)),
        e4m3_value(e4m3_bits(values.w)),
    );
}

// The exponent of the smallest power of two that is at least max(amax, 1e-4) / 448: 448 is 1.75 · 2^8.
fn ue8m0_exponent(amax: f32) -> i32 {
    let bits = bitcast<u32>(max(amax, 1e-4));
    return i32(bits >> 23u) - 135 + select(0, 1, (bits & 0x7FFFFFu) > 0x600000u);
}

fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(exponent + 127) << 23u);
}
