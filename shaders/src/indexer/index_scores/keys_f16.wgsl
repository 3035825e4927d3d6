// 16 dimensions of 128 f16 keys into workgroup memory.

fn stage_keys(s0: u32, last: u32, k: u32, lid: u32) {
    let s = s0 + lid / 2u;
    let row = page_of(s, last) * 64u + s % 64u;
    let words = keys[(row * DIM + k) / 8u + lid % 2u];
    let at = lid / 2u * ROW + lid % 2u * 2u;
    sh_keys[at] = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
    sh_keys[at + 1u] = vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
}

fn key_scale(s: u32, last: u32) -> f32 {
    return 1.0;
}
