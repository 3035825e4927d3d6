// stats[b, h, t] = (lse · log2(e), Σ_j do[t, j] · o[t, j]), what the backward pass needs of each row of probabilities.
//
// Grid: a workgroup takes 16 heads of tokens, 16 lanes each, over x and y.
// Requires: nothing beyond the base tier; V a multiple of 16.
// Numerics: f32, in a fixed order.

struct Params {
    t: u32,
    h: u32,
    rows: u32,
}

@group(0) @binding(0) var<storage, read> o: array<vec4<f32>>; // (B, T, H, V) f32
@group(0) @binding(1) var<storage, read> d_o: array<vec4<f32>>; // (B, T, H, V) f32
@group(0) @binding(2) var<storage, read> lse: array<f32>; // (B, H, T) f32
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>; // (B, H, T) logarithm in powers of two, and dot product
@group(0) @binding(4) var<storage, read> params: Params;

var<workgroup> sh_parts: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = (wid.y * grid.x + wid.x) * 16u + lid / 16u;
    var sum = 0.0;
    if row < params.rows {
        for (var i = lid % 16u; i < V / 4u; i += 16u) {
            sum += dot(o[row * (V / 4u) + i], d_o[row * (V / 4u) + i]);
        }
    }
    sh_parts[lid] = sum;
    workgroupBarrier();
    if lid % 16u == 0u && row < params.rows {
        for (var i = 1u; i < 16u; i += 1u) {
            sum += sh_parts[lid + i];
        }
        let token = row / params.h;
        let at = (token / params.t * params.h + row % params.h) * params.t + token % params.t;
        stats[at] = vec2(lse[at] * 1.4426950408889634, sum);
    }
}
