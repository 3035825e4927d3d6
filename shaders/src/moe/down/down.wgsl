// y += Σ_a weight_a · W_down[expert_a] hidden_a for each token.
//
// Grid: workgroup wid.x takes ROWS of the D outputs, workgroup wid.y one token.
// The A rows of one output, one of each chosen expert, are one sum of A·I terms; each invocation takes every WG_SIZE-th vector of it, and the
// hidden values that belong to it serve ROWS outputs.
// Loops over an invocation's registers are written out, see `unrolled`.
// Requires: I a multiple of the values of a vector; hidden values in the order in which `gate_up` leaves them.
// Numerics: sums in f32, in a fixed order.

struct Params {
    y_stride: u32,
    y_offset: u32,
}

const UNITS: u32 = I / WEIGHT_VALUES;

@group(0) @binding(0) var<storage, read> hidden: array<vec4<f32>>; // (T, QUADS, A·UNITS) f32, four in a vector
@group(0) @binding(1) var<storage, read> experts: array<u32>; // (T, A) u32
@group(0) @binding(2) var<storage, read> expert_weights: array<f32>; // (T, A) f32
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>; // (E, D, I) packed
@group(0) @binding(Y) var<storage, read_write> y: array<f32>; // (T, y_stride) f32
@group(0) @binding(PARAMS) var<storage, read> params: Params;

// Rows past the end repeat the last one.
fn row_of(first: u32, k: u32) -> u32 {
    return min(first + k, D - 1u);
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>) {
    let first = wid.x * ROWS;
    var sums: array<f32, SUMS>;
    for (var i = at.lid; i < A * UNITS; i += WG_SIZE) {
        let slot = wid.y * A + i / UNITS;
        let unit = i % UNITS;
        let expert = experts[slot];
        var words: array<vec4<u32>, ROWS>;
        for (var k = 0u; k < ROWS; k += 1u) { // unrolled
            words[k] = weights[(expert * D + row_of(first, k)) * UNITS + unit];
        }
        var part: array<f32, ROWS>;
        for (var q = 0u; q < QUADS; q += 1u) { // unrolled
            let value = stepped_x(hidden[(wid.y * QUADS + q) * A * UNITS + i]);
            for (var k = 0u; k < ROWS; k += 1u) { // unrolled
                let weight = stepped4(words[k], q);
                part[k] = fma(weight.w, value.w, fma(weight.z, value.z, fma(weight.y, value.y, fma(weight.x, value.x, part[k]))));
            }
        }
        let factor = expert_weights[slot];
        for (var k = 0u; k < ROWS; k += 1u) { // unrolled
            sums[k] += part[k] * (weight_scale(expert, row_of(first, k), unit * WEIGHT_VALUES, D, I) * factor);
        }
    }
    bring_sums(sums, at);

    if at.lid < ROWS && first + at.lid < D {
        y[params.y_offset + wid.y * params.y_stride + first + at.lid] += team_sum(at.lid, 0u, lanes_of(at));
    }
}
