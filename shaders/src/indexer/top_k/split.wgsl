// The first of two dispatches for few rows: sorts the scores of a part of a row into bins.
//
// Grid: workgroup (x, y) takes part x, PART scores, of row y; it returns at once when the part is behind positions[y].
// Requires: nothing beyond the base tier; S a multiple of 4.
// Numerics: scores are compared as integers (`key_of`), so that the result is exact and the same everywhere.
//
// Bins are narrow where the K-th largest key is to be expected: a sample of the row, the same for every part, says where. A sample that misleads
// makes one bin large and the second dispatch slow, never wrong.
//
// A part leaves in `scratch`, as pairs of words: the scale of the bins; for each COARSE-th bin how many of its keys are in this bin or above, four 16-bit numbers in a
// pair; the same for every bin; then (key, index) of all its scores, bin by bin from the largest, in any order inside a bin.

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
const OWN: u32 = PART / (4u * WG_SIZE);
// Neighbouring bins of one invocation; a word of padding for each group spreads them over the banks.
const EACH: u32 = BINS / WG_SIZE;

var<workgroup> sh_bins: array<atomic<u32>, BINS + WG_SIZE>;
var<workgroup> sh_sorted: array<vec2<u32>, PART>;
var<workgroup> sh_sample: array<u32, SAMPLE>;
var<workgroup> sh_least: u32;
var<workgroup> sh_most: u32;

fn place_of(bin: u32) -> u32 {
    return bin + bin / EACH;
}

fn count_one(scale: Scale, index: u32, len: u32, key: u32) {
    if index < len {
        atomicAdd(&sh_bins[place_of(bin_of(scale, key))], 1u);
    }
}

fn sort_one(scale: Scale, index: u32, len: u32, key: u32) {
    if index < len {
        sh_sorted[atomicAdd(&sh_bins[place_of(bin_of(scale, key))], 1u)] = vec2(key, index);
    }
}

// How many of `n` keys are in coarse bin `coarse` or above, which is what is above the bin before it.
fn reached_at(coarse: u32, n: u32) -> u32 {
    if coarse == 0u {
        return n;
    }
    return atomicLoad(&sh_bins[place_of(coarse * COARSE - 1u)]);
}

// The scale from a sample of `len` scores: from a key that some more than `k` are above of, to twice the distance of the largest.
fn scale_of(row: u32, len: u32, lid: u32) -> Scale {
    if lid < SAMPLE {
        // A row that is shorter than the sample fills it up with its end.
        let index = min((len / SAMPLE) * lid + min(len % SAMPLE, lid), len - 1u);
        sh_sample[lid] = key_of(scores[row * (params.stride / 4u) + index / 4u][index % 4u]);
    }
    workgroupBarrier();
    // As many as are expected, half as many again, and three times the square root of the least that makes sense.
    let wanted = min(params.k * SAMPLE / len * 3u / 2u + 8u, SAMPLE - 1u);
    if lid < SAMPLE {
        let key = sh_sample[lid];
        var above = 0u;
        for (var i = 0u; i < SAMPLE; i += 1u) {
            let other = sh_sample[i];
            above += select(0u, 1u, other > key || (other == key && i < lid));
        }
        if above == wanted {
            sh_least = key;
        }
        if above == 0u {
            sh_most = key;
        }
    }
    workgroupBarrier();
    let least = sh_least;
    let span = sh_most - least;
    // Bins of 2^shift keys, of which the first half reaches the largest of the sample.
    let bits = 32u - countLeadingZeros(span);
    return Scale(least, max(bits, BITS - 1u) - (BITS - 1u));
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>) {
    let row = wid.y;
    let lid = at.lid;
    let len = min(positions[row], params.stride - 1u) + 1u;
    if wid.x * PART >= len || len <= params.k {
        return;
    }
    let scale = scale_of(row, len, lid);
    var keys: array<vec4<u32>, OWN>;
    for (var i = 0u; i < OWN; i += 1u) { // unrolled
        let vector = min(wid.x * (PART / 4u) + i * WG_SIZE + lid, params.stride / 4u - 1u);
        keys[i] = keys_of(scores[row * (params.stride / 4u) + vector]);
    }
    for (var i = lid; i < BINS + WG_SIZE; i += WG_SIZE) {
        atomicStore(&sh_bins[i], 0u);
    }
    workgroupBarrier();
    for (var i = 0u; i < OWN; i += 1u) { // unrolled
        let index = wid.x * PART + 4u * (i * WG_SIZE + lid);
        if keys[i].x == keys[i].y && keys[i].x == keys[i].z && keys[i].x == keys[i].w && index + 3u < len {
            atomicAdd(&sh_bins[place_of(bin_of(scale, keys[i].x))], 4u);
        } else {
            count_one(scale, index, len, keys[i].x);
            count_one(scale, index + 1u, len, keys[i].y);
            count_one(scale, index + 2u, len, keys[i].z);
            count_one(scale, index + 3u, len, keys[i].w);
        }
    }
    workgroupBarrier();
    // The first invocation has the largest bins. Afterwards a bin holds how many keys are above it.
    let mine = WG_SIZE - 1u - lid;
    var counts: array<u32, EACH>;
    var sum = 0u;
    for (var i = 0u; i < EACH; i += 1u) { // unrolled
        counts[i] = atomicLoad(&sh_bins[place_of(mine * EACH + i)]);
        sum += counts[i];
    }
    let before = workgroup_scan(sum, lid, lane_of(at), lanes_of(at));
    var reached: array<u32, EACH>;
    var rest = before + sum;
    for (var i = 0u; i < EACH; i += 1u) { // unrolled
        reached[i] = rest;
        rest -= counts[i];
        atomicStore(&sh_bins[place_of(mine * EACH + i)], rest);
    }
    let start = (row * params.parts + wid.x) * PAIRS;
    if lid == 0u {
        scratch[start] = vec2(scale.least, scale.shift);
    }
    for (var i = 0u; i < QUARTERS; i += 1u) { // unrolled
        let low = reached[4u * i] | (reached[4u * i + 1u] << 16u);
        let high = reached[4u * i + 2u] | (reached[4u * i + 3u] << 16u);
        scratch[start + FINE_AT + mine * QUARTERS + i] = vec2(low, high);
    }
    workgroupBarrier();
    if lid < COARSE_BINS / 4u {
        let n = min(PART, len - wid.x * PART);
        let low = reached_at(4u * lid, n) | (reached_at(4u * lid + 1u, n) << 16u);
        let high = reached_at(4u * lid + 2u, n) | (reached_at(4u * lid + 3u, n) << 16u);
        scratch[start + COARSE_AT + lid] = vec2(low, high);
    }
    workgroupBarrier();
    for (var i = 0u; i < OWN; i += 1u) { // unrolled
        let index = wid.x * PART + 4u * (i * WG_SIZE + lid);
        sort_one(scale, index, len, keys[i].x);
        sort_one(scale, index + 1u, len, keys[i].y);
        sort_one(scale, index + 2u, len, keys[i].z);
        sort_one(scale, index + 3u, len, keys[i].w);
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u * OWN; i += 1u) {
        scratch[start + KEYS_AT + i * WG_SIZE + lid] = sh_sorted[i * WG_SIZE + lid];
    }
}
