// o[t, h, v] = Σ_c W[h, v, c] · u[t, h, c], with u combined from the splits of attention/mla_decode on the way.
//
// Grid: wid.x takes ROWS rows of the head wid.y of the query wid.z. Every workgroup combines the head for itself, then SLICES invocations share
// a row and take every SLICES-th vector of it.
// Requires: nothing beyond the base tier; C a whole number of vectors of weights; what splits.wgsl requires.
// Numerics: f32, in a fixed order: along a slice, then over the slices.
// Prelude: splits.wgsl and the fragment of the weight format.

struct Params {
    n_splits: u32,
    padded_heads: u32,
    // Rows of a head.
    v: u32,
    o_stride: u32,
    o_offset: u32,
}

@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>; // (H, V, C) in the weight format
@group(0) @binding(O) var<storage, read_write> o: array<f32>; // (T, H, V) f32 in rows of o_stride
@group(0) @binding(PARAMS) var<storage, read> params: Params;

const SLICES: u32 = WG_SIZE / ROWS;
const QUADS: u32 = WEIGHT_VALUES / 4u;

// One vector of padding after eight keeps the banks apart.
var<workgroup> sh_u: array<vec4<f32>, PADDED>;
var<workgroup> sh_products: array<f32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let row = wid.x * ROWS + lid / SLICES;
    let vectors = LATENT / WEIGHT_VALUES;
    // Rows past the last repeat it; their results are dropped.
    let read_row = min(row, params.v - 1u);
    let at = (wid.y * params.v + read_row) * vectors;
    // The first vector does not have to wait for u.
    var words = weight[at + min(lid % SLICES, vectors - 1u)];
    let value = combine_splits(lid, wid.z, wid.y, 0u);
    if lid < COLUMNS {
        sh_u[lid + lid / 8u] = value;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lid % SLICES; i < vectors; i += SLICES) {
        let present = words;
        words = weight[at + min(i + SLICES, vectors - 1u)];
        var product = 0.0;
        for (var q = 0u; q < QUADS; q += 1u) {
            let column = i * QUADS + q;
            product += dot(weight4(present, q), sh_u[column + column / 8u]);
        }
        sum += product * weight_scale(wid.y, read_row, i * WEIGHT_VALUES, params.v, LATENT);
    }
    sh_products[lid] = sum;
    workgroupBarrier();
    if lid % SLICES == 0u && row < params.v {
        for (var i = 1u; i < SLICES; i += 1u) {
            sum += sh_products[lid + i];
        }
        o[wid.z * params.o_stride + params.o_offset + wid.y * params.v + row] = sum;
    }
}
