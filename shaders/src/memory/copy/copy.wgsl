// y = x, 16 bytes at a time: the bandwidth that a shader can reach on this adapter.
//
// Grid: each invocation copies one vector; invocations past the end do nothing.
// Requires: nothing beyond the base tier; whole vectors of four words.

struct Params {
    n: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>; // (n) 4 words
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>; // (n) 4 words
@group(0) @binding(2) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = (wid.y * grid.x + wid.x) * WG_SIZE + lid;
    if i < params.n {
        y[i] = x[i];
    }
}
