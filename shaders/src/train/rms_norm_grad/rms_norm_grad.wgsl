// The gradients of y = g · x · r with r = 1 / sqrt(mean(x²) + eps): dx = r · (g · dy − x · r² · mean(g · dy · x)), dg = Σ_n dy · x · r in parts.
//
// Grid: workgroup wid.x takes `rows` rows and leaves one part of dg; invocation j has the columns j, j + WG_SIZE, …
// Requires: nothing beyond the base tier; D of at most COLUMNS · WG_SIZE.
// Numerics: sums in f32, in a fixed order.

struct Params {
    n: u32,
    d: u32,
    rows: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, D) f32
@group(0) @binding(1) var<storage, read> weight: array<f32>; // (D) f32
@group(0) @binding(2) var<storage, read> dy: array<f32>; // (N, D) f32
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // (N, D) f32
@group(0) @binding(4) var<storage, read_write> parts: array<f32>; // (Z, D) f32
@group(0) @binding(5) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>) {
    var gain: array<f32, COLUMNS>;
    var sum: array<f32, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c += 1u) { // unrolled
        let j = at.lid + c * WG_SIZE;
        gain[c] = select(0.0, weight[min(j, params.d - 1u)], j < params.d);
        sum[c] = 0.0;
    }
    let end = min((wid.x + 1u) * params.rows, params.n);
    for (var row = wid.x * params.rows; row < end; row += 1u) {
        var values: array<f32, COLUMNS>;
        var grads: array<f32, COLUMNS>;
        var squares = 0.0;
        var products = 0.0;
        for (var c = 0u; c < COLUMNS; c += 1u) { // unrolled
            let j = at.lid + c * WG_SIZE;
            let from_row = row * params.d + min(j, params.d - 1u);
            values[c] = select(0.0, x[from_row], j < params.d);
            grads[c] = dy[from_row];
            squares += values[c] * values[c];
            products += values[c] * gain[c] * grads[c];
        }
        let square = workgroup_sum(squares, at.lid, lane_of(at), lanes_of(at));
        let product = workgroup_sum(products, at.lid, lane_of(at), lanes_of(at));
        let r = inverseSqrt(square / f32(params.d) + params.eps);
        let back = r * r * product / f32(params.d);
        for (var c = 0u; c < COLUMNS; c += 1u) { // unrolled
            let j = at.lid + c * WG_SIZE;
            if j < params.d {
                dx[row * params.d + j] = r * (gain[c] * grads[c] - values[c] * back);
            }
            sum[c] += grads[c] * values[c] * r;
        }
    }
    for (var c = 0u; c < COLUMNS; c += 1u) { // unrolled
        let j = at.lid + c * WG_SIZE;
        if j < params.d {
            parts[wid.x * params.d + j] = sum[c];
        }
    }
}
