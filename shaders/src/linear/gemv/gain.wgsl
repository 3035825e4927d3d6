// The gain of a normalised x.

@group(0) @binding(GAIN) var<storage, read> gain: array<vec4<f32>>; // (I) f32

fn gain4(j: u32) -> vec4<f32> {
    return gain[j];
}
