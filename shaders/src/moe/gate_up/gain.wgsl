// The elementwise factor of the norm. Needs GAIN, its binding.

@group(0) @binding(GAIN) var<storage, read> gain: array<vec4<f32>>; // (D / 4) f32, four in a vector

fn gained(value: vec4<f32>, quad: u32) -> vec4<f32> {
    return value * gain[quad];
}
