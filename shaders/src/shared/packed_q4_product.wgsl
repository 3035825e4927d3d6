// Products of nibbles with 32 values as 16-bit integers, which packed_q4.wgsl makes: bytes, four in one instruction.

fn dot_words(a: vec4<u32>, b: vec4<u32>, start: i32) -> i32 {
    return dot4I8Packed(a.w, b.w) + (dot4I8Packed(a.z, b.z) + (dot4I8Packed(a.y, b.y) + (dot4I8Packed(a.x, b.x) + start)));
}

// What the products with vector v of a row need of x.
struct Part {
    scale: f32,
    start: i32,
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

// The sum of the products with one vector of weights, without their scale and that of x.
fn product(words: vec4<u32>, part: Part) -> f32 {
    let even = words & vec4<u32>(0x0F0F0F0Fu);
    let odd = (words >> vec4<u32>(4u)) & vec4<u32>(0x0F0F0F0Fu);
    let high_even = vec4<u32>(part.a.x, part.b.x, part.c.x, part.d.x);
    let high_odd = vec4<u32>(part.a.y, part.b.y, part.c.y, part.d.y);
    let low_even = vec4<u32>(part.a.z, part.b.z, part.c.z, part.d.z);
    let low_odd = vec4<u32>(part.a.w, part.b.w, part.c.w, part.d.w);
    let highs = dot_words(odd, high_odd, dot_words(even, high_even, 0));
    let lows = dot_words(odd, low_odd, dot_words(even, low_even, part.start));
    return f32(256 * highs + lows);
}
