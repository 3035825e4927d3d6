// The order of scores as the order of unsigned words.

// The key of a score: larger for a larger score, one key for both zeros, and 0 for NaN, which is below that of −inf.
fn key_of(bits: u32) -> u32 {
    // −0.0 is 0x80000000 and takes the first branch, where it becomes the key of +0.0.
    let key = select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
    return select(key, 0u, (bits & 0x7FFFFFFFu) > 0x7F800000u);
}

fn keys_of(bits: vec4<u32>) -> vec4<u32> {
    return vec4(key_of(bits.x), key_of(bits.y), key_of(bits.z), key_of(bits.w));
}
