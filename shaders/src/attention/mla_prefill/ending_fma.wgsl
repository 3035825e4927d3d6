// The end of attention/mla_prefill with multiply-adds. Needs LATENT.

// Eight columns of a head.
fn keep_sums(t: u32, split: u32, first_head: u32, head: u32, column: u32, low: vec4<f32>, high: vec4<f32>) {
    if first_head + head < params.h {
        let at = (t * params.u_stride + params.u_offset + (first_head + head) * LATENT) / 4u + 2u * column;
        sums[at] = low * sh_decay[head];
        sums[at + 1u] = high * sh_decay[head];
    }
}
