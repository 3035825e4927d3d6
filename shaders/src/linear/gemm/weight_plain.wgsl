// W in a format that WGSL has as a type.

@group(0) @binding(1) var<storage, read> weight: array<vec4<WEIGHT>>; // (Z, O, I) f32 or f16

struct RawW {
    lo: vec4<WEIGHT>,
    hi: vec4<WEIGHT>,
}

fn fetch_w(row: u32, eight: u32, eights: u32, batch: u32) -> RawW {
    let at = ((batch * params.o + row) * eights + eight) * 2u;
    return RawW(weight[at], weight[at + 1u]);
}

fn widen_w(raw: RawW) -> Eight {
    return Eight(vec4<S>(raw.lo), vec4<S>(raw.hi));
}
