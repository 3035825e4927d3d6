// Nibbles where they stand: value k of a quad is 16^k times too large, and x is divided by 16^k to match. Both are exact, and a quad takes one shift
// instead of five, of which a multiprocessor does half as many in a cycle as multiply-adds.

fn stepped_x(value: vec4<f32>) -> vec4<f32> {
    return value * vec4<f32>(1.0, 0.0625, 0.00390625, 0.000244140625);
}

// Values 4q … 4q + 3 of a vector, as the last bits of 2^23, less 2^23 and 8.
fn stepped4(words: vec4<u32>, q: u32) -> vec4<f32> {
    let half = words[q >> 1u] >> (16u * (q & 1u));
    let bits = (vec4<u32>(half) & vec4<u32>(0xFu, 0xF0u, 0xF00u, 0xF000u)) | vec4<u32>(0x4B000000u);
    return bitcast<vec4<f32>>(bits) - vec4<f32>(8388616.0, 8388736.0, 8390656.0, 8421376.0);
}
