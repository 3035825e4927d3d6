// Eight values of a cached row of 656 bytes: 512 e4m3 codes, 4 f32 scales, 64 bf16 values.

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn row_eight(row: u32, j: u32) -> Eight {
    let at = row * 41u;
    if j < 64u {
        let words = cache[at + j / 2u];
        let scale = bitcast<f32>(cache[at + 32u][j / 16u]);
        let two = select(words.zw, words.xy, (j & 1u) == 0u);
        return Eight(e4m3_four(two.x, scale), e4m3_four(two.y, scale));
    }
    let words = cache[at + 33u + j - 64u];
    let low = vec4(bf16_two(words.x), bf16_two(words.y));
    return Eight(low, vec4(bf16_two(words.z), bf16_two(words.w)));
}
