// What both partial kernels of attention/mla_decode share: parameters, buffers, and which slots a workgroup takes.
// Needs the constants LATENT and ROTATED (C and R), ROWS (rows of one step), and the alias CacheVector.

struct Params {
    h: u32,
    q_stride: u32,
    q_offset: u32,
    n_slots: u32,
    n_splits: u32,
    padded_heads: u32,
    // The softmax scale times log2(e): exponentials are powers of two.
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (T, H, C+R) f32 in rows of q_stride
@group(0) @binding(1) var<storage, read> cache: array<CacheVector>; // (PAGES, 64, C+R) f16, f32 or e4m3 rows
@group(0) @binding(2) var<storage, read> block_table: array<u32>; // (S/64) u32
@group(0) @binding(4) var<storage, read_write> partials: array<vec4<f32>>; // (T, SPLITS, H, C) f32
@group(0) @binding(5) var<storage, read_write> stats: array<vec2<f32>>; // (T, SPLITS, H) maximum and sum
@group(0) @binding(6) var<storage, read> params: Params;

// Below every score.
const LOWEST: f32 = -3e38;
// Marks an unfilled slot in sh_row.
const UNFILLED: u32 = 0x80000000u;

var<workgroup> sh_row: array<u32, ROWS>;

// First slot and end of a split: whole steps, evenly over the splits.
fn split_range(n: u32, split: u32) -> vec2<u32> {
    let steps = (n + ROWS - 1u) / ROWS;
    let each = (steps + params.n_splits - 1u) / params.n_splits * ROWS;
    return vec2(min(split * each, n), min(split * each + each, n));
}

fn physical_row(position: u32) -> u32 {
    return block_table[position >> 6u] * 64u + (position & 63u);
}

// Writes the physical row of slot first + i to sh_row[i]. An unfilled slot gets the row of slot first, so that what is read there is finite.
fn find_row(t: u32, first: u32, end: u32, i: u32) {
    var position = -1;
    if first + i < end {
        position = slot_position(t, first + i);
    }
    if position >= 0 {
        sh_row[i] = physical_row(u32(position));
    } else {
        sh_row[i] = physical_row(u32(slot_position(t, first))) | UNFILLED;
    }
}
