// W in words: an eight of values is a Coded, `words_of` puts it at the front of a vector for `weight4`.

@group(0) @binding(1) var<storage, read> weight: array<Coded>; // (Z, O, I) f16, bf16, e4m3fn, int8 or int4

struct RawW {
    codes: Coded,
    scale: f32,
}

fn fetch_w(row: u32, eight: u32, eights: u32, batch: u32) -> RawW {
    let scale = weight_scale(batch, row, eight * 8u, params.o, params.i);
    return RawW(weight[(batch * params.o + row) * eights + eight], scale);
}

fn widen_w(raw: RawW) -> Eight {
    let words = words_of(raw.codes);
    return Eight(vec4<S>(weight4(words, 0u) * raw.scale), vec4<S>(weight4(words, 1u) * raw.scale));
}
