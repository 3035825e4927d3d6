// hidden = silu(W_gate x) · (W_up x) for the chosen experts of each token; with NORM, x is normalised first.
//
// Grid: workgroup wid.x takes TEAMS * ROWS of the I hidden values, workgroup wid.y one slot (token and active expert).
// A team of TEAM invocations takes ROWS gate rows and their up rows; each invocation takes one vector of weights of every row at a time, and holds
// the part of x that belongs to it in registers.
// Loops over an invocation's registers are written out, see `unrolled`.
// Requires: D a multiple of the values of a vector; x_stride and x_offset multiples of 4.
// Numerics: sums in f32, in a fixed order; the root of the norm is applied to the sums.
// Output: the hidden values in the order in which `down` reads them, see `hidden_at`.

struct Params {
    x_stride: u32,
    x_offset: u32,
    eps: f32,
    // Read by the packed form alone.
    logits_stride: u32,
    logits_offset: u32,
    scale: f32,
}

const UNITS: u32 = D / WEIGHT_VALUES;
const TILES: u32 = (UNITS + TEAM - 1u) / TEAM;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (T, x_stride / 4) f32, four in a vector
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // (E, 2·I, D) packed, gate rows first
@group(0) @binding(EXPERTS) var<storage, read> experts: array<u32>; // (T, A) u32
@group(0) @binding(HIDDEN) var<storage, read_write> hidden: array<f32>; // (T, QUADS, A·I / HIDDEN_VALUES, 4) f32
@group(0) @binding(PARAMS) var<storage, read> params: Params;

// The part of x that a round needs, quad by quad, so that the lanes of a team read neighbours. An odd pitch spreads the writes over the banks.
const PITCH: u32 = TEAM | 1u;
var<workgroup> sh_x: array<vec4<f32>, QUADS * PITCH>;

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

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>) {
    let team = at.lid / TEAM;
    let place = at.lid % TEAM;
    let token = wid.y / A;
    let expert = experts[wid.y];
    let first = (wid.x * (WG_SIZE / TEAM) + team) * ROWS;
    let x_start = (params.x_offset + token * params.x_stride) / 4u;

    var sums: array<f32, SUMS>;
    for (var tile = 0u; tile < TILES; tile += 1u) {
        let unit = tile * TEAM + place;
        // The weights are on their way while x is staged.
        var words: array<vec4<u32>, PAIRS>;
        if unit < UNITS {
            for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
                words[k] = weights[(expert * 2u * I + row_of(first, k)) * UNITS + unit];
            }
        }
        if tile > 0u {
            workgroupBarrier();
        }
        for (var i = at.lid; i < TEAM * QUADS; i += WG_SIZE) {
            let quad = tile * TEAM * QUADS + i;
            if quad < D / 4u {
                let value = x[x_start + quad];
                sums[PAIRS] += dot(value, value);
                sh_x[i % QUADS * PITCH + i / QUADS] = stepped_x(gained(value, quad));
            }
        }
        workgroupBarrier();
        if unit < UNITS {
            var part: array<f32, PAIRS>;
            for (var q = 0u; q < QUADS; q += 1u) { // unrolled
                let value = sh_x[q * PITCH + place];
                for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
                    let weight = stepped4(words[k], q);
                    part[k] = fma(weight.w, value.w, fma(weight.z, value.z, fma(weight.y, value.y, fma(weight.x, value.x, part[k]))));
                }
            }
            for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
                sums[k] += part[k] * weight_scale(expert, row_of(first, k), unit * WEIGHT_VALUES, 2u * I, D);
            }
        }
    }
    bring_sums(sums, at);

    if place < ROWS && first + place < I {
        var root = 1.0;
        if NORM {
            root = inverseSqrt(whole_sum(PAIRS, lanes_of(at)) / f32(D) + params.eps);
        }
        let gate = team_sum(place, team, lanes_of(at)) * root;
        let up = team_sum(ROWS + place, team, lanes_of(at)) * root;
        hidden[hidden_at(token, wid.y % A * I + first + place)] = gate / (1.0 + exp(-gate)) * up;
    }
}
