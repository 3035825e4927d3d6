// One row of x as 16-bit integers with a scale for each group of 32, in workgroup memory, for products with nibbles: bytes, four in one instruction.
// A code is 256 · high + low with both in a signed byte; its error is at most the group's largest value over 65024.
// Needs x, WG_SIZE, CAPACITY (vectors of 32 values that x has at most), and `gained(value, quad)`, which applies a gain to a quad of x.
// Four consecutive invocations must be in one subgroup.

const LARGEST: f32 = 32512.0;
// One more than there are vectors spreads the writes over the banks.
const PITCH: u32 = CAPACITY + 1u;

// For word j of vector v, at j · PITCH + v: the high bytes of its even and of its odd values, and their low bytes.
var<workgroup> sh_x: array<vec4<u32>, 4u * PITCH>;
// For each vector the bits of the scale of x, and of what is to be added to the sum of products because nibbles are stored plus 8.
var<workgroup> sh_groups: array<vec2<u32>, CAPACITY>;

fn low(code: vec4<i32>) -> u32 {
    return pack4xI8(code);
}

fn high(code: vec4<i32>) -> u32 {
    return pack4xI8((code + vec4<i32>(128)) >> vec4<u32>(8u));
}

// Packs x, eight values for each invocation at a time; four invocations share a group. Returns the squares of what it has read.
fn pack(lid: u32, first: u32, eights: u32) -> f32 {
    var squares = 0.0;
    for (var base = 0u; base < eights; base += WG_SIZE) {
        let j = base + lid;
        let inside = j < eights;
        let quad = 2u * min(j, eights - 1u);
        var a = select(vec4<f32>(), x[first + quad], inside);
        var b = select(vec4<f32>(), x[first + quad + 1u], inside);
        squares += dot(a, a) + dot(b, b);
        a = gained(a, quad);
        b = gained(b, quad + 1u);
        let larger = max(abs(a), abs(b));
        var most = max(max(larger.x, larger.y), max(larger.z, larger.w));
        most = max(most, subgroupShuffleXor(most, 1u));
        most = max(most, subgroupShuffleXor(most, 2u));
        let inverse = select(0.0, LARGEST / most, most > 0.0);
        let c = vec4<i32>(round(a * inverse));
        let d = vec4<i32>(round(b * inverse));
        let pairs = c + d;
        var total = pairs.x + pairs.y + pairs.z + pairs.w;
        total += subgroupShuffleXor(total, 1u);
        total += subgroupShuffleXor(total, 2u);
        if inside {
            let even = vec4<i32>(c.xz, d.xz);
            let odd = vec4<i32>(c.yw, d.yw);
            sh_x[j % 4u * PITCH + j / 4u] = vec4<u32>(high(even), high(odd), low(even), low(odd));
            sh_groups[j / 4u] = vec2<u32>(bitcast<u32>(most / LARGEST), bitcast<u32>(-8 * total));
        }
    }
    return squares;
}

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

fn part_of(v: u32) -> Part {
    let group = sh_groups[v];
    return Part(bitcast<f32>(group.x), bitcast<i32>(group.y), sh_x[v], sh_x[PITCH + v], sh_x[2u * PITCH + v], sh_x[3u * PITCH + v]);
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
