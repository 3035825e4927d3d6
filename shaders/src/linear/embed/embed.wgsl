// y[t] = E[token[t]], widened.
//
// Grid: workgroup wid.x takes row t = wid.x; its invocations stride over the vectors of the row.
// Requires: nothing beyond the base tier; y, its stride and offset in whole vectors of four.
// Numerics: exact for formats without scales, one rounding for the others.
// Prelude: the fragment of the weight format.

struct Params {
    v: u32,
    i: u32,
    t: u32,
    y_stride: u32,
    y_offset: u32,
}

@group(0) @binding(0) var<storage, read> tokens: array<u32>; // (T) u32
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>; // (V, I) in the weight format
@group(0) @binding(Y) var<storage, read_write> y: array<vec4<f32>>; // (T, I) f32, strided
@group(0) @binding(PARAMS) var<storage, read> params: Params;

const QUADS: u32 = WEIGHT_VALUES / 4u;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    // A token outside the vocabulary reads its last row instead of foreign memory.
    let row = min(tokens[wid.x], params.v - 1u);
    let vectors = params.i / WEIGHT_VALUES;
    let start = (wid.x * params.y_stride + params.y_offset) / 4u;
    for (var j = lid; j < vectors * QUADS; j += WG_SIZE) {
        let words = weight[row * vectors + j / QUADS];
        y[start + j] = weight4(words, j % QUADS) * weight_scale(0u, row, 4u * j, params.v, params.i);
    }
}
