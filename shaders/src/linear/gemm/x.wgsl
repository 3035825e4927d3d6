// x in the format X, rounded to S as it is staged.

@group(0) @binding(0) var<storage, read> x: array<vec4<X>>; // (Z, T, I) f32 or f16

struct RawX {
    lo: vec4<X>,
    hi: vec4<X>,
}

fn fetch_x(at: u32, inside: bool) -> RawX {
    return RawX(select(vec4<X>(), x[at], inside), select(vec4<X>(), x[at + 1u], inside));
}

fn widen_x(raw: RawX) -> Eight {
    return Eight(vec4<S>(raw.lo), vec4<S>(raw.hi));
}
