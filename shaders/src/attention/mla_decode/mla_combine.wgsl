// u[t, h] = Σ_splits 2^(m - M) · a / Σ_splits 2^(m - M) · l, with M the largest m; zeros where every split is empty.
//
// Grid: workgroup (wid.x, wid.y) takes a head of a query. Invocations are GROUPS × (C/4): a group takes every GROUPS-th split and each of
// its invocations four columns; the groups are added through workgroup memory.
// Requires: nothing beyond the base tier; C a multiple of 8, at most 4 · WG_SIZE; at most MAX_SPLITS splits; empty splits only after others.
// Numerics: f32, in a fixed order.

struct Params {
    h: u32,
    n_splits: u32,
    padded_heads: u32,
    u_stride: u32,
    u_offset: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<vec4<f32>>; // (T, SPLITS, H, C) f32
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>; // (T, SPLITS, H) maximum and sum
@group(0) @binding(2) var<storage, read_write> u: array<vec4<f32>>; // (T, H, C) f32 in rows of u_stride
@group(0) @binding(3) var<storage, read> params: Params;

const COLUMNS: u32 = LATENT / 4u;
const GROUPS: u32 = WG_SIZE / COLUMNS;

var<workgroup> sh_stats: array<vec2<f32>, MAX_SPLITS>;
var<workgroup> sh_sums: array<vec4<f32>, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let h = wid.x;
    let t = wid.y;
    for (var i = lid; i < params.n_splits; i += WG_SIZE) {
        sh_stats[i] = stats[(t * params.n_splits + i) * params.padded_heads + h];
    }
    workgroupBarrier();
    var largest = -3e38;
    var filled = 0u;
    for (var i = 0u; i < params.n_splits; i += 1u) {
        if sh_stats[i].y > 0.0 {
            largest = max(largest, sh_stats[i].x);
            filled = i + 1u;
        }
    }
    let column = lid % COLUMNS;
    let group = lid / COLUMNS;
    var sum = vec4(0.0);
    if group < GROUPS {
        // Four splits at a time, so that their loads overlap.
        for (var i = group; i < filled; i += 4u * GROUPS) {
            let splits = min(vec4(i, i + GROUPS, i + 2u * GROUPS, i + 3u * GROUPS), vec4(filled - 1u));
            let base = (t * params.n_splits + splits) * (params.padded_heads * COLUMNS) + h * COLUMNS + column;
            let v0 = partials[base.x];
            let v1 = partials[base.y];
            let v2 = partials[base.z];
            let v3 = partials[base.w];
            let m = vec4(sh_stats[splits.x].x, sh_stats[splits.y].x, sh_stats[splits.z].x, sh_stats[splits.w].x);
            let past = vec4(i, i + GROUPS, i + 2u * GROUPS, i + 3u * GROUPS) >= vec4(filled);
            let weight = select(exp2(m - largest), vec4(0.0), past);
            sum += weight.x * v0 + weight.y * v1 + weight.z * v2 + weight.w * v3;
        }
    }
    sh_sums[lid] = sum;
    workgroupBarrier();
    if lid < COLUMNS {
        for (var g = 1u; g < GROUPS; g += 1u) {
            sum += sh_sums[g * COLUMNS + lid];
        }
        var total = 0.0;
        for (var i = 0u; i < filled; i += 1u) {
            total += exp2(sh_stats[i].x - largest) * sh_stats[i].y;
        }
        let scale = select(0.0, 1.0 / total, filled > 0u);
        u[(t * params.u_stride + params.u_offset + h * LATENT) / 4u + lid] = sum * scale;
    }
}
