// y = Σ_z parts[z], the parts in their order.
//
// Grid: an invocation for each four values, see `grid` of the host.
// Requires: nothing beyond the base tier; N a multiple of 4.
// Numerics: f32, added from the first part to the last.

struct Params {
    parts: u32,
    quads: u32,
}

@group(0) @binding(0) var<storage, read> parts: array<vec4<f32>>; // (Z, N) f32
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>; // (N) f32
@group(0) @binding(2) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let at = (wid.y * grid.x + wid.x) * WG_SIZE + lid;
    if at >= params.quads {
        return;
    }
    var sum = parts[at];
    for (var z = 1u; z < params.parts; z += 1u) {
        sum += parts[z * params.quads + at];
    }
    y[at] = sum;
}
