// Weights and x for a product, where no format needs x to be changed. See stepped_q4.wgsl.

fn stepped_x(value: vec4<f32>) -> vec4<f32> {
    return value;
}

fn stepped4(words: vec4<u32>, q: u32) -> vec4<f32> {
    return weight4(words, q);
}
