// What the multiply-adds leave of a split for mla_combine. Needs LATENT.

// Eight columns of a head.
fn keep_sums(t: u32, split: u32, first_head: u32, head: u32, column: u32, low: vec4<f32>, high: vec4<f32>) {
    let at = ((t * params.n_splits + split) * params.padded_heads + first_head + head) * (LATENT / 4u) + 2u * column;
    sums[at] = low;
    sums[at + 1u] = high;
}
