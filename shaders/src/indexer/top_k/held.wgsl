// The ascending indices of the k largest of the first positions[t] + 1 scores of row t, then −1, for rows that a workgroup holds in registers.
//
// Grid: workgroup wid takes row wid.y * grid.x + wid.x.
// Requires: nothing beyond the base tier; S a multiple of 4, at most OWN · WG_SIZE; K up to 4096.
// Numerics: scores are compared as integers (`key_of`), so that the result is exact and the same everywhere. How they fall into bins is rounded,
//   but never against their order.
//
// A row is read once, before its length is known. An invocation holds neighbouring scores, so that sums over the invocations before it give the
// places of its indices.

struct Params {
    rows: u32,
    k: u32,
    stride: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<vec4<u32>>; // (T, S/4) f32
@group(0) @binding(1) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(2) var<storage, read_write> selected: array<i32>; // (T, K) i32
@group(0) @binding(3) var<storage, read> params: Params;

var<workgroup> sh_bins: array<atomic<u32>, SLOTS>;

fn bin_count(fine: bool, i: u32) -> u32 {
    return atomicLoad(&sh_bins[i]);
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = wid.y * grid.x + wid.x;
    if row >= params.rows {
        return;
    }
    let vectors = params.stride / 4u;
    let each = (vectors + WG_SIZE - 1u) / WG_SIZE;
    var keys: Held;
    for (var v = 0u; v < VECTORS; v += 1u) { // unrolled
        if v < each {
            let four = keys_of(scores[row * vectors + min(at.lid * each + v, vectors - 1u)]);
            keys[4u * v] = four.x;
            keys[4u * v + 1u] = four.y;
            keys[4u * v + 2u] = four.z;
            keys[4u * v + 3u] = four.w;
        }
    }
    let len = min(positions[row], params.stride - 1u) + 1u;
    if len <= params.k {
        for (var i = at.lid; i < params.k; i += WG_SIZE) {
            selected[row * params.k + i] = select(-1, i32(i), i < len);
        }
        return;
    }
    let first = at.lid * 4u * each;
    let n = min(len - min(len, first), 4u * each);
    let choice = choose(keys, 4u * each, first_bits(n), params.k, at);
    let share = share_of(choice, scan_before(counts_of(choice), at.lid, lane_of(at), lanes_of(at)));
    var to = row * params.k + share.place;
    for (var mask = share.mask; mask != 0u; mask &= mask - 1u) {
        selected[to] = i32(first + countTrailingZeros(mask));
        to += 1u;
    }
}
