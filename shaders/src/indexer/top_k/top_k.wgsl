// The ascending indices of the k largest of the first positions[t] + 1 scores of row t, then −1.
//
// Grid: workgroup wid takes row wid.y * grid.x + wid.x.
// Requires: nothing beyond the base tier; S a multiple of 4; K up to 4096.
// Numerics: scores are compared as integers (`key_of`), so that the result is exact and the same everywhere.
//
// 1. A histogram of the leading bits of all keys tells the bin of the K-th largest. While that bin holds more than CANDIDATES scores, another
//    reading selects what is above it and counts its next bits.
// 2. The scores of the bin become a list in workgroup memory, where histograms find the exact threshold: scores above it are selected, and
//    of those equal to it the ones whose index is not above a limit. A bin of one value too large for the list needs no more than the places of
//    the first scores of that value.
// 3. Selected scores are bits of a map in workgroup memory; a prefix sum over it gives the places of their indices. A row that fits one map
//    is read twice in all, also where most of its scores are equal.

struct Params {
    rows: u32,
    k: u32,
    stride: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<vec4<u32>>; // (T, S/4) f32
@group(0) @binding(1) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(2) var<storage, read_write> selected: array<i32>; // (T, K) i32
@group(0) @binding(3) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = wid.y * grid.x + wid.x;
    if row >= params.rows {
        return;
    }
    let len = min(positions[row], params.stride - 1u) + 1u;
    if len > params.k {
        select_row(row, len, at);
    } else {
        for (var i = at.lid; i < params.k; i += WG_SIZE) {
            selected[row * params.k + i] = select(-1, i32(i), i < len);
        }
    }
}
