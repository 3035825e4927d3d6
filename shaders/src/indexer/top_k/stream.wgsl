// The selection of a row of any length, which one workgroup reads several times. Needs BITS, FINE_BITS, CANDIDATES, WG_SIZE, `scores` and
// `params.stride`, bins.wgsl and map.wgsl.

const FINE_BINS: u32 = 1u << FINE_BITS;
const BINS: u32 = 1u << BITS;

// Selected are keys above `key`, and those equal to it with an index up to `limit`.
struct Threshold {
    key: u32,
    limit: u32,
}

// No index is above it.
const NO_LIMIT: u32 = 0xFFFFFFFFu;

var<workgroup> sh_fine: array<atomic<u32>, FINE_BINS>;

fn clear_fine(lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < FINE_BINS; i += WG_SIZE) {
        atomicStore(&sh_fine[i], 0u);
    }
    workgroupBarrier();
}

// Equal digits that one invocation met one after the other: a plateau of equal scores would queue at one counter otherwise.
struct Run {
    digit: u32,
    n: u32,
}

fn add_fine(run: Run, digit: u32) -> Run {
    var next = run;
    if digit != run.digit {
        atomicAdd(&sh_fine[run.digit], run.n);
        next = Run(digit, 0u);
    }
    next.n += 1u;
    return next;
}

// The histogram of whole rows; after that the indices of the candidates.
var<workgroup> sh_bins: array<atomic<u32>, BINS>;
var<workgroup> sh_candidates: atomic<u32>;
var<workgroup> sh_least: atomic<u32>;
var<workgroup> sh_most: atomic<u32>;
var<workgroup> sh_range: vec2<u32>;
var<workgroup> sh_index: u32;

fn load(row: u32, vector: u32) -> vec4<u32> {
    return scores[row * (params.stride / 4u) + vector];
}

