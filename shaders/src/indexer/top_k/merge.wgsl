// The second of two dispatches for few rows: the ascending indices of the k largest of the first positions[t] + 1 scores of row t, then −1.
//
// Grid: workgroup wid takes row wid.y * grid.x + wid.x.
// Requires: nothing beyond the base tier; what split.wgsl left in `scratch`; no more parts than FINE_BINS.
// Numerics: keys are integers, so that the result is exact and the same everywhere, whatever the order inside a bin.
//
// 1. The sums over all parts tell the bin of the K-th largest key, first among every COARSE-th bin and then among the bins of that stretch.
// 2. In each part the keys of this bin stand together behind those above it. Histograms of their other bits find the exact threshold. Where more
//    keys are equal to it than fit, counts of them find the part, and in it the place, of the last one that does.
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

var<workgroup> sh_reached: array<atomic<u32>, COARSE_BINS + 1u>;
var<workgroup> sh_pick: vec3<u32>;
var<workgroup> sh_least: atomic<u32>;
var<workgroup> sh_most: atomic<u32>;
var<workgroup> sh_range: vec2<u32>;

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

// A row: its first pair in the scratch, its parts, its scores, the bin of its K-th largest key with the smallest key of that bin, how many
// invocations share a part, and whether one map holds it.
struct Row {
    first: u32,
    parts: u32,
    len: u32,
    bin: u32,
    floor: u32,
    team: u32,
    mapped: bool,
}

// One part as one invocation goes through it: where its keys stand, how many are above the bin, and how many are in it or above.
struct Part {
    keys: u32,
    above: u32,
    end: u32,
}

// How many keys of the part that begins at `start` are in bin `bin` or above.
fn reached(start: u32, bin: u32) -> u32 {
    let pair = scratch[start + FINE_AT + min(bin, BINS - 1u) / 4u];
    let count = (select(pair.x, pair.y, (bin & 2u) != 0u) >> (16u * (bin & 1u))) & 0xFFFFu;
    return select(count, 0u, bin >= BINS);
}

fn part_of(row: Row, part: u32) -> Part {
    let start = row.first + part * PAIRS;
    return Part(start + KEYS_AT, reached(start, row.bin + 1u), reached(start, row.bin));
}

fn set_bit(bit: u32) {
    atomicOr(&sh_map[bit / 32u], 1u << (bit % 32u));
}

// Which bits of the distance from `floor` are counted among those distances that begin with `prefix`; at first they all do.
struct Digit {
    floor: u32,
    first: bool,
    prefix: u32,
    shift: u32,
    next: u32,
}

struct Inside {
    run: Run,
    least: u32,
    most: u32,
}

fn add_key(known: Inside, key: u32, digit: Digit, valid: bool) -> Inside {
    var next = known;
    let distance = key - digit.floor;
    // All 32 bits may be left, by which one cannot shift.
    if valid && (digit.first || (distance >> min(digit.shift, 31u)) == digit.prefix) {
        next.least = min(next.least, key);
        next.most = max(next.most, key);
        next.run = add_fine(next.run, (distance >> digit.next) & ((1u << (digit.shift - digit.next)) - 1u));
    }
    return next;
}

// Counts a digit of the keys in the bin; the first time it also selects what is above the bin.
fn tally(row: Row, lid: u32, digit: Digit, above: bool) {
    var known = Inside(Run(0u, 0u), 0xFFFFFFFFu, 0u);
    for (var p = lid / row.team; p < row.parts; p += WG_SIZE / row.team) {
        let part = part_of(row, p);
        let last = max(part.end, 1u) - 1u;
        var i = lid % row.team;
        if above {
            for (; i < part.above; i += row.team) {
                set_bit(scratch[part.keys + i].y);
            }
        }
        // Four loads at once, to have them in flight together.
        for (i = part.above + lid % row.team; i < part.end; i += 4u * row.team) {
            let j = vec4(i, i + row.team, i + 2u * row.team, i + 3u * row.team);
            let k = min(j, vec4(last));
            let a = scratch[part.keys + k.x].x;
            let b = scratch[part.keys + k.y].x;
            let c = scratch[part.keys + k.z].x;
            let d = scratch[part.keys + k.w].x;
            known = add_key(known, a, digit, true);
            known = add_key(known, b, digit, j.y < part.end);
            known = add_key(known, c, digit, j.z < part.end);
            known = add_key(known, d, digit, j.w < part.end);
        }
    }
    atomicAdd(&sh_fine[known.run.digit], known.run.n);
    if known.least <= known.most {
        atomicMin(&sh_least, known.least);
        atomicMax(&sh_most, known.most);
    }
}

// The smallest and the largest key that `tally` found.
fn range_inside(lid: u32) -> vec2<u32> {
    workgroupBarrier();
    if lid == 0u {
        sh_range = vec2(atomicLoad(&sh_least), atomicLoad(&sh_most));
    }
    return workgroupUniformLoad(&sh_range);
}

fn clear_range(lid: u32) {
    if lid == 0u {
        atomicStore(&sh_least, 0xFFFFFFFFu);
        atomicStore(&sh_most, 0u);
    }
    clear_fine(lid);
}

