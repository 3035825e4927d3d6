// The end of attention/mla_prefill with matrices: a tile of 16 heads and 16 columns at a time. Needs LATENT.

fn keep_tile(m: MatC, t: u32, split: u32, first_head: u32, tile_head: u32, column: u32, subgroup: u32, lane: u32) {
    let divided = decayed(m, tile_head, subgroup, lane);
    if first_head + tile_head < params.h {
        store_sums(divided, (t * params.u_stride + params.u_offset + (first_head + tile_head) * LATENT) / 4u + column);
    }
}