fn load_key(row: u32, index: u32) -> u32 {
    return key_of(load(row, index / 4u)[index % 4u]);
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

// How many scores of a vector are below `len`.
fn left(vector: u32, len: u32) -> u32 {
    return len - min(len, 4u * vector);
}

fn add_bin(run: Run, digit: u32) -> Run {
    var next = run;
    if digit != run.digit {
        atomicAdd(&sh_bins[run.digit], run.n);
        next = Run(digit, 0u);
    }
    next.n += 1u;
    return next;
}

// Counts the leading bits of the scores of one vector.
fn tally(run: Run, bits: vec4<u32>) -> Run {
    let digits = keys_of(bits) >> vec4(32u - BITS);
    return add_bin(add_bin(add_bin(add_bin(run, digits.x), digits.y), digits.z), digits.w);
}

fn tally_row(row: u32, len: u32, lid: u32) {
    let vectors = len / 4u;
    var run = Run(0u, 0u);
    var i = lid;
    // Four loads at once, to have them in flight together.
    for (; i + 3u * WG_SIZE < vectors; i += 4u * WG_SIZE) {
        let a = load(row, i);
        let b = load(row, i + WG_SIZE);
        let c = load(row, i + 2u * WG_SIZE);
        let d = load(row, i + 3u * WG_SIZE);
        run = tally(tally(tally(tally(run, a), b), c), d);
    }
    for (; i < vectors; i += WG_SIZE) {
        run = tally(run, load(row, i));
    }
    if lid < len % 4u {
        run = add_bin(run, load_key(row, 4u * vectors + lid) >> (32u - BITS));
    }
    atomicAdd(&sh_bins[run.digit], run.n);
}

// What one invocation knows of the bin that is narrowed.
struct Inside {
    run: Run,
    least: u32,
    most: u32,
}

// Which bits of a key are counted next.
struct Digit {
    shift: u32,
    mask: u32,
}

fn narrow_one(known: Inside, key: u32, inside: bool, digit: Digit) -> Inside {
    var next = known;
    if inside {
        next.least = min(next.least, key);
        next.most = max(next.most, key);
        next.run = add_bin(next.run, (key >> digit.shift) & digit.mask);
    }
    return next;
}

fn mark_vector(vector: u32, chosen: vec4<bool>) {
    let bit = select(vec4(0u), vec4(1u, 2u, 4u, 8u), chosen);
    let nibble = bit.x | bit.y | bit.z | bit.w;
    if nibble != 0u {
        atomicOr(&sh_map[vector / 8u], nibble << (4u * (vector % 8u)));
    }
}

// Another reading of a row: counts a digit of the keys from `floor` to `floor + span`, finds the least and the largest of them, and selects the
// keys above.
fn narrow(row: u32, len: u32, lid: u32, floor: u32, span: u32, digit: Digit, mapped: bool) {
    var known = Inside(Run(0u, 0u), 0xFFFFFFFFu, 0u);
    for (var i = lid; i < (len + 3u) / 4u; i += WG_SIZE) {
        let keys = keys_of(load(row, i));
        let n = left(i, len);
        let above = keys - vec4(floor);
        // A key below the bin wraps to more than any key above it.
        let reached = (above <= vec4(0xFFFFFFFFu - floor)) & vec4(n > 0u, n > 1u, n > 2u, n > 3u);
        let inside = reached & (above <= vec4(span));
        known = narrow_one(known, keys.x, inside.x, digit);
        known = narrow_one(known, keys.y, inside.y, digit);
        known = narrow_one(known, keys.z, inside.z, digit);
        known = narrow_one(known, keys.w, inside.w, digit);
        if mapped {
            mark_vector(i, reached & !inside);
        }
    }
    atomicAdd(&sh_bins[known.run.digit], known.run.n);
    if known.least <= known.most {
        atomicMin(&sh_least, known.least);
        atomicMax(&sh_most, known.most);
    }
}

// The least and the largest key that `narrow` found.
fn range_inside(lid: u32) -> vec2<u32> {
    if lid == 0u {
        sh_range = vec2(atomicLoad(&sh_least), atomicLoad(&sh_most));
    }
    return workgroupUniformLoad(&sh_range);
}

fn add_candidate(inside: bool, index: u32) {
    if inside {
        atomicStore(&sh_bins[atomicAdd(&sh_candidates, 1u)], index);
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
            add_candidate(inside.x, 4u * vector);
            add_candidate(inside.y, 4u * vector + 1u);
            add_candidate(inside.z, 4u * vector + 2u);
            add_candidate(inside.w, 4u * vector + 3u);
        }
        if mapped {
            mark_vector(vector, reached & !inside);
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
        var run = Run(0u, 0u);
        for (var i = at.lid; i < n; i += WG_SIZE) {
            let key = load_key(row, atomicLoad(&sh_bins[i]));
            if (key >> shift) == prefix {
                run = add_fine(run, (key >> next) & mask);
            }
        }
        atomicAdd(&sh_fine[run.digit], run.n);
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

// Selects the first `wanted` scores whose key is `key` in the map, where it fits, and returns the index of the last of them.
fn select_equal(row: u32, len: u32, at: Lane, key: u32, wanted: u32, mapped: bool) -> u32 {
    var seen = 0u;
    for (var base = 0u; seen < wanted; base += WG_SIZE) {
        let i = base + at.lid;
        var equal = vec4(false);
        if 4u * i < len {
            let m = left(i, len);
            equal = (keys_of(load(row, i)) == vec4(key)) & vec4(m > 0u, m > 1u, m > 2u, m > 3u);
        }
        let ones = select(vec4(0u), vec4(1u), equal);
        let n = ones.x + ones.y + ones.z + ones.w;
        let before = seen + workgroup_scan(n, at.lid, lane_of(at), lanes_of(at));
        // How many come before each of the four.
        let earlier = vec4(before) + vec4(0u, ones.x, ones.x + ones.y, n - ones.w);
        let chosen = equal & (earlier < vec4(wanted));
        if mapped {
            mark_vector(i, chosen);
        }
        let last = equal & (earlier == vec4(wanted - 1u));
        if any(last) {
            let offset = select(vec4(0u), vec4(0u, 1u, 2u, 3u), last);
            sh_index = 4u * i + (offset.x | offset.y | offset.z | offset.w);
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
        let early = (vec4(4u * i) + vec4(0u, 1u, 2u, 3u)) <= vec4(threshold.limit);
        let chosen = (keys > vec4(threshold.key)) | ((keys == vec4(threshold.key)) & early);
        mark_vector(i - base / 4u, chosen & vec4(n > 0u, n > 1u, n > 2u, n > 3u));
    }
}

// Writes the selection of a row by its threshold, one map after the other.
fn emit_row(row: u32, len: u32, at: Lane, threshold: Threshold) {
    var place = 0u;
    for (var base = 0u; base < len; base += MAP_BITS) {
        clear_map(at.lid);
        mark(row, len, at.lid, base, threshold);
        place = emit(row, at, base, len, place);
    }
}

// Selects `params.k` of `len` scores; `len` is larger.
fn select_row(row: u32, len: u32, at: Lane) {
    let mapped = len <= MAP_BITS;
    for (var i = at.lid; i < MAP_WORDS; i += WG_SIZE) {
        atomicStore(&sh_map[i], 0u);
    }
    clear_bins(at.lid);
    tally_row(row, len, at.lid);
    workgroupBarrier();
    var bin = find_bin(false, at.lid, lane_of(at), lanes_of(at), BINS, params.k);
    var floor = bin.digit << (32u - BITS);
    var shift = 32u - BITS;
    // Whether the map holds all keys above `floor`.
    var marked = false;
    while bin.count > CANDIDATES && bin.count != bin.wanted && shift > 0u {
        let next = shift - min(shift, BITS);
        clear_bins(at.lid);
        narrow(row, len, at.lid, floor, (1u << shift) - 1u, Digit(next, (1u << (shift - next)) - 1u), mapped);
        workgroupBarrier();
        let range = range_inside(at.lid);
        if range.x == range.y {
            floor = range.x;
            shift = 0u;
            marked = mapped;
        } else {
            bin = find_bin(false, at.lid, lane_of(at), lanes_of(at), BINS, bin.wanted);
            floor |= bin.digit << next;
            shift = next;
        }
    }
    if bin.count == bin.wanted {
        emit_row(row, len, at, Threshold(floor, NO_LIMIT));
    } else if bin.count > CANDIDATES {
        let limit = select_equal(row, len, at, floor, bin.wanted, marked);
        if marked {
            emit(row, at, 0u, len, 0u);
        } else {
            emit_row(row, len, at, Threshold(floor, limit));
        }
    } else {
        clear_bins(at.lid);
        collect_row(row, len, at.lid, floor, (1u << shift) - 1u, mapped);
        workgroupBarrier();
        let threshold = refine(row, len, at, floor, shift, bin);
        if mapped {
            mark_candidates(row, at.lid, bin.count, threshold);
            emit(row, at, 0u, len, 0u);
        } else {
            emit_row(row, len, at, threshold);
        }
    }
}

fn mark_candidates(row: u32, lid: u32, count: u32, threshold: Threshold) {
    for (var i = lid; i < count; i += WG_SIZE) {
        let index = atomicLoad(&sh_bins[i]);
        let candidate = load_key(row, index);
        if candidate > threshold.key || (candidate == threshold.key && index <= threshold.limit) {
            atomicOr(&sh_map[index / 32u], 1u << (index % 32u));
        }
    }
}

