// The ascending indices of the k largest of the first positions[t] + 1 scores of row t, then −1.
//
// Grid: workgroup wid takes row wid.y * grid.x + wid.x.
// Requires: nothing beyond the base tier; S a multiple of 4; K up to 4096.
// Numerics: scores are compared as integers (`key_of`), so that the result is exact and the same everywhere.
//
// 1. A histogram of the leading bits of all keys tells the bin of the K-th largest. While that bin holds more than CANDIDATES scores, a
//    histogram of the next bits narrows it.
// 2. The scores of the bin become a list in workgroup memory, where histograms find the exact threshold: scores above it are selected, and
//    of those equal to it the ones whose index is not above a limit.
// 3. Selected scores are bits of a map in workgroup memory; a prefix sum over it gives the places of their indices. A row that fits one map
//    is read twice in all.

struct Params {
    rows: u32,
    k: u32,
    stride: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<vec4<u32>>; // (T, S/4) f32
@group(0) @binding(1) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(2) var<storage, read_write> selected: array<i32>; // (T, K) i32
@group(0) @binding(3) var<storage, read> params: Params;

const BINS: u32 = 1u << BITS;
const FINE_BINS: u32 = 1u << FINE_BITS;
const MAP_BITS: u32 = 32u * MAP_WORDS;
// No index is above it.
const NO_LIMIT: u32 = 0xFFFFFFFFu;

// The bin that holds the last selected score: its digit, how many of its scores are selected, and how many there are.
struct Bin {
    digit: u32,
    wanted: u32,
    count: u32,
}

// Selected are keys above `key`, and those equal to it with an index up to `limit`.
struct Threshold {
    key: u32,
    limit: u32,
}

// The histogram of whole rows; after that the indices of the candidates.
var<workgroup> sh_bins: array<atomic<u32>, BINS>;
var<workgroup> sh_fine: array<atomic<u32>, FINE_BINS>;
var<workgroup> sh_map: array<atomic<u32>, MAP_WORDS>;
var<workgroup> sh_bin: Bin;
var<workgroup> sh_candidates: atomic<u32>;
var<workgroup> sh_least: atomic<u32>;
var<workgroup> sh_most: atomic<u32>;
var<workgroup> sh_index: u32;
var<workgroup> sh_len: u32;

fn load(row: u32, vector: u32) -> vec4<u32> {
    return scores[row * (params.stride / 4u) + vector];
}

fn load_key(row: u32, index: u32) -> u32 {
    return key_of(load(row, index / 4u)[index % 4u]);
}

// Finds the bin of the `wanted`-th largest in a histogram of which this invocation holds `each` neighbouring bins.
fn find_bin(fine: bool, at_lid: u32, lane: u32, lanes: u32, bins: u32, wanted: u32) -> Bin {
    let each = (bins + WG_SIZE - 1u) / WG_SIZE;
    let end = bins - min(bins, at_lid * each);
    let start = bins - min(bins, (at_lid + 1u) * each);
    var sum = 0u;
    for (var i = start; i < end; i += 1u) {
        sum += bin_count(fine, i);
    }
    var before = workgroup_scan(sum, at_lid, lane, lanes);
    if before < wanted && wanted <= before + sum {
        for (var i = end; i > start; i -= 1u) {
            let count = bin_count(fine, i - 1u);
            if before < wanted && wanted <= before + count {
                sh_bin = Bin(i - 1u, wanted - before, count);
            }
            before += count;
        }
    }
    return workgroupUniformLoad(&sh_bin);
}

fn bin_count(fine: bool, i: u32) -> u32 {
    if fine {
        return atomicLoad(&sh_fine[i]);
    }
    return atomicLoad(&sh_bins[i]);
}

fn clear_bins(lid: u32) {
    workgroupBarrier();
    if lid == 0u {
        atomicStore(&sh_least, 0xFFFFFFFFu);
        atomicStore(&sh_most, 0u);
        atomicStore(&sh_candidates, 0u);
    }
    for (var i = lid; i < BINS; i += WG_SIZE) {
        atomicStore(&sh_bins[i], 0u);
    }
    workgroupBarrier();
}

fn clear_fine(lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < FINE_BINS; i += WG_SIZE) {
        atomicStore(&sh_fine[i], 0u);
    }
    workgroupBarrier();
}

