// u[t, h] = Σ_splits 2^(m - M) · a / Σ_splits 2^(m - M) · l, with M the largest m; zeros where every split is empty.
//
// Grid: workgroup (wid.x, wid.y, wid.z) takes a head of a query and one of PARTS shares of its columns. Invocations are GROUPS × COLUMNS: a
// group takes every GROUPS-th split and each of its invocations four columns; the groups are added through workgroup memory.
// Requires: nothing beyond the base tier; C a multiple of 4 · PARTS, C / PARTS at most 4 · WG_SIZE; at most MAX_SPLITS = WG_SIZE splits; empty
// splits only after others.
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

const COLUMNS: u32 = LATENT / 4u / PARTS;
const GROUPS: u32 = WG_SIZE / COLUMNS;

var<workgroup> sh_stats: array<vec2<f32>, MAX_SPLITS>;
// 2^(m - M) of each split.
var<workgroup> sh_weights: array<f32, MAX_SPLITS>;
var<workgroup> sh_sums: array<vec4<f32>, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let h = wid.x;
    let t = wid.y;
    if lid < params.n_splits {
        sh_stats[lid] = stats[(t * params.n_splits + lid) * params.padded_heads + h];
    }
    workgroupBarrier();
    var largest = -3e38;
    var filled = 0u;
    for (var i = 0u; i < params.n_splits; i += 1u) {
        let of_split = sh_stats[i];
        largest = max(largest, select(-3e38, of_split.x, of_split.y > 0.0));
        filled = select(filled, i + 1u, of_split.y > 0.0);
    }
    if lid < params.n_splits {
        sh_weights[lid] = select(0.0, exp2(sh_stats[lid].x - largest), lid < filled);
    }
    workgroupBarrier();
    let column = wid.z * COLUMNS + lid % COLUMNS;
    let group = lid / COLUMNS;
    var sum = vec4(0.0);
    if group < GROUPS {
        // Four splits at a time, so that their loads overlap.
        for (var i = group; i < filled; i += 4u * GROUPS) {
            let splits = vec4(i, i + GROUPS, i + 2u * GROUPS, i + 3u * GROUPS);
            let known = min(splits, vec4(filled - 1u));
            let base = (t * params.n_splits + known) * (params.padded_heads * (LATENT / 4u)) + h * (LATENT / 4u) + column;
            let v0 = partials[base.x];
            let v1 = partials[base.y];
            let v2 = partials[base.z];
            let v3 = partials[base.w];
            let weights = vec4(sh_weights[known.x], sh_weights[known.y], sh_weights[known.z], sh_weights[known.w]);
            let weight = select(weights, vec4(0.0), splits >= vec4(filled));
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
            total += sh_weights[i] * sh_stats[i].y;
        }
        let scale = select(0.0, 1.0 / total, filled > 0u);
        u[(t * params.u_stride + params.u_offset + h * LATENT) / 4u + column] = sum * scale;
    }
}
