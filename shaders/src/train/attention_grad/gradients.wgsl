// What both ways of forming the gradients share: their buffers. Needs OWN_KEYS.

struct Params {
    t: u32,
    h: u32,
    // The softmax scale times log2(e): exponentials are powers of two.
    scale: f32,
    // Where the second gradient starts.
    second: u32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (B, T, H, V) f32
@group(0) @binding(4) var<storage, read> d_o: array<vec4<f32>>; // (B, T, H, V) f32
@group(0) @binding(5) var<storage, read> stats: array<vec2<f32>>; // (B, H, T) logarithm in powers of two, and dot product
@group(0) @binding(6) var<storage, read_write> gradients: array<f32>; // (B, T, H, QK) f32: dq, or dk and behind it dv (B, T, H, V)
@group(0) @binding(7) var<storage, read> params: Params;

const LN_2: f32 = 0.6931471805599453;

fn row_at(b: u32, t: u32, h: u32) -> u32 {
    return (b * params.t + min(t, params.t - 1u)) * params.h + h;
}

fn stats_of(b: u32, t: u32, h: u32) -> vec2<f32> {
    return stats[(b * params.h + h) * params.t + min(t, params.t - 1u)];
}