fn clear_map(lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < MAP_WORDS; i += WG_SIZE) {
        atomicStore(&sh_map[i], 0u);
    }
    workgroupBarrier();
}

// How many scores of a vector are below `len`.
fn left(vector: u32, len: u32) -> u32 {
    return len - min(len, 4u * vector);
}

// Counts the leading bits of the scores of one vector.
fn tally(bits: vec4<u32>, n: u32) {
    let digits = keys_of(bits) >> vec4(32u - BITS);
    if n > 0u {
        atomicAdd(&sh_bins[digits.x], 1u);
    }
    if n > 1u {
        atomicAdd(&sh_bins[digits.y], 1u);
    }
    if n > 2u {
        atomicAdd(&sh_bins[digits.z], 1u);
    }
    if n > 3u {
        atomicAdd(&sh_bins[digits.w], 1u);
    }
}

fn tally_row(row: u32, len: u32, lid: u32) {
    let vectors = (len + 3u) / 4u;
    for (var i = lid; i < vectors; i += 4u * WG_SIZE) {
        // Four loads at once, to have them in flight together; those past the end repeat the last vector and count nothing.
        let j = vec4(i, i + WG_SIZE, i + 2u * WG_SIZE, i + 3u * WG_SIZE);
        let k = min(j, vec4(vectors - 1u));
        let a = load(row, k.x);
        let b = load(row, k.y);
        let c = load(row, k.z);
        let d = load(row, k.w);
        tally(a, left(j.x, len));
        tally(b, left(j.y, len));
        tally(c, left(j.z, len));
        tally(d, left(j.w, len));
    }
}

// Counts the digit `(key >> next) & mask` of the keys whose bits from `shift` on are those of `prefix`, and finds the least and the largest.
fn tally_digit(row: u32, len: u32, lid: u32, prefix: u32, shift: u32, next: u32, mask: u32) {
    var least = 0xFFFFFFFFu;
    var most = 0u;
    for (var i = lid; i < (len + 3u) / 4u; i += WG_SIZE) {
        let keys = keys_of(load(row, i));
        let n = left(i, len);
        for (var c = 0u; c < 4u; c += 1u) {
            if c < n && (keys[c] >> shift) == prefix {
                least = min(least, keys[c]);
                most = max(most, keys[c]);
                atomicAdd(&sh_bins[(keys[c] >> next) & mask], 1u);
            }
        }
    }
    if least <= most {
        atomicMin(&sh_least, least);
        atomicMax(&sh_most, most);
    }
}

// One vector of the second reading: keys from `floor` on are above the bin, unless they are at most `span` above it, which makes them candidates.
fn collect(bits: vec4<u32>, vector: u32, n: u32, floor: u32, span: u32, mapped: bool) {
    let above = keys_of(bits) - vec4(floor);
    let valid = vec4(n > 0u, n > 1u, n > 2u, n > 3u);
    // A key below the bin wraps to more than any key above it.
    let reached = (above <= vec4(0xFFFFFFFFu - floor)) & valid;
    if any(reached) {
        let inside = reached & (above <= vec4(span));
        if any(inside) {
            for (var c = 0u; c < 4u; c += 1u) {
                if inside[c] {
                    atomicStore(&sh_bins[atomicAdd(&sh_candidates, 1u)], 4u * vector + c);
                }
            }
        }
        if mapped {
            let bit = select(vec4(0u), vec4(1u, 2u, 4u, 8u), reached & !inside);
            let nibble = bit.x | bit.y | bit.z | bit.w;
            if nibble != 0u {
                atomicOr(&sh_map[vector / 8u], nibble << (4u * (vector % 8u)));
            }
        }
    }
}

