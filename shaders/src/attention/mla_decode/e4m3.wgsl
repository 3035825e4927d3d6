// Four e4m3 codes as f32. An f16 with the same exponent and fraction bits is 2^-8 of the value, below the smallest normal too.

fn e4m3_pair(codes: u32) -> vec2<f32> {
    let magnitudes = ((codes & 0x7Fu) << 7u) | ((codes & 0x7F00u) << 15u);
    let signs = ((codes & 0x80u) << 8u) | ((codes & 0x8000u) << 16u);
    return unpack2x16float(magnitudes | signs);
}

fn e4m3_four(word: u32, scale: f32) -> vec4<f32> {
    return vec4(e4m3_pair(word), e4m3_pair(word >> 16u)) * (256.0 * scale);
}

fn bf16_two(word: u32) -> vec2<f32> {
    return bitcast<vec2<f32>>(vec2(word << 16u, word & 0xFFFF0000u));
}
