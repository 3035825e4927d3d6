// What the multiply-adds leave of a split for mla_combine. Needs LATENT.

fn keep_stats(t: u32, split: u32, first_head: u32, head: u32, largest: f32, total: f32) {
    stats[(t * params.n_splits + split) * params.padded_heads + first_head + head] = vec2(largest, total);
}

// Eight columns of a head.
fn keep_sums(t: u32, split: u32, first_head: u32, head: u32, column: u32, low: vec4<f32>, high: vec4<f32>) {
    let at = ((t * params.n_splits + split) * params.padded_heads + first_head + head) * (LATENT / 4u) + 2u * column;
    partials[at] = low;
    partials[at + 1u] = high;
}
