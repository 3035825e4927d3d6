// 16 dimensions of 128 e4m3 keys from planar pages into workgroup memory.

// Four e4m3 bytes. Normal values move to their places in an f32 with the exponent's bias raised by 120; subnormals are multiples of 2^-9, by
// arithmetic, since adapters may flush subnormal floats.
fn e4m3(word: u32) -> vec4<f32> {
    let bytes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xFFu);
    let magnitude = bytes & vec4<u32>(0x7Fu);
    let normal = bitcast<vec4<f32>>((magnitude << vec4<u32>(20u)) + vec4<u32>(120u << 23u));
    let value = select(normal, vec4<f32>(magnitude) * 0.001953125, magnitude < vec4<u32>(8u));
    return select(value, -value, bytes >= vec4<u32>(0x80u));
}

fn stage_keys(s0: u32, last: u32, k: u32, lid: u32) {
    if lid < KEYS {
        let s = s0 + lid;
        let words = keys[page_of(s, last) * (4u * DIM + 16u) + s % 64u * (DIM / 16u) + k / 16u];
        let at = lid * ROW;
        sh_keys[at] = e4m3(words.x);
        sh_keys[at + 1u] = e4m3(words.y);
        sh_keys[at + 2u] = e4m3(words.z);
        sh_keys[at + 3u] = e4m3(words.w);
    }
}

fn key_scale(s: u32, last: u32) -> f32 {
    return bitcast<f32>(keys[page_of(s, last) * (4u * DIM + 16u) + 4u * DIM + s % 64u / 4u][s % 4u]);
}
