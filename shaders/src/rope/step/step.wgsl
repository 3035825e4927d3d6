// What every layer needs to know about the tokens of a step: cosines and sines of their positions, and their rows in the caches.
//
// Grid: one invocation for each vector of the output, R/4 + 1 for a token; invocations past the end do nothing.
// Requires: nothing beyond the base tier; R divisible by 4.
// Numerics: the bits of the table.

struct Params {
    // Tokens T.
    t: u32,
    // Rows P of the table.
    rows: u32,
    // Entries of a block table.
    pages: u32,
    // From the block table of a token to that of the next; 0 where all have one.
    table_stride: u32,
}

@group(0) @binding(0) var<storage, read> rope_table: array<vec4<u32>>; // (P, R/4) two pairs of f32 bits
@group(0) @binding(1) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(2) var<storage, read> block_table: array<u32>; // (pages), or (T, table_stride) u32
@group(0) @binding(3) var<storage, read_write> step: array<vec4<u32>>; // (T, R/4 + 1) f32 bits, and in the last vector the row
@group(0) @binding(4) var<storage, read> params: Params;

const VECTORS = ROPE / 4u;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = (wid.y * grid.x + wid.x) * WG_SIZE + lid;
    let t = i / (VECTORS + 1u);
    if t >= params.t {
        return;
    }
    let column = i % (VECTORS + 1u);
    let position = positions[t];
    if column < VECTORS {
        step[i] = rope_table[min(position, params.rows - 1u) * VECTORS + column];
        return;
    }
    // A position without a table row or a page has no cache row; nothing is written for it.
    var row = 0xFFFFFFFFu;
    if position < params.rows && (position >> 6u) < params.pages {
        row = block_table[t * params.table_stride + (position >> 6u)] * 64u + (position & 63u);
    }
    step[i] = vec4<u32>(row, position, 0u, 0u);
}
