// 16 dimensions of 128 f32 keys into workgroup memory.

fn stage_keys(s0: u32, last: u32, k: u32, lid: u32) {
    for (var i = lid; i < KEYS * 4u; i += WG_SIZE) {
        let s = s0 + i / 4u;
        let row = page_of(s, last) * 64u + s % 64u;
        sh_keys[i / 4u * ROW + i % 4u] = bitcast<vec4<f32>>(keys[(row * DIM + k) / 4u + i % 4u]);
    }
}

fn key_scale(s: u32, last: u32) -> f32 {
    return 1.0;
}
