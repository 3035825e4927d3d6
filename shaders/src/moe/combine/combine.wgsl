// y += Σ_a weight_a · part_a for each token.
//
// Grid: one invocation for four outputs, workgroups over two dimensions, see `grid`.
// Requires: D, y_stride and y_offset multiples of 4.
// Numerics: f32, in the order of the slots.

struct Params {
    t: u32,
    d: u32,
    y_stride: u32,
    y_offset: u32,
}

@group(0) @binding(0) var<storage, read> parts: array<vec4<f32>>; // (T, A, D / 4) f32, four in a vector
@group(0) @binding(1) var<storage, read> expert_weights: array<f32>; // (T, A) f32
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (T, y_stride / 4) f32, four in a vector
@group(0) @binding(3) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let i = (wid.y * grid.x + wid.x) * WG_SIZE + lid;
    let quads = params.d / 4u;
    if i >= params.t * quads {
        return;
    }
    let token = i / quads;
    let quad = i % quads;
    var sum = vec4<f32>(0.0);
    for (var a = 0u; a < A; a += 1u) {
        let slot = token * A + a;
        sum += expert_weights[slot] * parts[slot * quads + quad];
    }
    y[(params.y_offset + token * params.y_stride) / 4u + quad] += sum;
}
