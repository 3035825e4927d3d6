// y = g · x / sqrt(mean(x²) + eps), one row for each workgroup.
//
// Grid: a workgroup for each row, see `grid` of the host; its invocations stride over the D values of the row twice.
// Requires: nothing beyond the base tier; D of any size.
// Numerics: sums in f32, in a fixed order.

struct Params {
    n: u32,
    d: u32,
    x_stride: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, D) f32 in rows of x_stride
@group(0) @binding(1) var<storage, read> weight: array<f32>; // (D) f32
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N, D) f32
@group(0) @binding(3) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let place = wid.y * grid.x + wid.x;
    if place >= params.n {
        return;
    }
    let row = place * params.x_stride;
    let into = place * params.d;
    var squares = 0.0;
    for (var i = at.lid; i < params.d; i += WG_SIZE) {
        let value = x[row + i];
        squares += value * value;
    }
    let sum = workgroup_sum(squares, at.lid, lane_of(at), lanes_of(at));
    let scale = inverseSqrt(sum / f32(params.d) + params.eps);
    for (var i = at.lid; i < params.d; i += WG_SIZE) {
        y[into + i] = weight[i] * (x[row + i] * scale);
    }
}
