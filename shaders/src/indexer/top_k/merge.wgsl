// The second of two dispatches for few rows: the ascending indices of the k largest of the first positions[t] + 1 scores of row t, then −1.
//
// Grid: workgroup wid takes row wid.y * grid.x + wid.x.
// Requires: nothing beyond the base tier; what split.wgsl left in `scratch`; no more than MAX_PARTS parts.
// Numerics: scores are compared as integers (`key_of`), so that the result is exact and the same everywhere.
//
// 1. As a rule K or more keys are above the floor of split.wgsl, and no more than the workgroup can hold in registers: the selection is among them.
// 2. Where fewer are, all of them are selected, and the first of those equal to the floor: the masks of the parts are enough.
// 3. Where there are not enough of those either, or too many above the floor, the sample misled, and the whole row is read.

struct Params {
    rows: u32,
    k: u32,
    stride: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<vec4<u32>>; // (T, S/4) f32
@group(0) @binding(1) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(2) var<storage, read> scratch: array<vec2<u32>>; // (T, parts, PAIRS) pairs of u32
@group(0) @binding(3) var<storage, read_write> selected: array<i32>; // (T, K) i32
@group(0) @binding(4) var<storage, read> params: Params;

// For each part, the invocation behind those that take its keys, and how many keys it has.
var<workgroup> sh_parts: array<vec2<u32>, MAX_PARTS>;

// The part of invocation `lid`: the first of `parts` that ends behind it.
fn part_of(lid: u32, parts: u32) -> u32 {
    var low = 0u;
    var high = parts;
    while low < high {
        let middle = (low + high) / 2u;
        if sh_parts[middle].x > lid {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    return low;
}

// Selects among the keys above the floor, `each` for an invocation; its part has `above` of them if it is one of `parts`.
fn select_above(row: u32, first: u32, parts: u32, each: u32, above: u32, at: Lane) {
    let teams = (above + each - 1u) / each;
    let before = workgroup_scan(teams, at.lid, lane_of(at), lanes_of(at));
    if at.lid < parts {
        sh_parts[at.lid] = vec2(before + teams, above);
    }
    workgroupBarrier();
    let part = part_of(at.lid, parts);
    var start = 0u;
    var n = 0u;
    if part < parts {
        let found = sh_parts[part];
        let skipped = (at.lid - (found.x - (found.y + each - 1u) / each)) * each;
        start = first + part * PAIRS + KEYS_AT + skipped;
        n = min(each, found.y - skipped);
    }
    var keys: Held;
    var indices: Held;
    for (var j = 0u; j < OWN; j += 1u) { // unrolled
        if j < n {
            let pair = scratch[start + j];
            keys[j] = pair.x;
            indices[j] = pair.y;
        }
    }
    let choice = choose(keys, each, first_bits(n), params.k, at);
    let share = share_of(choice, scan_before(counts_of(choice), at.lid, lane_of(at), lanes_of(at)));
    var to = row * params.k + share.place;
    for (var j = 0u; j < OWN; j += 1u) { // unrolled
        if (share.mask & (1u << j)) != 0u {
            // What many keys leave no registers for is read again.
            if HOLDS_INDICES {
                selected[to] = i32(indices[j]);
            } else {
                selected[to] = i32(scratch[start + j].y);
            }
            to += 1u;
        }
    }
}

// Selects everything above the floor, and the first `equal` of what is equal to it.
fn select_by_masks(row: u32, first: u32, len: u32, equal: u32, at: Lane) {
    var place = 0u;
    var wanted = equal;
    for (var base = 0u; 32u * base < len && place < params.k; base += WG_SIZE) {
        let word = base + at.lid;
        var masks = vec2(0u);
        if 32u * word < len {
            masks = scratch[first + word / (PART / 32u) * PAIRS + MASKS_AT + word % (PART / 32u)];
        }
        let choice = Choice(masks.x, masks.y, wanted);
        let share = share_of(choice, workgroup_scan(counts_of(choice), at.lid, lane_of(at), lanes_of(at)));
        var to = row * params.k + place + share.place;
        for (var mask = share.mask; mask != 0u; mask &= mask - 1u) {
            selected[to] = i32(32u * word + countTrailingZeros(mask));
            to += 1u;
        }
        let total = workgroupUniformLoad(&sh_total);
        let tied = min(total >> 16u, wanted);
        place += (total & 0xFFFFu) + tied;
        wanted -= tied;
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = wid.y * grid.x + wid.x;
    if row >= params.rows {
        return;
    }
    let first = row * params.parts * PAIRS;
    // Counts are under way before the length of the row is known.
    var counts = scratch[first + min(at.lid, params.parts - 1u) * PAIRS];
    let len = min(positions[row], params.stride - 1u) + 1u;
    if len <= params.k {
        for (var i = at.lid; i < params.k; i += WG_SIZE) {
            selected[row * params.k + i] = select(-1, i32(i), i < len);
        }
        return;
    }
    let parts = (len + PART - 1u) / PART;
    counts = select(vec2(0u), counts, at.lid < parts);
    workgroup_scan(counts.x, at.lid, lane_of(at), lanes_of(at));
    let above = workgroupUniformLoad(&sh_total);
    // Every part may leave one invocation with fewer keys than the others.
    let each = (above + WG_SIZE - parts - 1u) / (WG_SIZE - parts);
    if above >= params.k && each <= OWN {
        select_above(row, first, parts, each, counts.x, at);
        return;
    }
    workgroup_scan(counts.y, at.lid, lane_of(at), lanes_of(at));
    let equal = workgroupUniformLoad(&sh_total);
    if above < params.k && above + equal >= params.k {
        select_by_masks(row, first, len, params.k - above, at);
    } else {
        select_row(row, len, at);
    }
}
