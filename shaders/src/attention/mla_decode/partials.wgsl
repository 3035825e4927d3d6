// The outputs of a split of the slots: its maximum, its sum of exponentials and its unnormalised sums, for mla_combine.
// Needs ROWS.

struct Params {
    h: u32,
    q_stride: u32,
    q_offset: u32,
    n_slots: u32,
    n_splits: u32,
    padded_heads: u32,
    table_stride: u32,
    // The softmax scale times log2(e): exponentials are powers of two.
    scale: f32,
}

@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>; // (T, SPLITS, H, C) f32
@group(0) @binding(5) var<storage, read_write> stats: array<vec2<f32>>; // (T, SPLITS, H) maximum and sum
@group(0) @binding(6) var<storage, read> params: Params;

// First slot and end of a split: whole steps, evenly over the splits.
fn slot_range(n: u32, split: u32) -> vec2<u32> {
    let steps = (n + ROWS - 1u) / ROWS;
    let each = (steps + params.n_splits - 1u) / params.n_splits * ROWS;
    return vec2(min(split * each, n), min(split * each + each, n));
}

fn keep_stats(t: u32, split: u32, first_head: u32, head: u32, largest: f32, total: f32) {
    stats[(t * params.n_splits + split) * params.padded_heads + first_head + head] = vec2(largest, total);
}
