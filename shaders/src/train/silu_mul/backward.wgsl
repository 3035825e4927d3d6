// The gradients of the operation: silu'(g) = σ(g) · (1 + g · (1 − σ(g))).

@group(0) @binding(2) var<storage, read> dh: array<vec4<f32>>; // (N) f32
@group(0) @binding(3) var<storage, read_write> dgate: array<vec4<f32>>; // (N) f32
@group(0) @binding(4) var<storage, read_write> dup: array<vec4<f32>>; // (N) f32

fn write(at: u32, g: vec4<f32>, u: vec4<f32>, sigmoid: vec4<f32>) {
    let d = dh[at];
    dgate[at] = d * u * sigmoid * (1.0 + g * (1.0 - sigmoid));
    dup[at] = d * g * sigmoid;
}
