// hidden = silu(W_gate x) · (W_up x) for the chosen experts of each token, q4 weights; with NORM, x is normalised first.
//
// Grid: workgroup wid.x takes WG_SIZE / TEAM * ROWS of the I hidden values, workgroup wid.y one slot (token and active expert).
// A workgroup packs all of x once, while its first weights are on their way. A team of TEAM invocations takes ROWS gate rows and their up rows; each
// invocation takes one vector of weights of every row at a time, and the next ones are on their way while it multiplies.
// Loops over an invocation's registers are written out, see `unrolled`.
// Requires: TEAM consecutive invocations, at least four, are in one subgroup; D a multiple of 32; x_stride and x_offset multiples of 4.
// Numerics: x as 16-bit integers with a scale for each group of 32, see packed_q4.wgsl; products and their sum over a group are exact, then f32.
// Output: the hidden values in the order in which `down` reads them, see `hidden_at`.

struct Params {
    x_stride: u32,
    x_offset: u32,
    eps: f32,
}

const UNITS: u32 = D / WEIGHT_VALUES;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (T, x_stride / 4) f32, four in a vector
@group(0) @binding(1) var<storage, read> experts: array<u32>; // (T, A) u32
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>; // (E, 2·I, D) q4, gate rows first
@group(0) @binding(HIDDEN) var<storage, read_write> hidden: array<f32>; // (T, QUADS, A·I / HIDDEN_VALUES, 4) f32
@group(0) @binding(PARAMS) var<storage, read> params: Params;

struct Tile {
    words: array<vec4<u32>, PAIRS>,
    scales: array<f32, PAIRS>,
}

// Where hidden value `column` of all A·I of a token lies: vectors of HIDDEN_VALUES values are split into quads, and each quad's are together.
fn hidden_at(token: u32, column: u32) -> u32 {
    let quad = column % HIDDEN_VALUES / 4u;
    let place = (token * (HIDDEN_VALUES / 4u) + quad) * (A * I / HIDDEN_VALUES) + column / HIDDEN_VALUES;
    return 4u * place + column % 4u;
}

// Row k of ROWS gate rows followed by ROWS up rows. Rows past the end repeat the last one.
fn row_of(first: u32, k: u32) -> u32 {
    return min(first + k % ROWS, I - 1u) + select(0u, I, k >= ROWS);
}

fn load(expert: u32, first: u32, unit: u32) -> Tile {
    var tile: Tile;
    for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
        let row = row_of(first, k);
        tile.words[k] = weights[(expert * 2u * I + row) * UNITS + unit];
        tile.scales[k] = weight_scale(expert, row, unit * WEIGHT_VALUES, 2u * I, D);
    }
    return tile;
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>) {
    let place = at.lid % TEAM;
    let token = wid.y / A;
    let expert = experts[wid.y];
    let first = (wid.x * (WG_SIZE / TEAM) + at.lid / TEAM) * ROWS;
    var next = load(expert, first, min(place, UNITS - 1u));
    let squares = pack(at.lid, (params.x_offset + token * params.x_stride) / 4u, UNITS * 4u);
    var root = 1.0;
    if NORM {
        root = inverseSqrt(workgroup_sum(squares, at.lid, lane_of(at), lanes_of(at)) / f32(D) + params.eps);
    }
    workgroupBarrier();

    var sums: array<f32, PAIRS>;
    for (var unit = place; unit < UNITS; unit += TEAM) {
        var tile = next;
        if unit + TEAM < UNITS {
            next = load(expert, first, unit + TEAM);
        }
        let part = part_of(unit);
        for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
            sums[k] = fma(product(tile.words[k], part), part.scale * tile.scales[k], sums[k]);
        }
    }
    for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
        sums[k] = lanes_sum(sums[k]) * root;
    }
    for (var r = 0u; r < ROWS; r += 1u) { // unrolled
        if place == r % TEAM && first + r < I {
            let gate = sums[r];
            hidden[hidden_at(token, wid.y % A * I + first + r)] = gate / (1.0 + exp(-gate)) * sums[ROWS + r];
        }
    }
}
