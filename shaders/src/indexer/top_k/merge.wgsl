// The second of two dispatches for few rows: the ascending indices of the k largest of the first positions[t] + 1 scores of row t, then −1.
//
// Grid: workgroup wid takes row wid.y * grid.x + wid.x.
// Requires: nothing beyond the base tier; what split.wgsl left in `scratch`.
// Numerics: keys are integers, so that the result is exact and the same everywhere, whatever the order inside a bin.
//
// 1. The sums over all parts tell the bin of the K-th largest key, first among every COARSE-th bin and then among the bins of that stretch.
// 2. In each part the keys of this bin stand together behind those above it. Histograms of their other bits find the exact threshold.
// 3. Selected scores are bits of a map in workgroup memory; a prefix sum over it gives the places of their indices.

struct Params {
    rows: u32,
    k: u32,
    stride: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(1) var<storage, read> scratch: array<vec2<u32>>; // (T, parts, PAIRS) pairs of u32
@group(0) @binding(2) var<storage, read_write> selected: array<i32>; // (T, K) i32
@group(0) @binding(3) var<storage, read> params: Params;

// Invocations that share a part.
const TEAM: u32 = 32u;

var<workgroup> sh_reached: array<atomic<u32>, COARSE_BINS + 1u>;
var<workgroup> sh_pick: vec3<u32>;

fn bin_count(fine: bool, i: u32) -> u32 {
    return atomicLoad(&sh_fine[i]);
}

// Sums four counters of one pair.
fn add_pair(at: u32, pair: vec2<u32>) {
    atomicAdd(&sh_reached[at], pair.x & 0xFFFFu);
    atomicAdd(&sh_reached[at + 1u], pair.x >> 16u);
    atomicAdd(&sh_reached[at + 2u], pair.y & 0xFFFFu);
    atomicAdd(&sh_reached[at + 3u], pair.y >> 16u);
}

// Sums the stretch of COARSE bins that begins at pair `first` of every part, and finds the last one at which `k` keys are reached: its number,
// how many keys are reached there, and how many at the next one, which are `beyond` behind the last.
fn pick(first: u32, parts: u32, beyond: u32, lid: u32) -> vec3<u32> {
    workgroupBarrier();
    for (var i = lid; i < COARSE_BINS; i += WG_SIZE) {
        atomicStore(&sh_reached[i], 0u);
    }
    if lid == 0u {
        atomicStore(&sh_reached[COARSE_BINS], beyond);
    }
    workgroupBarrier();
    for (var i = lid; i < parts * (COARSE_BINS / 4u); i += WG_SIZE) {
        let quarter = i % (COARSE_BINS / 4u);
        add_pair(4u * quarter, scratch[first + i / (COARSE_BINS / 4u) * PAIRS + quarter]);
    }
    workgroupBarrier();
    for (var i = lid; i < COARSE_BINS; i += WG_SIZE) {
        let here = atomicLoad(&sh_reached[i]);
        let next = atomicLoad(&sh_reached[i + 1u]);
        if here >= params.k && next < params.k {
            sh_pick = vec3(i, here, next);
        }
    }
    return workgroupUniformLoad(&sh_pick);
}

// A row: its first pair in the scratch, its parts, its scores, and the bin of its K-th largest key.
struct Row {
    first: u32,
    parts: u32,
    len: u32,
    bin: u32,
}

// How many keys of the part that begins at `start` are in bin `bin` or above.
fn reached(start: u32, bin: u32) -> u32 {
    if bin >= BINS {
        return 0u;
    }
    let pair = scratch[start + COARSE_BINS / 4u + bin / 4u];
    return (select(pair.x, pair.y, (bin & 2u) != 0u) >> (16u * (bin & 1u))) & 0xFFFFu;
}

// Counts a digit of the keys of the bin that begin with `prefix`; or, among those equal to `key`, of the indices, counted from the end.
fn tally(row: Row, lid: u32, by_index: bool, key: u32, prefix: u32, shift: u32, next: u32) {
    let mask = (1u << (shift - next)) - 1u;
    var run = Run(0u, 0u);
    for (var part = lid / TEAM; part < row.parts; part += WG_SIZE / TEAM) {
        let start = row.first + part * PAIRS;
        let end = reached(start, row.bin);
        for (var i = reached(start, row.bin + 1u) + lid % TEAM; i < end; i += TEAM) {
            let pair = scratch[start + COARSE_BINS / 4u + BINS / 4u + i];
            let value = select(pair.x, row.len - pair.y, by_index);
            if (!by_index || pair.x == key) && (value >> shift) == prefix {
                run = add_fine(run, (value >> next) & mask);
            }
        }
    }
    atomicAdd(&sh_fine[run.digit], run.n);
}

// The exact threshold inside the bin.
fn refine(row: Row, at: Lane, found: Bin) -> Threshold {
    var bin = found;
    var shift = 32u - BITS;
    var prefix = row.bin;
    while bin.count != bin.wanted && shift > 0u {
        let next = shift - min(shift, FINE_BITS);
        clear_fine(at.lid);
        tally(row, at.lid, false, 0u, prefix, shift, next);
        workgroupBarrier();
        bin = find_bin(true, at.lid, lane_of(at), lanes_of(at), FINE_BINS, bin.wanted);
        prefix = (prefix << (shift - next)) | bin.digit;
        shift = next;
    }
    let key = prefix << shift;
    if bin.count == bin.wanted {
        return Threshold(key, NO_LIMIT);
    }
    // More are equal than fit: the same search over their indices, counted from the end so that the lowest are the largest.
    shift = 32u - countLeadingZeros(row.len);
    prefix = 0u;
    while bin.count != bin.wanted {
        let next = shift - min(shift, FINE_BITS);
        clear_fine(at.lid);
        tally(row, at.lid, true, key, prefix, shift, next);
        workgroupBarrier();
        bin = find_bin(true, at.lid, lane_of(at), lanes_of(at), FINE_BINS, bin.wanted);
        prefix = (prefix << (shift - next)) | bin.digit;
        shift = next;
    }
    return Threshold(key, row.len - (prefix << shift));
}

// Marks in the map what is selected of the parts that begin from `base` on and fit it.
fn mark(row: Row, lid: u32, base: u32, threshold: Threshold) {
    let end_part = min(row.parts, (base + MAP_BITS) / PART);
    for (var part = base / PART + lid / TEAM; part < end_part; part += WG_SIZE / TEAM) {
        let start = row.first + part * PAIRS;
        let end = reached(start, row.bin);
        for (var i = lid % TEAM; i < end; i += TEAM) {
            let pair = scratch[start + COARSE_BINS / 4u + BINS / 4u + i];
            if pair.x > threshold.key || (pair.x == threshold.key && pair.y <= threshold.limit) {
                let bit = pair.y - base;
                atomicOr(&sh_map[bit / 32u], 1u << (bit % 32u));
            }
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = wid.y * grid.x + wid.x;
    if row >= params.rows {
        return;
    }
    let len = min(positions[row], params.stride - 1u) + 1u;
    if len <= params.k {
        for (var i = at.lid; i < params.k; i += WG_SIZE) {
            selected[row * params.k + i] = select(-1, i32(i), i < len);
        }
        return;
    }
    let parts = (len + PART - 1u) / PART;
    let first = row * params.parts * PAIRS;
    let stretch = pick(first, parts, 0u, at.lid);
    let chosen = pick(first + COARSE_BINS / 4u + stretch.x * (COARSE / 4u), parts, stretch.z, at.lid);
    let found = Row(first, parts, len, stretch.x * COARSE + chosen.x);
    let threshold = refine(found, at, Bin(found.bin, params.k - chosen.z, chosen.y - chosen.z));
    var place = 0u;
    for (var base = 0u; base < len; base += MAP_BITS) {
        clear_map(at.lid);
        mark(found, at.lid, base, threshold);
        place = emit(row, at, base, len, place);
    }
}
