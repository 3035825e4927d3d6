// One row of x as 16-bit integers with a scale for each group of 32, in workgroup memory, for the products of
// packed_q4_product.wgsl.
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

// Eight values as a word of weights meets them, with the largest value and the sum of the codes of their group of 32.
struct Eight {
    most: f32,
    total: i32,
    words: vec4<u32>,
}

// Every invocation brings two quads; four that follow each other share a group.
fn pack_eight(a: vec4<f32>, b: vec4<f32>) -> Eight {
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
    let even = vec4<i32>(c.xz, d.xz);
    let odd = vec4<i32>(c.yw, d.yw);
    return Eight(most, total, vec4<u32>(high(even), high(odd), low(even), low(odd)));
}

// What a group's products are multiplied with and start from, as bits.
fn group_of(eight: Eight) -> vec2<u32> {
    return vec2<u32>(bitcast<u32>(eight.most / LARGEST), bitcast<u32>(-8 * eight.total));
}

// Packs x, eight values for each invocation at a time. Returns the squares of what it has read.
fn pack(lid: u32, first: u32, eights: u32) -> f32 {
    var squares = 0.0;
    for (var base = 0u; base < eights; base += WG_SIZE) {
        let j = base + lid;
        let inside = j < eights;
        let quad = 2u * min(j, eights - 1u);
        let a = select(vec4<f32>(), x[first + quad], inside);
        let b = select(vec4<f32>(), x[first + quad + 1u], inside);
        squares += dot(a, a) + dot(b, b);
        let eight = pack_eight(gained(a, quad), gained(b, quad + 1u));
        if inside {
            sh_x[j % 4u * PITCH + j / 4u] = eight.words;
            sh_groups[j / 4u] = group_of(eight);
        }
    }
    return squares;
}

fn part_of(v: u32) -> Part {
    let group = sh_groups[v];
    return Part(bitcast<f32>(group.x), bitcast<i32>(group.y), sh_x[v], sh_x[PITCH + v], sh_x[2u * PITCH + v], sh_x[3u * PITCH + v]);
}
