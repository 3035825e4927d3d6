// What the attention kernels read: queries, cached rows, and where the rows of the slots are.
// Needs the alias CacheVector and the number table_stride of params: entries from the block table of a query to that of the next, 0 where all
// have one.

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (T, H, C+R) f32 in rows of q_stride
@group(0) @binding(1) var<storage, read> cache: array<CacheVector>; // (PAGES, 64, C+R) f16, f32 or e4m3 rows
@group(0) @binding(2) var<storage, read> block_table: array<u32>; // (S/64), or (T, table_stride) u32

// Below every score.
const LOWEST: f32 = -3e38;
// Marks an unfilled slot in sh_row.
const UNFILLED: u32 = 0x80000000u;

// The row of a position of query t.
fn physical_row(t: u32, position: u32) -> u32 {
    return block_table[t * params.table_stride + (position >> 6u)] * 64u + (position & 63u);
}
