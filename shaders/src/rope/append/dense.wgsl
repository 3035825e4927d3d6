// A layer without an indexer: neither reads nor writes more than the main attention's.

@group(0) @binding(0) var<storage, read> projections: array<f32>; // (T, p_stride) f32
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>; // (T, q_stride) f32
@group(0) @binding(6) var<storage, read> params: Params;

const INDEX_UNITS = 0u;

fn index(t: u32, unit: u32, at: Lane) {
}
