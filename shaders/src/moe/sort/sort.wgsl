// Sorts assignments (token and slot) by expert, and cuts each expert's into tiles of TILE.
//
// Grid: workgroup wid.x takes expert wid.x. It counts the assignments of all experts, finds where its own begin, and writes them in their order.
// Requires: every expert is below E.
// Numerics: whole numbers; the result does not depend on the order in which anything runs.

struct Params {
    n: u32,
}

@group(0) @binding(0) var<storage, read> experts: array<u32>; // (N) u32
@group(0) @binding(1) var<storage, read_write> order: array<u32>; // (N) u32, assignments by expert
@group(0) @binding(2) var<storage, read_write> offsets: array<u32>; // (E + 1) u32, where each expert's begin
@group(0) @binding(3) var<storage, read_write> tiles: array<vec2<u32>>; // (1 + tiles) u32 pairs: the count, then expert and first place of each
@group(0) @binding(4) var<storage, read> params: Params;

var<workgroup> sh_counts: array<atomic<u32>, E>;
var<workgroup> sh_sums: array<vec2<u32>, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    for (var e = lid; e < E; e += WG_SIZE) {
        atomicStore(&sh_counts[e], 0u);
    }
    workgroupBarrier();
    for (var i = lid; i < params.n; i += WG_SIZE) {
        atomicAdd(&sh_counts[experts[i]], 1u);
    }
    workgroupBarrier();

    // Assignments and tiles of the experts before this one.
    var before = vec2<u32>(0u);
    for (var e = lid; e < wid.x; e += WG_SIZE) {
        let count = atomicLoad(&sh_counts[e]);
        before += vec2<u32>(count, (count + TILE - 1u) / TILE);
    }
    sh_sums[lid] = before;
    workgroupBarrier();
    for (var half = WG_SIZE / 2u; half > 0u; half /= 2u) {
        if lid < half {
            sh_sums[lid] += sh_sums[lid + half];
        }
        workgroupBarrier();
    }
    let start = sh_sums[0];
    workgroupBarrier();

    // Each invocation takes one stretch of the assignments; a running sum over the stretches places its finds.
    let stretch = (params.n + WG_SIZE - 1u) / WG_SIZE;
    let first = min(lid * stretch, params.n);
    let end = min(first + stretch, params.n);
    var found = 0u;
    for (var i = first; i < end; i += 1u) {
        found += select(0u, 1u, experts[i] == wid.x);
    }
    sh_sums[lid].x = found;
    workgroupBarrier();
    for (var reach = 1u; reach < WG_SIZE; reach *= 2u) {
        var sum = sh_sums[lid].x;
        if lid >= reach {
            sum += sh_sums[lid - reach].x;
        }
        workgroupBarrier();
        sh_sums[lid].x = sum;
        workgroupBarrier();
    }
    var place = start.x + sh_sums[lid].x - found;
    for (var i = first; i < end; i += 1u) {
        if experts[i] == wid.x {
            order[place] = i;
            place += 1u;
        }
    }

    let count = atomicLoad(&sh_counts[wid.x]);
    let n_tiles = (count + TILE - 1u) / TILE;
    for (var tile = lid; tile < n_tiles; tile += WG_SIZE) {
        tiles[1u + start.y + tile] = vec2<u32>(wid.x, start.x + tile * TILE);
    }
    if lid == 0u {
        offsets[wid.x] = start.x;
        if wid.x == E - 1u {
            offsets[E] = params.n;
            tiles[0] = vec2<u32>(start.y + n_tiles, 0u);
        }
    }
}
