// y[z, t, o] = Σ_i x[z, t, i] · W[z, o, i] for up to TOKENS rows t; with NORM the sum is over x · gain and is scaled by 1 / sqrt(mean(x²) + eps);
// with ACCUMULATE it is added to y. x is read where it lies: there is nothing to wait for before the weights, which counts most for one token.
//
// Grid: a workgroup takes GROUPS · ROWS rows of W of matrix wid.z. SLICES = LANES · SPLIT invocations share ROWS rows and take every
//   SLICES-th Pack of each, 4 · QUADS values, STEPS of them at a time, so that STEPS · ROWS loads are on their way. A small Pack lets neighbouring
//   invocations read neighbouring parts of x; each part serves ROWS rows.
// Loops over an invocation's registers are written out, see `unrolled`.
// Requires: LANES consecutive invocations are in one subgroup; x, its stride, offset and batch in whole vectors of four.
// Numerics: f32, in a fixed order: along a slice, then over lanes, then over the SPLIT parts.
// Prelude: the fragments of the weight format, of the gain, of the subgroup; Pack, and `words_of`, which makes a vector of it.

struct Params {
    o: u32,
    i: u32,
    t: u32,
    z: u32,
    x_stride: u32,
    x_offset: u32,
    x_batch: u32,
    y_stride: u32,
    y_offset: u32,
    y_batch: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (Z, T, I) f32, strided
@group(0) @binding(1) var<storage, read> weight: array<Pack>; // (Z, O, I) in the weight format
@group(0) @binding(Y) var<storage, read_write> y: array<f32>; // (Z, T, O) f32, strided
@group(0) @binding(PARAMS) var<storage, read> params: Params;

const SLICES: u32 = LANES * SPLIT;
const GROUPS: u32 = WG_SIZE / SLICES;
const VALUES: u32 = 4u * QUADS;

// The sums of each set of lanes: ROWS · TOKENS products, and with NORM the squares of TOKENS rows of x.
var<workgroup> sh_sums: array<f32, WG_SIZE / LANES * SUMS>;

fn store(matrix: u32, row: u32, token: u32, value: f32) {
    if row < params.o && token < params.t {
        let to = matrix * params.y_batch + token * params.y_stride + params.y_offset + row;
        if ACCUMULATE {
            y[to] += value;
        } else {
            y[to] = value;
        }
    }
}

// What a sum of products is multiplied with.
fn factor(squares: f32) -> f32 {
    if NORM {
        return inverseSqrt(squares / f32(params.i) + params.eps);
    }
    return 1.0;
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let block = (wid.y * grid.x + wid.x) * GROUPS * ROWS;
    if block >= params.o {
        return;
    }
    let slice = at.lid % SLICES;
    let first = block + at.lid / SLICES * ROWS;
    let packs = params.i / VALUES;
    // Rows past the last repeat it; their results are dropped.
    var weight_rows: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r += 1u) { // unrolled
        weight_rows[r] = min(first + r, params.o - 1u);
    }
    var x_rows: array<u32, TOKENS>;
    for (var n = 0u; n < TOKENS; n += 1u) { // unrolled
        x_rows[n] = (wid.z * params.x_batch + min(n, params.t - 1u) * params.x_stride + params.x_offset) / 4u;
    }

    var sums: array<f32, SUMS>;
    for (var start = slice; start < packs; start += SLICES * STEPS) {
        var words: array<Pack, LOADS>;
        var scales: array<f32, LOADS>;
        for (var u = 0u; u < STEPS; u += 1u) { // unrolled
            let v = min(start + u * SLICES, packs - 1u);
            for (var r = 0u; r < ROWS; r += 1u) { // unrolled
                words[u * ROWS + r] = weight[(wid.z * params.o + weight_rows[r]) * packs + v];
                scales[u * ROWS + r] = weight_scale(wid.z, weight_rows[r], v * VALUES, params.o, params.i);
            }
        }
        for (var u = 0u; u < STEPS; u += 1u) { // unrolled
            let v = start + u * SLICES;
            if v < packs {
                var part: array<f32, OUTPUTS>;
                for (var q = 0u; q < QUADS; q += 1u) { // unrolled
                    let gain = gain4(v * QUADS + q);
                    var w: array<vec4<f32>, ROWS>;
                    for (var r = 0u; r < ROWS; r += 1u) { // unrolled
                        w[r] = stepped4(words_of(words[u * ROWS + r]), q);
                    }
                    for (var n = 0u; n < TOKENS; n += 1u) { // unrolled
                        let raw = x[x_rows[n] + v * QUADS + q];
                        if NORM {
                            sums[SUMS - TOKENS + n] += dot(raw, raw);
                        }
                        let value = stepped_x(raw * gain);
                        for (var r = 0u; r < ROWS; r += 1u) { // unrolled
                            let sum = part[r * TOKENS + n];
                            part[r * TOKENS + n] =
                                fma(w[r].w, value.w, fma(w[r].z, value.z, fma(w[r].y, value.y, fma(w[r].x, value.x, sum))));
                        }
                    }
                }
                for (var r = 0u; r < ROWS; r += 1u) { // unrolled
                    for (var n = 0u; n < TOKENS; n += 1u) { // unrolled
                        sums[r * TOKENS + n] = fma(part[r * TOKENS + n], scales[u * ROWS + r], sums[r * TOKENS + n]);
                    }
                }
            }
        }
    }

    for (var k = 0u; k < SUMS; k += 1u) { // unrolled
        sums[k] = lanes_sum(sums[k]);
        if SPLIT > 1u && at.lid % LANES == k % LANES {
            sh_sums[at.lid / LANES * SUMS + k] = sums[k];
        }
    }
    if SPLIT == 1u {
        for (var r = 0u; r < ROWS; r += 1u) { // unrolled
            for (var n = 0u; n < TOKENS; n += 1u) { // unrolled
                if at.lid % LANES == (r * TOKENS + n) % LANES {
                    store(wid.z, first + r, n, sums[r * TOKENS + n] * factor(sums[SUMS - TOKENS + n]));
                }
            }
        }
        return;
    }
    workgroupBarrier();
    for (var j = at.lid; j < GROUPS * OUTPUTS; j += WG_SIZE) {
        let k = j % OUTPUTS;
        var sum = 0.0;
        var squares = 0.0;
        for (var part = 0u; part < SPLIT; part += 1u) {
            let at_part = (j / OUTPUTS * SPLIT + part) * SUMS;
            sum += sh_sums[at_part + k];
            squares += sh_sums[at_part + SUMS - TOKENS + k % TOKENS];
        }
        store(wid.z, block + j / OUTPUTS * ROWS + k / TOKENS, k % TOKENS, sum * factor(squares));
    }
}