fn collect_row(row: u32, len: u32, lid: u32, floor: u32, span: u32, mapped: bool) {
    let vectors = (len + 3u) / 4u;
    for (var i = lid; i < vectors; i += 4u * WG_SIZE) {
        let j = vec4(i, i + WG_SIZE, i + 2u * WG_SIZE, i + 3u * WG_SIZE);
        let k = min(j, vec4(vectors - 1u));
        let a = load(row, k.x);
        let b = load(row, k.y);
        let c = load(row, k.z);
        let d = load(row, k.w);
        collect(a, j.x, left(j.x, len), floor, span, mapped);
        collect(b, j.y, left(j.y, len), floor, span, mapped);
        collect(c, j.z, left(j.z, len), floor, span, mapped);
        collect(d, j.w, left(j.w, len), floor, span, mapped);
    }
}

// The exact threshold among the `count` candidates of a bin whose keys begin at `floor`, of which the best `wanted` are selected.
fn refine(row: u32, len: u32, at: Lane, floor: u32, bin_shift: u32, found: Bin) -> Threshold {
    let n = found.count;
    var bin = found;
    var shift = bin_shift;
    var prefix = floor >> shift;
    while bin.count != bin.wanted && shift > 0u {
        let next = shift - min(shift, FINE_BITS);
        let mask = (1u << (shift - next)) - 1u;
        clear_fine(at.lid);
        for (var i = at.lid; i < n; i += WG_SIZE) {
            let key = load_key(row, atomicLoad(&sh_bins[i]));
            if (key >> shift) == prefix {
                atomicAdd(&sh_fine[(key >> next) & mask], 1u);
            }
        }
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
    shift = 32u - countLeadingZeros(len);
    prefix = 0u;
    while bin.count != bin.wanted {
        let next = shift - min(shift, FINE_BITS);
        let mask = (1u << (shift - next)) - 1u;
        clear_fine(at.lid);
        for (var i = at.lid; i < n; i += WG_SIZE) {
            let index = atomicLoad(&sh_bins[i]);
            if load_key(row, index) == key && ((len - index) >> shift) == prefix {
                atomicAdd(&sh_fine[((len - index) >> next) & mask], 1u);
            }
        }
        workgroupBarrier();
        bin = find_bin(true, at.lid, lane_of(at), lanes_of(at), FINE_BINS, bin.wanted);
        prefix = (prefix << (shift - next)) | bin.digit;
        shift = next;
    }
    return Threshold(key, len - (prefix << shift));
}

// The index of the `wanted`-th score whose key is `key`.
fn tie_limit(row: u32, len: u32, at: Lane, key: u32, wanted: u32) -> u32 {
    var seen = 0u;
    for (var base = 0u; seen < wanted; base += WG_SIZE) {
        let i = base + at.lid;
        var n = 0u;
        var equal = vec4(false);
        if 4u * i < len {
            let m = left(i, len);
            equal = (keys_of(load(row, i)) == vec4(key)) & vec4(m > 0u, m > 1u, m > 2u, m > 3u);
            let ones = select(vec4(0u), vec4(1u), equal);
            n = ones.x + ones.y + ones.z + ones.w;
        }
        var before = seen + workgroup_scan(n, at.lid, lane_of(at), lanes_of(at));
        for (var c = 0u; c < 4u; c += 1u) {
            if equal[c] {
                before += 1u;
                if before == wanted {
                    sh_index = 4u * i + c;
                }
            }
        }
        seen += workgroupUniformLoad(&sh_total);
    }
    return workgroupUniformLoad(&sh_index);
}

// Marks in the map what is selected of the indices `base ..` that fit it.
fn mark(row: u32, len: u32, lid: u32, base: u32, threshold: Threshold) {
    let end = (min(len, base + MAP_BITS) + 3u) / 4u;
    for (var i = base / 4u + lid; i < end; i += WG_SIZE) {
        let keys = keys_of(load(row, i));
        let n = left(i, len);
        var nibble = 0u;
        for (var c = 0u; c < 4u; c += 1u) {
            if c < n && (keys[c] > threshold.key || (keys[c] == threshold.key && 4u * i + c <= threshold.limit)) {
                nibble |= 1u << c;
            }
        }
        if nibble != 0u {
            let vector = i - base / 4u;
            atomicOr(&sh_map[vector / 8u], nibble << (4u * (vector % 8u)));
        }
    }
}

// Writes the indices of the map from place `place` on, and returns the place after the last.
fn emit(row: u32, at: Lane, base: u32, end: u32, place: u32) -> u32 {
    let words = (min(end - base, MAP_BITS) + 31u) / 32u;
    let each = (words + WG_SIZE - 1u) / WG_SIZE;
    let first = min(words, at.lid * each);
    let last = min(words, first + each);
    var n = 0u;
    for (var i = first; i < last; i += 1u) {
        n += countOneBits(atomicLoad(&sh_map[i]));
    }
    var to = row * params.k + place + workgroup_scan(n, at.lid, lane_of(at), lanes_of(at));
    for (var i = first; i < last; i += 1u) {
        var word = atomicLoad(&sh_map[i]);
        while word != 0u {
            selected[to] = i32(base + 32u * i + countTrailingZeros(word));
            to += 1u;
            word &= word - 1u;
        }
    }
    return place + workgroupUniformLoad(&sh_total);
}

// Selects `params.k` of `len` scores; `len` is larger.
fn select_row(row: u32, len: u32, at: Lane) {
    clear_bins(at.lid);
    tally_row(row, len, at.lid);
    workgroupBarrier();
    var bin = find_bin(false, at.lid, lane_of(at), lanes_of(at), BINS, params.k);
    var prefix = bin.digit;
    var shift = 32u - BITS;
    while bin.count > CANDIDATES && bin.count != bin.wanted && shift > 0u {
        let next = shift - min(shift, BITS);
        let width = shift - next;
        clear_bins(at.lid);
        tally_digit(row, len, at.lid, prefix, shift, next, (1u << width) - 1u);
        workgroupBarrier();
        bin = find_bin(false, at.lid, lane_of(at), lanes_of(at), BINS, bin.wanted);
        prefix = (prefix << width) | bin.digit;
        shift = next;
        let least = atomicLoad(&sh_least);
        if least == atomicLoad(&sh_most) {
            prefix = least;
            shift = 0u;
        }
    }
    let key = prefix << shift;
    if at.lid == 0u {
        sh_bin = bin;
    }
    clear_map(at.lid);
    let found = workgroupUniformLoad(&sh_bin);
    if found.count == found.wanted || found.count > CANDIDATES {
        var threshold = Threshold(key, NO_LIMIT);
        if found.count != found.wanted {
            threshold.limit = tie_limit(row, len, at, key, found.wanted);
        }
        emit_row(row, len, at, threshold);
        return;
    }
    let mapped = len <= MAP_BITS;
    collect_row(row, len, at.lid, key, (1u << shift) - 1u, mapped);
    workgroupBarrier();
    let threshold = refine(row, len, at, key, shift, found);
    if !mapped {
        emit_row(row, len, at, threshold);
        return;
    }
    for (var i = at.lid; i < found.count; i += WG_SIZE) {
        let index = atomicLoad(&sh_bins[i]);
        let candidate = load_key(row, index);
        if candidate > threshold.key || (candidate == threshold.key && index <= threshold.limit) {
            atomicOr(&sh_map[index / 32u], 1u << (index % 32u));
        }
    }
    workgroupBarrier();
    emit(row, at, 0u, len, 0u);
}

// Writes the selection of a row by its threshold, one map after the other.
fn emit_row(row: u32, len: u32, at: Lane, threshold: Threshold) {
    var place = 0u;
    for (var base = 0u; base < len; base += MAP_BITS) {
        clear_map(at.lid);
        mark(row, len, at.lid, base, threshold);
        workgroupBarrier();
        place = emit(row, at, base, len, place);
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = wid.y * grid.x + wid.x;
    if row >= params.rows {
        return;
    }
    if at.lid == 0u {
        sh_len = min(positions[row], params.stride - 1u) + 1u;
    }
    let len = workgroupUniformLoad(&sh_len);
    if len > params.k {
        select_row(row, len, at);
    } else {
        for (var i = at.lid; i < params.k; i += WG_SIZE) {
            selected[row * params.k + i] = select(-1, i32(i), i < len);
        }
    }
}
