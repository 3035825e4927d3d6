// The first of two dispatches for few rows: keeps the scores of a part of a row that may be among the K largest.
//
// Grid: workgroup (x, y) takes part x, PART scores, of row y; it returns at once when the part is behind positions[y].
// Requires: nothing beyond the base tier; S a multiple of 4.
// Numerics: scores are compared as integers (`key_of`), so that the result is exact and the same everywhere.
//
// A sample of the row, the same for every part, gives a floor: a key that somewhat more than K keys of the row are expected to be above of, or equal
// to. A sample that misleads makes the second dispatch slow, never wrong.
//
// A part leaves in `scratch`, as pairs of words: how many of its keys are above the floor, and how many equal to it; for each 32 indices the two masks
// of those that are; then (key, index) of those above, by index.

struct Params {
    rows: u32,
    k: u32,
    stride: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<vec4<u32>>; // (T, S/4) f32
@group(0) @binding(1) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(2) var<storage, read_write> scratch: array<vec2<u32>>; // (T, parts, PAIRS) pairs of u32
@group(0) @binding(3) var<storage, read> params: Params;

// Vectors of four scores of one invocation.
const VECTORS: u32 = PART / (4u * WG_SIZE);

var<workgroup> sh_bins: array<atomic<u32>, SLOTS>;
var<workgroup> sh_above: array<atomic<u32>, PART / 32u>;
var<workgroup> sh_equals: array<atomic<u32>, PART / 32u>;

fn bin_count(fine: bool, i: u32) -> u32 {
    return atomicLoad(&sh_bins[i]);
}

fn mask_of(bits: vec4<bool>) -> u32 {
    let mask = select(vec4(0u), vec4(1u, 2u, 4u, 8u), bits);
    return mask.x | mask.y | mask.z | mask.w;
}

// Sample `i` of a row of `len` scores: one of each stretch, at a place that no period of the row meets again and again.
fn sample_index(i: u32, len: u32) -> u32 {
    let mixed = (i ^ (i >> 4u)) * 0x9E3779B1u;
    return i * len / SAMPLE + (mixed >> 16u) % max(len / SAMPLE, 1u);
}

// How many of the sample are taken to be above the floor: as many as are expected, and four times the deviation of such a count.
fn sample_rank(len: u32) -> u32 {
    let expected = f32(params.k) * f32(SAMPLE) / f32(len);
    return u32(expected + 4.0 * sqrt(expected)) + 4u;
}

// The least of the sample, in a bin of few or of equal keys, that is in its rank or behind.
fn floor_of(held: Held, rank: u32, at: Lane) -> u32 {
    var open = (1u << OWN) - 1u;
    var wanted = rank;
    for (var first = true;; first = false) {
        clear_slots(at.lid);
        let range = range_of(held, OWN, open, at);
        if at.lid == 0u {
            sh_equal = select(0u, 1u, range.x == range.y);
        }
        if !first {
            if workgroupUniformLoad(&sh_equal) == 1u {
                break;
            }
        }
        let digits = count(held, OWN, open, scale_of(range, first));
        workgroupBarrier();
        let bin = find_bin(false, at.lid, lane_of(at), lanes_of(at), SLOTS, wanted);
        open &= compare(digits, OWN, bin.digit).y;
        wanted = bin.wanted;
        if bin.count <= SAMPLE_SLACK {
            break;
        }
    }
    return range_of(held, OWN, open, at).x;
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>) {
    let row = wid.y;
    let lid = at.lid;
    let vectors = params.stride / 4u;
    // Neighbouring scores, which are under way before the length of the row is known.
    let index = wid.x * PART + lid * 4u * VECTORS;
    var keys: array<vec4<u32>, VECTORS>;
    for (var i = 0u; i < VECTORS; i += 1u) { // unrolled
        keys[i] = keys_of(scores[row * vectors + min(index / 4u + i, vectors - 1u)]);
    }
    let len = min(positions[row], params.stride - 1u) + 1u;
    if wid.x * PART >= len || len <= params.k {
        return;
    }
    var sample: Held;
    for (var j = 0u; j < OWN; j += 1u) { // unrolled
        let at_index = sample_index(OWN * lid + j, len);
        sample[j] = key_of(scores[row * vectors + at_index / 4u][at_index % 4u]);
    }
    for (var i = lid; i < PART / 32u; i += WG_SIZE) {
        atomicStore(&sh_above[i], 0u);
        atomicStore(&sh_equals[i], 0u);
    }
    // A row that is hardly longer than K is kept whole: no key is below that of NaN.
    var least = 0u;
    let rank = sample_rank(len);
    if rank < SAMPLE {
        least = floor_of(sample, rank, at);
    }
    // The masks are cleared, and what the search left to be read has been.
    workgroupBarrier();
    var masks = vec2(0u);
    for (var i = 0u; i < VECTORS; i += 1u) { // unrolled
        masks |= vec2(mask_of(keys[i] > vec4(least)), mask_of(keys[i] == vec4(least))) << vec2(4u * i);
    }
    masks &= vec2(first_bits(len - min(len, index)));
    let word = lid * 4u * VECTORS / 32u;
    let shift = lid * 4u * VECTORS % 32u;
    atomicOr(&sh_above[word], masks.x << shift);
    atomicOr(&sh_equals[word], masks.y << shift);
    let counts = countOneBits(masks);
    let before = workgroup_scan(counts.x | (counts.y << 16u), lid, lane_of(at), lanes_of(at));
    let start = (row * params.parts + wid.x) * PAIRS;
    if lid + 1u == WG_SIZE {
        scratch[start] = vec2((before & 0xFFFFu) + counts.x, (before >> 16u) + counts.y);
    }
    for (var i = lid; i < PART / 32u; i += WG_SIZE) {
        scratch[start + MASKS_AT + i] = vec2(atomicLoad(&sh_above[i]), atomicLoad(&sh_equals[i]));
    }
    var to = start + KEYS_AT + (before & 0xFFFFu);
    for (var i = 0u; i < VECTORS; i += 1u) { // unrolled
        for (var c = 0u; c < 4u; c += 1u) { // unrolled
            if (masks.x & (1u << (4u * i + c))) != 0u {
                scratch[to] = vec2(keys[i][c], index + 4u * i + c);
                to += 1u;
            }
        }
    }
}
