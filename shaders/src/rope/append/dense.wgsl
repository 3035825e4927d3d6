// A layer without an indexer: neither reads nor writes more than the main attention's.

@group(0) @binding(PROJECTIONS) var<storage, read> projections: array<f32>; // (T, p_stride) f32

const INDEX_UNITS = 0u;

fn index(t: u32, unit: u32, at: Lane) {
}
