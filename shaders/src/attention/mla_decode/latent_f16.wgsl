// Eight values of a cached row, f16 packed in words.

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn row_eight(row: u32, j: u32) -> Eight {
    let words = cache[row * ((LATENT + ROTATED) / 8u) + j];
    let low = vec4(unpack2x16float(words.x), unpack2x16float(words.y));
    return Eight(low, vec4(unpack2x16float(words.z), unpack2x16float(words.w)));
}
