// 64-bit whole numbers as (low, high), and the random numbers made of them.

fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + u32(low < a.x));
}

fn less64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.y < b.y || (a.y == b.y && a.x < b.x);
}

// The product of two words.
fn multiply(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xFFFFu;
    let a1 = a >> 16u;
    let b0 = b & 0xFFFFu;
    let b1 = b >> 16u;
    let middle = a1 * b0 + ((a0 * b0) >> 16u);
    let carry = (middle & 0xFFFFu) + a0 * b1;
    return vec2<u32>(a * b, a1 * b1 + (middle >> 16u) + (carry >> 16u));
}

fn multiply64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = multiply(a.x, b.x);
    return vec2<u32>(low.x, low.y + a.x * b.y + a.y * b.x);
}

// The high half of the product of two 64-bit numbers.
fn high64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = vec2<u32>(multiply(a.x, b.x).y, 0u);
    let first = add64(low, multiply(a.x, b.y));
    let second = add64(vec2<u32>(first.x, 0u), multiply(a.y, b.x));
    return add64(multiply(a.y, b.y), add64(vec2<u32>(first.y, 0u), vec2<u32>(second.y, 0u)));
}

fn xor_shift(a: vec2<u32>, n: u32) -> vec2<u32> {
    return a ^ vec2<u32>((a.x >> n) | (a.y << (32u - n)), a.y >> n);
}

// SplitMix64's finaliser.
fn mix64(bits: vec2<u32>) -> vec2<u32> {
    var z = multiply64(xor_shift(bits, 30u), vec2<u32>(0x1CE4E5B9u, 0xBF58476Du));
    z = multiply64(xor_shift(z, 27u), vec2<u32>(0x133111EBu, 0x94D049BBu));
    return xor_shift(z, 31u);
}

// Draw n of a seed: a fraction of 2^64 of which the upper 53 bits count.
fn uniform64(seed: vec2<u32>, n: vec2<u32>) -> vec2<u32> {
    let increment = vec2<u32>(0x7F4A7C15u, 0x9E3779B9u);
    let key = mix64(add64(seed, increment));
    let bits = mix64(add64(key, multiply64(add64(n, vec2<u32>(1u, 0u)), increment)));
    return vec2<u32>(bits.x & 0xFFFFF800u, bits.y);
}
