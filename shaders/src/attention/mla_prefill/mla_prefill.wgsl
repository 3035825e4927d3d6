// Attention of many queries: u[t, h] = sum_s softmax_s(scale · q[h] · row_s) · row_s[0..C], each query in one piece.
//
// The work is that of attention/mla_decode, whose main follows this file: a workgroup takes HEADS heads (wid.x) of one query (wid.z) over all
// of its slots. What differs is the end: here the sums are divided by their total and written.
// Requires: what that main requires.
// Numerics: those of that main; a query without slots gets zeros.

struct Params {
    h: u32,
    q_stride: u32,
    q_offset: u32,
    n_slots: u32,
    u_stride: u32,
    u_offset: u32,
    table_stride: u32,
    // The softmax scale times log2(e): exponentials are powers of two.
    scale: f32,
}

@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>; // (T, H, C) f32 in rows of u_stride
@group(0) @binding(5) var<storage, read> params: Params;

fn slot_range(n: u32, split: u32) -> vec2<u32> {
    return vec2(0u, n);
}

// Leaves what the sums of a head are multiplied by.
fn keep_stats(t: u32, split: u32, first_head: u32, head: u32, largest: f32, total: f32) {
    sh_decay[head] = select(0.0, 1.0 / total, total > 0.0);
}
