// What the matrices leave of a split for mla_combine: a tile of 16 heads and 16 columns at a time. Needs LATENT.

fn keep_tile(m: MatC, t: u32, split: u32, first_head: u32, tile_head: u32, column: u32, subgroup: u32, lane: u32) {
    store_sums(m, ((t * params.n_splits + split) * params.padded_heads + first_head + tile_head) * (LATENT / 4u) + column);
}
