// The value of the operation, from the sigmoid of the gate.

@group(0) @binding(2) var<storage, read_write> h: array<vec4<f32>>; // (N) f32

fn write(at: u32, g: vec4<f32>, u: vec4<f32>, sigmoid: vec4<f32>) {
    h[at] = g * sigmoid * u;
}
