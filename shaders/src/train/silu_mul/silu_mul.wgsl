// h = silu(gate) · up, or the gradients of gate and up from that of h.
//
// Grid: an invocation for each four values, see `grid` of the host.
// Requires: nothing beyond the base tier; N a multiple of 4.
// Numerics: f32.

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read> gate: array<vec4<f32>>; // (N) f32
@group(0) @binding(1) var<storage, read> up: array<vec4<f32>>; // (N) f32
@group(0) @binding(PARAMS) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let at = (wid.y * grid.x + wid.x) * WG_SIZE + lid;
    if at < params.quads {
        let g = gate[at];
        // The exponential of a large negative gate is infinite or large; both give zero.
        write(at, g, up[at], 1.0 / (1.0 + exp(-max(g, vec4<f32>(-80.0)))));
    }
}