// The index of the last score that is selected of those whose key is `key`, the lowest `wanted`.
fn tie_limit(row: Row, at: Lane, key: u32, wanted: u32) -> u32 {
    clear_fine(at.lid);
    for (var p = at.lid / row.team; p < row.parts; p += WG_SIZE / row.team) {
        let part = part_of(row, p);
        var n = 0u;
        for (var i = part.above + at.lid % row.team; i < part.end; i += row.team) {
            n += select(0u, 1u, scratch[part.keys + i].x == key);
        }
        // Bins are searched from the largest, which is to be the first part.
        atomicAdd(&sh_fine[FINE_BINS - 1u - p], n);
    }
    workgroupBarrier();
    let parts = find_bin(true, at.lid, lane_of(at), lanes_of(at), FINE_BINS, wanted);
    let number = FINE_BINS - 1u - parts.digit;
    clear_fine(at.lid);
    let part = part_of(row, number);
    for (var i = part.above + at.lid; i < part.end; i += WG_SIZE) {
        let pair = scratch[part.keys + i];
        if pair.x == key {
            atomicAdd(&sh_fine[FINE_BINS - 1u - pair.y % PART / (PART / FINE_BINS)], 1u);
        }
    }
    workgroupBarrier();
    let places = find_bin(true, at.lid, lane_of(at), lanes_of(at), FINE_BINS, parts.wanted);
    // A bin holds one place or two; of two it may be the first alone.
    let first = number * PART + (FINE_BINS - 1u - places.digit) * (PART / FINE_BINS);
    return first + select(PART / FINE_BINS - 1u, 0u, places.wanted < places.count);
}

// The exact threshold inside the bin, whose keys differ in `bits` bits.
fn refine(row: Row, at: Lane, found: Bin, bits: u32) -> Threshold {
    var bin = found;
    var shift = bits;
    var prefix = 0u;
    var floor = row.floor;
    var first = true;
    while (first && row.mapped) || (bin.count != bin.wanted && shift > 0u) {
        let next = shift - min(shift, FINE_BITS);
        clear_range(at.lid);
        tally(row, at.lid, Digit(row.floor, first, prefix, shift, next), first && row.mapped);
        first = false;
        let range = range_inside(at.lid);
        if range.x == range.y {
            floor = range.x;
            prefix = 0u;
            shift = 0u;
        } else {
            bin = find_bin(true, at.lid, lane_of(at), lanes_of(at), FINE_BINS, bin.wanted);
            prefix = (prefix << (shift - next)) | bin.digit;
            shift = next;
        }
    }
    let key = floor + (prefix << min(shift, 31u));
    if bin.count == bin.wanted {
        return Threshold(key, NO_LIMIT);
    }
    return Threshold(key, tie_limit(row, at, key, bin.wanted));
}

fn mark_one(pair: vec2<u32>, valid: bool, base: u32, threshold: Threshold) {
    if valid && (pair.x > threshold.key || (pair.x == threshold.key && pair.y <= threshold.limit)) {
        set_bit(pair.y - base);
    }
}

// Marks in the map what is selected of the parts that begin from `base` on and fit it; what is above the bin only where `tally` did not.
fn mark(row: Row, lid: u32, base: u32, threshold: Threshold) {
    let end_part = min(row.parts, (base + MAP_BITS) / PART);
    for (var p = base / PART + lid / row.team; p < end_part; p += WG_SIZE / row.team) {
        let part = part_of(row, p);
        let last = max(part.end, 1u) - 1u;
        for (var i = select(0u, part.above, row.mapped) + lid % row.team; i < part.end; i += 4u * row.team) {
            let j = vec4(i, i + row.team, i + 2u * row.team, i + 3u * row.team);
            let k = min(j, vec4(last));
            let a = scratch[part.keys + k.x];
            let b = scratch[part.keys + k.y];
            let c = scratch[part.keys + k.z];
            let d = scratch[part.keys + k.w];
            mark_one(a, true, base, threshold);
            mark_one(b, j.y < part.end, base, threshold);
            mark_one(c, j.z < part.end, base, threshold);
            mark_one(d, j.w < part.end, base, threshold);
        }
    }
}

// How many invocations share each of `parts` parts.
fn team_size(parts: u32) -> u32 {
    return max(WG_SIZE >> (32u - countLeadingZeros(parts - 1u)), 16u);
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let index = wid.y * grid.x + wid.x;
    if index >= params.rows {
        return;
    }
    let len = min(positions[index], params.stride - 1u) + 1u;
    if len <= params.k {
        for (var i = at.lid; i < params.k; i += WG_SIZE) {
            selected[index * params.k + i] = select(-1, i32(i), i < len);
        }
        return;
    }
    clear_map(at.lid);
    let parts = (len + PART - 1u) / PART;
    let first = index * params.parts * PAIRS;
    let stretch = pick(first + COARSE_AT, parts, 0u, at.lid);
    let chosen = pick(first + FINE_AT + stretch.x * (COARSE / 4u), parts, stretch.z, at.lid);
    let bin = stretch.x * COARSE + chosen.x;
    let scale = Scale(scratch[first].x, scratch[first].y);
    let row = Row(first, parts, len, bin, floor_of(scale, bin), team_size(parts), len <= MAP_BITS);
    let threshold = refine(row, at, Bin(bin, params.k - chosen.z, chosen.y - chosen.z), bits_of(scale, bin));
    var place = 0u;
    for (var base = 0u; base < len; base += MAP_BITS) {
        if !row.mapped {
            clear_map(at.lid);
        }
        mark(row, at.lid, base, threshold);
        place = emit(index, at, base, len, place);
    }
}
