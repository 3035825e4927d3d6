// qfull[t, h] = [Σ_n W[h, c, n] · q[t, h, n] | rope(q[t, h, Dn..])]: a head's query in the space of the latent rows.
//
// Grid: wid.y is a head, wid.z a token; of the BLOCKS + 1 workgroups along x each takes ROWS rows c of the head's matrix, and the last one
// rotates. SLICES invocations share a row and take every SLICES-th vector of it, all of which are on their way at once.
// Requires: nothing beyond the base tier; Dn a whole number of vectors of weights; q, its stride and offset in whole vectors of four.
// Numerics: f32, in a fixed order: along a slice, then over the slices.
// Loops over an invocation's registers are written out, see `unrolled`.
// Prelude: rotated.wgsl and the fragment of the weight format.

struct Params {
    heads: u32,
    // Values from one token to the next in `queries`, and where head 0 starts.
    q_stride: u32,
    q_offset: u32,
}

@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>; // (T, q_stride) f32
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>; // (T, R/4 + 1) f32 bits
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>; // (H, C, Dn) in the weight format
@group(0) @binding(QFULL) var<storage, read_write> qfull: array<f32>; // (T, H, C + R) f32
@group(0) @binding(PARAMS) var<storage, read> params: Params;

const SLICES: u32 = WG_SIZE / ROWS;
const QUADS: u32 = WEIGHT_VALUES / 4u;
const VECTORS: u32 = NOPE / WEIGHT_VALUES;

var<workgroup> sh_products: array<f32, WG_SIZE>;

// The rotated part of a head whose query starts at vector `query`.
fn rotate(query: u32, token: u32, to: u32, lane: u32) {
    let at = spots(lane, HALF_SPLIT);
    let values = Eight(queries[query + (NOPE + at.x) / 4u], queries[query + (NOPE + at.y) / 4u]);
    let v = rotated(values, angles(token, lane), HALF_SPLIT);
    for (var i = 0u; i < 4u; i += 1u) {
        qfull[to + LATENT + at.x + i] = v.a[i];
        qfull[to + LATENT + at.y + i] = v.b[i];
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let head = wid.y;
    let query = (wid.z * params.q_stride + params.q_offset) / 4u + head * ((NOPE + ROPE) / 4u);
    let to = (wid.z * params.heads + head) * (LATENT + ROPE);
    if wid.x == BLOCKS {
        if lid < ROPE_LANES {
            rotate(query, wid.z, to, lid);
        }
        return;
    }
    let row = wid.x * ROWS + lid / SLICES;
    // Rows past the last repeat it; their results are dropped.
    let read_row = min(row, LATENT - 1u);
    let at = (head * LATENT + read_row) * VECTORS;
    var words: array<vec4<u32>, STEPS>;
    var scales: array<f32, STEPS>;
    for (var k = 0u; k < STEPS; k += 1u) { // unrolled
        let v = min(lid % SLICES + k * SLICES, VECTORS - 1u);
        words[k] = weight[at + v];
        scales[k] = weight_scale(head, read_row, v * WEIGHT_VALUES, LATENT, NOPE);
    }
    var sum = 0.0;
    for (var k = 0u; k < STEPS; k += 1u) { // unrolled
        let v = lid % SLICES + k * SLICES;
        if v < VECTORS {
            var product = 0.0;
            for (var q = 0u; q < QUADS; q += 1u) { // unrolled
                product += dot(weight4(words[k], q), queries[query + v * QUADS + q]);
            }
            sum += product * scales[k];
        }
    }
    sh_products[lid] = sum;
    workgroupBarrier();
    if lid % SLICES == 0u && row < LATENT {
        for (var i = 1u; i < SLICES; i += 1u) {
            sum += sh_products[lid + i];
        }
        qfull[to + row] = sum;
    }
}
