// y = Σ_z parts[z], the parts in their order.
//
// Grid: LANES invocations for each four values, see `grid` of the host.
// Requires: nothing beyond the base tier; N a multiple of 4.
// Numerics: f32; lane l adds the parts l, l + LANES, … in their order, then the sums of the lanes are added in theirs.

struct Params {
    parts: u32,
    quads: u32,
}

@group(0) @binding(0) var<storage, read> parts: array<vec4<f32>>; // (Z, N) f32
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>; // (N) f32
@group(0) @binding(2) var<storage, read> params: Params;

// Four values of a workgroup.
const QUADS: u32 = WG_SIZE / LANES;

var<workgroup> sh_sums: array<vec4<f32>, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let quad = (wid.y * grid.x + wid.x) * QUADS + lid % QUADS;
    let at = min(quad, params.quads - 1u);
    var sum = vec4<f32>();
    for (var z = lid / QUADS; z < params.parts; z += LANES) {
        sum += parts[z * params.quads + at];
    }
    if LANES > 1u {
        sh_sums[lid] = sum;
        workgroupBarrier();
        for (var lane = 1u; lane < LANES; lane += 1u) {
            sum += sh_sums[lane * QUADS + lid % QUADS];
        }
    }
    if lid < QUADS && quad < params.quads {
        y[quad] = sum;
    }
}
