// y += Σ_a weight_a · W_down[expert_a] hidden_a for each token, q4 weights.
//
// Grid: workgroup wid.x takes ROWS of the D outputs, workgroup wid.y one token.
// The A rows of one output, one of each chosen expert, are one sum of A·I terms; each invocation takes every WG_SIZE-th vector of it, and the
// hidden values that belong to it serve ROWS outputs. The next vectors and values are on their way meanwhile.
// Loops over an invocation's registers are written out, see `unrolled`.
// Requires: I a multiple of 32; hidden values packed, as `gate_up` leaves them.
// Numerics: hidden values as 16-bit integers with a scale for each group of 32, see packed_q4_product.wgsl; products and their sum over a group are
// exact, then f32, in a fixed order.

struct Params {
    y_stride: u32,
    y_offset: u32,
}

const UNITS: u32 = I / WEIGHT_VALUES;

@group(0) @binding(0) var<storage, read> hidden: array<vec4<u32>>; // (T, 5, A·UNITS): four words of codes, scale and start
@group(0) @binding(1) var<storage, read> experts: array<u32>; // (T, A) u32
@group(0) @binding(2) var<storage, read> expert_weights: array<f32>; // (T, A) f32
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>; // (E, D, I) q4
@group(0) @binding(Y) var<storage, read_write> y: array<f32>; // (T, y_stride) f32
@group(0) @binding(PARAMS) var<storage, read> params: Params;

// Rows past the end repeat the last one.
fn row_of(first: u32, k: u32) -> u32 {
    return min(first + k, D - 1u);
}

// One vector of each of ROWS rows, and their scales with the weight of the expert.
struct Tile {
    words: array<vec4<u32>, ROWS>,
    scales: array<f32, ROWS>,
}

// Loads vector i of all A·UNITS.
fn load(token: u32, first: u32, i: u32) -> Tile {
    let slot = token * A + i / UNITS;
    let unit = i % UNITS;
    let expert = experts[slot];
    let factor = expert_weights[slot];
    var tile: Tile;
    for (var k = 0u; k < ROWS; k += 1u) { // unrolled
        let row = row_of(first, k);
        tile.words[k] = weights[(expert * D + row) * UNITS + unit];
        tile.scales[k] = weight_scale(expert, row, unit * WEIGHT_VALUES, D, I) * factor;
    }
    return tile;
}

// The values that belong to vector i.
fn part_of(token: u32, i: u32) -> Part {
    let at = token * 5u * A * UNITS + i;
    let group = hidden[at + 4u * A * UNITS].xy;
    return Part(bitcast<f32>(group.x), bitcast<i32>(group.y), hidden[at], hidden[at + A * UNITS], hidden[at + 2u * A * UNITS], hidden[at + 3u * A * UNITS]);
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>) {
    let first = wid.x * ROWS;
    var sums: array<f32, SUMS>;
    var next = load(wid.y, first, min(at.lid, A * UNITS - 1u));
    var next_part = part_of(wid.y, min(at.lid, A * UNITS - 1u));
    for (var i = at.lid; i < A * UNITS; i += WG_SIZE) {
        var tile = next;
        let part = next_part;
        if i + WG_SIZE < A * UNITS {
            next = load(wid.y, first, i + WG_SIZE);
            next_part = part_of(wid.y, i + WG_SIZE);
        }
        for (var k = 0u; k < ROWS; k += 1u) { // unrolled
            sums[k] = fma(product(tile.words[k], part), part.scale * tile.scales[k], sums[k]);
        }
    }
    bring_sums(sums, at);

    if at.lid < ROWS && first + at.lid < D {
        y[params.y_offset + wid.y * params.y_stride + first + at.lid] += team_sum(at.lid, 0u, lanes_of(at));
    }
}
